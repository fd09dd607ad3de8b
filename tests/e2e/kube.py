"""The API server as the tests see it: over `kubectl proxy` on a Unix socket, because the server
listens in a network namespace that pytest is not in. Waiting is always a watch with a deadline.
"""
import http.client
import json
import socket
import time
import urllib.parse

RETRY_SECONDS = 0.1  # between connections while the API server is down (tests restart it)


class NotFound(Exception):
    pass


class ApiError(Exception):
    pass


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


PLURALS = {
    "Pod": "/api/v1/namespaces/{ns}/pods", "Event": "/api/v1/namespaces/{ns}/events",
    "ReplicaSet": "/apis/apps/v1/namespaces/{ns}/replicasets",
    "Deployment": "/apis/apps/v1/namespaces/{ns}/deployments",
    "DaemonSet": "/apis/apps/v1/namespaces/{ns}/daemonsets",
    "StatefulSet": "/apis/apps/v1/namespaces/{ns}/statefulsets",
    "Job": "/apis/batch/v1/namespaces/{ns}/jobs",
    "ConfigMap": "/api/v1/namespaces/{ns}/configmaps",
    "Secret": "/api/v1/namespaces/{ns}/secrets",
    "Service": "/api/v1/namespaces/{ns}/services",
    "Namespace": "/api/v1/namespaces", "Node": "/api/v1/nodes",
    "ServiceAccount": "/api/v1/namespaces/{ns}/serviceaccounts",
    "CertificateSigningRequest": "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"}


def collection(kind, ns=None):
    return PLURALS[kind].format(ns=ns)


class Kube:
    """JSON in, JSON out; retries connections, never answers."""

    def __init__(self, socket_path):
        self.socket = socket_path

    def _send(self, method, path, body, content_type, timeout):
        connection = _Connection(self.socket, timeout)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": content_type})
        return connection, connection.getresponse()

    def call(self, method, path, body=None, content_type="application/json", seconds=30):
        deadline = time.monotonic() + seconds
        while True:
            try:
                connection, reply = self._send(method, path, body, content_type, seconds)
                text = reply.read()
                connection.close()
                if reply.status not in (429, 500, 502, 503, 504):
                    break
                error = f"{reply.status}: {text.decode(errors='replace')[:300]}"
            except (OSError, http.client.HTTPException) as failure:
                error = str(failure)
            if time.monotonic() > deadline:
                raise ApiError(f"{method} {path}: {error}")
            time.sleep(RETRY_SECONDS)
        if reply.status == 404:
            raise NotFound(path)
        if reply.status >= 400:
            raise ApiError(f"{method} {path}: {reply.status}: {text.decode(errors='replace')}")
        return json.loads(text)

    def get(self, kind, name, ns=None):
        return self.call("GET", f"{collection(kind, ns)}/{name}")

    def list(self, kind, ns=None, selector=None):
        query = "?" + urllib.parse.urlencode({"labelSelector": selector}) if selector else ""
        return self.call("GET", collection(kind, ns) + query)["items"]

    def create(self, body, ns=None):
        return self.call("POST", collection(body["kind"], ns), body)

    def patch(self, kind, name, body, ns=None, sub=""):
        return self.call("PATCH", f"{collection(kind, ns)}/{name}{sub}", body,
                         "application/merge-patch+json")

    def delete(self, kind, name, ns=None, grace=None):
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        return self.call("DELETE", f"{collection(kind, ns)}/{name}", options)

    def watch(self, kind, ns=None, name=None, selector=None, version=None, seconds=60):
        """Yields (type, object) until the deadline; reconnects by itself. Without a version what
        exists comes first, as ADDED."""
        deadline = time.monotonic() + seconds
        query = {"watch": 1}
        if name:
            query["fieldSelector"] = f"metadata.name={name}"
        if selector:
            query["labelSelector"] = selector
        while (left := deadline - time.monotonic()) > 0:
            query["timeoutSeconds"] = max(1, int(left))
            if version:
                query["resourceVersion"] = version
            path = f"{collection(kind, ns)}?{urllib.parse.urlencode(query)}"
            try:
                for event in self._stream(path, left + 1):
                    if event["type"] == "ERROR":
                        query.pop("resourceVersion", None)
                        version = None
                        break
                    if version:
                        version = event["object"]["metadata"]["resourceVersion"]
                    yield event["type"], event["object"]
                    if time.monotonic() > deadline:
                        return
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                pass  # the API server went away; a test may have restarted it
            if time.monotonic() < deadline:
                time.sleep(RETRY_SECONDS)

    def _stream(self, path, seconds):
        connection, reply = self._send("GET", path, None, "application/json", seconds)
        try:
            while reply.status == 200 and (line := reply.readline()):
                yield json.loads(line)
        finally:
            connection.close()

    def wait(self, kind, name, good, ns=None, seconds=60):
        """The object, once good(object) holds."""
        last = None
        for what, item in self.watch(kind, ns, name, seconds=seconds):
            last = item
            if what != "DELETED" and good(item):
                return item
        raise AssertionError(f"{kind} {name} did not get there in {seconds} s; last: "
                             f"{json.dumps((last or {}).get('status'), indent=1)}")

    def wait_all(self, kind, ns, good, selector=None, seconds=60):
        """The list of a selection, once good(list) holds."""
        deadline = time.monotonic() + seconds
        query = f"?{urllib.parse.urlencode({'labelSelector': selector})}" if selector else ""
        while True:
            answer = self.call("GET", collection(kind, ns) + query)
            if good(answer["items"]):
                return answer["items"]
            left = deadline - time.monotonic()
            if left <= 0:
                states = {i["metadata"]["name"]: i.get("status") for i in answer["items"]}
                raise AssertionError(f"{kind}s did not get there in {seconds} s: "
                                     f"{json.dumps(states, indent=1)[:6000]}")
            for _ in self.watch(kind, ns, selector=selector,
                                version=answer["metadata"]["resourceVersion"], seconds=left):
                break

    def wait_gone(self, kind, name, ns=None, uid=None, seconds=60):
        """Until no such object exists (of that uid, if one is given)."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                item = self.get(kind, name, ns)
            except NotFound:
                return
            if uid and item["metadata"]["uid"] != uid:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"{kind} {name} is still there after {seconds} s: "
                                     f"{json.dumps(item.get('status'), indent=1)[:3000]}")
            for what, _ in self.watch(kind, ns, name, seconds=left,
                                      version=item["metadata"]["resourceVersion"]):
                if what == "DELETED":
                    break
