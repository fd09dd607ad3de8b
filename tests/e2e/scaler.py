"""unikubelet-scaler under test: a process in the node's namespaces with the rights that
manifests/scaler.yaml gives, and what the HPA tests need around it."""
import contextlib
import json
import os
import signal
import subprocess
import time

from harness import ROOT, NODE_IP
from kube import ApiError, NotFound
from spaces import NODE

API = "/apis/external.metrics.k8s.io/v1beta1"
API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
STEP_SECONDS = 0.2  # between two looks at a value that cannot be watched


class Scaler:
    """One replica; n tells the ports of several on one host apart."""

    def __init__(self, cluster, n=0, **config):
        self.cluster = cluster
        self.name = f"scaler-{n}"
        self.health_port = 8081 + n
        self.process = None
        self.build = os.environ.get("UNIKUBELET_BUILD") or os.path.join(ROOT, "build")
        self.config_path = cluster.spaces.path(f"agent-{self.name}.yaml")
        self.log_path = cluster.spaces.path("logs", f"{self.name}.log")
        self.config = {"kubeconfig": kubeconfig(cluster), "podIP": NODE_IP, "podName": self.name,
                       "port": 7443 + n, "healthPort": self.health_port,
                       "dataPort": 20000 + 1000 * n, "leaseSeconds": 3, "scrapeMilliseconds": 500,
                       "windowSeconds": 5, "logLevel": "debug", **config}

    def start(self):
        with open(self.config_path, "w", encoding="utf-8") as file:
            for key, value in self.config.items():
                file.write(f"{key}: {json.dumps(value)}\n")
        with open(self.log_path, "ab") as log:
            env = {k: v for k, v in self.cluster.env.items() if k != "KUBECONFIG"}
            self.process = self.cluster.popen(
                [os.path.join(self.build, "unikubelet-scaler"), f"--config={self.config_path}"],
                NODE, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=10):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def get(self, path):
        return self.cluster.run(["curl", "-s", "--max-time", "5",
                                 f"http://{NODE_IP}:{self.health_port}{path}"], NODE,
                                check=False).stdout

    def metric(self, name):
        for line in self.get("/metrics").splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return None

    def log(self, lines=60):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-lines:])


def kubeconfig(cluster):
    """Of the ServiceAccount in manifests/scaler.yaml, which is applied first."""
    path = cluster.spaces.path("scaler.kubeconfig")
    if os.path.exists(path):
        return path
    cluster.kubectl("apply", "-f", os.path.join(ROOT, "manifests", "scaler.yaml"))
    token = cluster.kubectl("create", "token", "unikubelet-scaler", "-n", "kube-system").strip()
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                   "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                   "clusters": [{"name": "c", "cluster": {
                       "server": "https://10.89.0.1:6443",
                       "certificate-authority": cluster.spaces.path("ca.crt")}}],
                   "users": [{"name": "u", "user": {"token": token}}]}, file)
    return path


def until(what, good, seconds=30, describe=lambda: ""):
    """For what has no watch (a metric): the first value that good() accepts."""
    deadline = time.monotonic() + seconds
    while True:
        value = None
        with contextlib.suppress(ApiError, NotFound, OSError):
            value = what()
            if good(value):
                return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds} s; last: {value}\n{describe()}")
        time.sleep(STEP_SECONDS)


def available(cluster, seconds=30):
    """Until the API server reaches the metrics API."""
    until(lambda: cluster.kube.call("GET", API_SERVICE, seconds=2),
          lambda o: any(c["type"] == "Available" and c["status"] == "True"
                        for c in o.get("status", {}).get("conditions", [])), seconds)
    return until(lambda: cluster.kube.call("GET", API, seconds=1), bool, seconds)


def value(cluster, ns, metric, service):
    """The metric's value as an HPA would sum it; None: missing."""
    answer = cluster.kube.call(
        "GET", f"{API}/namespaces/{ns}/{metric}?labelSelector=service%3D{service}", seconds=2)
    assert answer["kind"] == "ExternalMetricValueList"
    values = [item["value"] for item in answer["items"]]
    if not values:
        return None
    return sum(float(v[:-1]) / 1000 if v.endswith("m") else float(v) for v in values)
