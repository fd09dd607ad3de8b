"""Pods of a test: making, finding, waiting, and what happened to them."""
import contextlib
import json
import re
import secrets

from kube import NotFound, collection

from harness import NODE_NAME, container_state, pod_ready

TOLERATION = {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
MEMORY = {"limits": {"memory": "32Mi"}, "requests": {"memory": "32Mi", "cpu": "10m"}}


def pod_body(name, image, labels=None, container=None, **spec):
    """A Pod through the RuntimeClass; keys of spec and container override."""
    body = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent",
            "resources": MEMORY, **(container or {})}
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": labels or {"app": name}},
            "spec": {"runtimeClassName": "unikernel", "terminationGracePeriodSeconds": 5,
                     "containers": [body], **spec}}


def bound_body(name, image, **spec):
    """A Pod bound by nodeName, as a DaemonSet of old or a user may write it."""
    return pod_body(name, image, nodeName=NODE_NAME, tolerations=[TOLERATION], **spec)


def deployment_body(name, replicas, template):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": template["spec"]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                     "template": template}}


class Space:
    """A namespace and the Pods in it."""

    def __init__(self, cluster, guests, test):
        self.cluster, self.kube, self.guests = cluster, cluster.kube, guests
        name = re.sub(r"[^a-z0-9]+", "-", test.lower()).strip("-")[:50].strip("-")
        self.ns = f"{name}-{secrets.token_hex(3)}"  # a cluster that is kept sees a test twice

    def create(self):
        self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.ns}})
        self.kube.wait("ServiceAccount", "default", lambda _: True, self.ns, seconds=120)

    def delete(self):
        """Ends all Pods; the namespace itself goes in its own time (the controller waits 5 s before
        it even begins, so the Pods are deleted by us)."""
        for kind in ("Deployment", "DaemonSet", "StatefulSet", "Job"):
            for item in self.kube.list(kind, self.ns):
                path = f"{collection(kind, self.ns)}/{item['metadata']['name']}"
                self.kube.call("DELETE", path, {"propagationPolicy": "Background"})
        for pod in self.pods():
            if not pod["metadata"].get("ownerReferences"):
                with contextlib.suppress(NotFound):
                    self.delete_pod(pod["metadata"]["name"])
        self.kube.wait_all("Pod", self.ns, lambda pods: not pods, seconds=90)
        self.kube.delete("Namespace", self.ns)

    def kubectl(self, *args, **options):
        return self.cluster.kubectl("-n", self.ns, *args, **options)

    def pod(self, name, image=None, **spec):
        """Creates a Pod of the hello guest (or another image)."""
        return self.kube.create(pod_body(name, image or self.guests["hello"], **spec), self.ns)

    def create_body(self, body):
        return self.kube.create(body, self.ns)

    def get(self, name):
        return self.kube.get("Pod", name, self.ns)

    def pods(self, selector=None):
        return self.kube.list("Pod", self.ns, selector)

    def wait(self, name, good, seconds=60):
        try:
            return self.kube.wait("Pod", name, good, self.ns, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None

    def ready(self, name, seconds=60):
        return self.wait(name, pod_ready, seconds)

    def wait_pods(self, count, selector=None, good=pod_ready, seconds=90):
        """All Pods of a selection, once there are exactly so many, all good."""
        return self.kube.wait_all("Pod", self.ns,
                                  lambda pods: len(pods) == count and all(map(good, pods)),
                                  selector, seconds)

    def gone(self, name, uid=None, seconds=60):
        self.kube.wait_gone("Pod", name, self.ns, uid, seconds)

    def delete_pod(self, name, grace=None):
        self.kube.delete("Pod", name, self.ns, grace)

    def events(self, name=None, reason=None):
        """Messages of a Pod's events, the oldest first."""
        found = [e for e in self.kube.list("Event", self.ns)
                 if (name is None or e["involvedObject"]["name"] == name)
                 and (reason is None or e["reason"] == reason)]
        return sorted(found, key=lambda e: e.get("lastTimestamp") or "")

    def wait_event(self, name, reason, text="", seconds=30):
        """The message of the first event of that reason (None: of any) that has the text in it."""
        def matches(event):
            return event["involvedObject"]["name"] == name and text in event["message"] \
                and reason in (None, event["reason"])
        try:
            events = self.kube.wait_all("Event", self.ns, lambda all: any(map(matches, all)),
                                        seconds=seconds)
        except AssertionError:
            raise AssertionError(f"no event {reason} with \"{text}\"\n{self.describe()}") from None
        return next(filter(matches, events))["message"]

    def logs(self, name, *flags, check=True):
        return self.kubectl("logs", name, *flags, check=check)

    def wait_log(self, name, text, seconds=30):
        """Reads `logs -f` until a line has the text; that line."""
        process = self.cluster.popen(["timeout", str(seconds), "kubectl", "-n", self.ns, "logs",
                                      "-f", name], stdout=-1, stderr=-2, text=True)
        seen = []
        try:
            for line in process.stdout:
                seen.append(line)
                if text in line:
                    return line.rstrip("\n")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        raise AssertionError(f"no \"{text}\" in the log of {name}:\n{''.join(seen)}")

    def http(self, pod, path="/", port=8080, seconds=20):
        """curl of the Pod's address from the node; tries again while the guest still boots."""
        return self.cluster.http(f"http://{pod['status']['podIP']}:{port}{path}",
                                 "--retry", str(seconds), "--retry-all-errors",
                                 "--retry-max-time", str(seconds), seconds=seconds)

    def tell(self, pod, path):
        """A request that ends the guest: no answer is expected."""
        self.cluster.run(["curl", "-s", "--max-time", "1",
                          f"http://{pod['status']['podIP']}:8080{path}"], "node", check=False)

    def describe(self):
        lines = [f"--- Pods and events in {self.ns}:"]
        try:
            for pod in self.pods():
                lines.append(f"{pod['metadata']['name']}: {json.dumps(pod.get('status'))[:1500]}")
            for event in self.events():
                lines.append(f"  {event['involvedObject']['name']}: {event['type']} "
                             f"{event['reason']} x{event.get('count')}: {event['message']}")
        except (NotFound, OSError) as error:
            lines.append(str(error))
        return "\n".join(lines)


def restarts(pod):
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return statuses[0].get("restartCount", 0)


def running(pod):
    return bool(container_state(pod, "running"))
