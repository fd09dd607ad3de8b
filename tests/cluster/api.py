"""The few calls that the cluster's own tools make to the API server: wait, create, watch.

Runs in a process that is already in the control plane's network namespace, because kubectl costs
0.2 s of processor time a call and bringing the cluster up makes a dozen. Not a client library.
"""
import http.client
import json
import ssl
import time
import urllib.parse

from spaces import CONTROL_IP, ClusterError

TRY_AGAIN_SECONDS = 0.05  # between connections to a server that does not listen yet


class Api:
    """Requests to one HTTPS server that we started."""

    def __init__(self, pki, port=6443, host=CONTROL_IP, verify=True):
        self.host, self.port = host, port
        self.tls = ssl.create_default_context(cafile=pki.file("ca.crt"))
        if not verify:
            self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self.tls.load_cert_chain(pki.file("admin.crt"), pki.file("admin.key"))

    def _connect(self, timeout):
        return http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=timeout)

    def request(self, method, path, body=None, timeout=10):
        connection = self._connect(timeout)
        try:
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def create(self, path, body):
        status, text = self.request("POST", path, body)
        if status not in (200, 201, 409):
            raise ClusterError(f"POST {path}: {status}: {text.decode(errors='replace')[:400]}")

    def wait_ok(self, path, deadline, alive):
        """Waits for 200 at `path`; `alive()` raises when the server's process has ended."""
        last = "no connection yet"
        while time.monotonic() < deadline:
            alive()
            try:
                status, text = self.request("GET", path)
                if status == 200:
                    return
                last = f"{status}: {text.decode(errors='replace').strip()[-600:]}"
            except (OSError, http.client.HTTPException) as error:
                last = str(error)
            time.sleep(TRY_AGAIN_SECONDS)
        raise ClusterError(f"{path} on port {self.port} is not ok; last answer: {last}")

    def wait_object(self, collection, name, deadline):
        """Waits, by a watch, until the named object exists."""
        seconds = max(1, int(deadline - time.monotonic()))
        query = urllib.parse.urlencode({"watch": 1, "fieldSelector": f"metadata.name={name}",
                                        "timeoutSeconds": seconds})
        connection = self._connect(seconds + 5)
        try:
            connection.request("GET", f"{collection}?{query}")
            reply = connection.getresponse()
            while line := reply.readline():
                if json.loads(line).get("type") in ("ADDED", "MODIFIED"):
                    return
        finally:
            connection.close()
        raise ClusterError(f"{collection}/{name} did not appear")
