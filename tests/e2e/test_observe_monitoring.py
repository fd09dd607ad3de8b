"""The monitoring stack on a node of unikernels: metrics-server and `kubectl top`, an HPA on CPU, and
Prometheus with the chart's own ServiceMonitor, asked every query of the chart's dashboard.
"""
import base64
import contextlib
import json
import os
import subprocess
import time
import urllib.parse

import pytest
import yaml

from harness import NODE_IP, NODE_NAME, ROOT
from pods import deployment_body, pod_body
from programs import debian_program, go_tool
from spaces import CONTROL, CONTROL_IP

CHART = os.path.join(ROOT, "manifests", "helm", "unikubelet")
METRICS_PORT = 4443
PROMETHEUS_PORT = 9090
RESOLUTION = "10s"       # the least that metrics-server takes
SCALED_SECONDS = 240     # two scrapes, an HPA's turn, and a machine that is busy otherwise
LOADERS = 4              # connections that ask one request after the other
LOAD_REQUESTS = 200000   # at most; they stop when the test has seen enough
MONITOR_RULES = [
    {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods", "nodes", "namespaces", "configmaps"],
     "verbs": ["get", "list", "watch"]}]


def rbac(kind, name, **fields):
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": {"name": name}, **fields}


class Monitor:
    """A ServiceAccount with a monitor's rights: its token, its kubeconfig."""

    NAME = "monitoring-stack"

    def __init__(self, cluster, directory):
        self.cluster = cluster
        subject = [{"kind": "ServiceAccount", "name": self.NAME, "namespace": "kube-system"}]
        self.objects = [
            {"apiVersion": "v1", "kind": "ServiceAccount",
             "metadata": {"name": self.NAME, "namespace": "kube-system"}},
            rbac("ClusterRole", self.NAME, rules=MONITOR_RULES),
            *(rbac("ClusterRoleBinding", f"{self.NAME}-{i}", subjects=subject,
                   roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                            "name": role})
              for i, role in enumerate((self.NAME, "system:auth-delegator"))),
            {**rbac("RoleBinding", self.NAME, subjects=subject,
                    roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                             "name": "extension-apiserver-authentication-reader"}),
             "metadata": {"name": self.NAME, "namespace": "kube-system"}}]
        self.apply(self.objects)
        self.token = cluster.kubectl("create", "token", self.NAME, "-n", "kube-system",
                                     "--duration=2h").strip()
        self.kubeconfig = os.path.join(directory, "monitor.kubeconfig")
        self.token_file = os.path.join(directory, "token")
        with open(self.token_file, "w", encoding="utf-8") as file:
            file.write(self.token)
        with open(cluster.spaces.path("ca.crt"), "rb") as file:
            ca = base64.b64encode(file.read()).decode()
        with open(self.kubeconfig, "w", encoding="utf-8") as file:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                       "clusters": [{"name": "c", "cluster": {
                           "server": f"https://{CONTROL_IP}:6443",
                           "certificate-authority-data": ca}}],
                       "users": [{"name": "u", "user": {"token": self.token}}],
                       "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}, file)

    def apply(self, objects):
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.cluster.kubectl("apply", "-f", "-", text=json.dumps(items))

    def close(self):
        items = {"apiVersion": "v1", "kind": "List", "items": self.objects}
        self.cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-",
                             text=json.dumps(items))


@contextlib.contextmanager
def running(cluster, name, argv):
    """A server in the control plane's namespace until the block ends."""
    path = cluster.spaces.path("logs", f"{name}.log")
    with open(path, "ab") as log:
        process = cluster.popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
        assert process.poll() is None, f"{name} ended by itself; its log is {path}"
    except BaseException:
        with open(path, encoding="utf-8", errors="replace") as log:
            print(f"--- {name}'s log ends:\n{log.read()[-4000:]}")
        raise
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def monitor(cluster, tmp_path_factory):
    monitor = Monitor(cluster, str(tmp_path_factory.mktemp("monitor")))
    yield monitor
    monitor.close()


@pytest.fixture(scope="module")
def metrics_server(cluster, monitor, session_agent, tmp_path_factory):
    """metrics-server v0.9 as it is, with its own flags, aggregated through the real API server."""
    del session_agent
    objects = [
        {"apiVersion": "v1", "kind": "Service",
         "metadata": {"name": "metrics-server", "namespace": "kube-system"},
         "spec": {"ports": [{"name": "https", "port": 443, "targetPort": METRICS_PORT}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "metrics-server-test", "namespace": "kube-system",
                      "labels": {"kubernetes.io/service-name": "metrics-server"}},
         "endpoints": [{"addresses": [CONTROL_IP], "conditions": {"ready": True}}],
         "ports": [{"name": "https", "port": METRICS_PORT, "protocol": "TCP"}]},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
         "metadata": {"name": "v1beta1.metrics.k8s.io"},
         "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
                  "versionPriority": 100, "insecureSkipTLSVerify": True,
                  "service": {"name": "metrics-server", "namespace": "kube-system"}}},
        rbac("ClusterRole", "metrics-reader-test", rules=[
            {"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"],
             "verbs": ["get", "list"]}])]
    argv = [os.path.join(go_tool("metrics-server"), "metrics-server"),
            f"--kubeconfig={monitor.kubeconfig}",
            f"--authentication-kubeconfig={monitor.kubeconfig}",
            f"--authorization-kubeconfig={monitor.kubeconfig}",
            f"--kubelet-certificate-authority={cluster.spaces.path('ca.crt')}",
            "--kubelet-preferred-address-types=InternalIP", f"--metric-resolution={RESOLUTION}",
            "--kubelet-request-timeout=5s",
            f"--secure-port={METRICS_PORT}", f"--cert-dir={tmp_path_factory.mktemp('ms')}"]
    with running(cluster, "metrics-server", argv):
        monitor.apply(objects)
        try:
            cluster.kubectl("wait", "--for=condition=Available", "--timeout=120s",
                            "apiservice/v1beta1.metrics.k8s.io", seconds=130)
            yield
        finally:
            items = {"apiVersion": "v1", "kind": "List", "items": objects}
            cluster.kubectl("delete", "--ignore-not-found", "-f", "-", text=json.dumps(items))


def until(what, seconds, look):
    """look() once it is something; there is no watch on what an aggregated server computes."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"no {what} in {seconds} s"
        time.sleep(1)


def top(cluster, *args):
    """Rows of kubectl top, [] while it has none: name, CPU in thousandths, memory in MiB."""
    done = cluster.run(["kubectl", "top", *args, "--no-headers"], check=False)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(r[0], int(r[1].rstrip("m")), r[-2] if r[-1].endswith("%") else r[-1])
            for r in rows if len(r) >= 3 and r[1].endswith("m")]


def test_kubectl_top(cluster, space, metrics_server):
    del metrics_server
    space.pod("measured")
    space.ready("measured")
    name, cpu, memory = until("kubectl top pod", 90,
                              lambda: top(cluster, "pod", "-n", space.ns))[0]
    assert name == "measured" and cpu >= 0
    assert 8 <= int(memory.removesuffix("Mi")) < 512, memory
    name, cpu, _ = until("kubectl top node", 90, lambda: top(cluster, "node"))[0]
    assert name == NODE_NAME and cpu > 0
    containers = until("kubectl top --containers", 30, lambda: cluster.run(
        ["kubectl", "top", "pod", "-n", space.ns, "--containers", "--no-headers"],
        check=False).stdout)
    assert containers.split()[:2] == ["measured", "main"]


def scale_of(space, name):
    return space.kube.get("Deployment", name, space.ns)["spec"].get("replicas")


@contextlib.contextmanager
def asking(cluster, address):
    """A bounded stream of requests at a guest, from the node."""
    script = (f"for i in $(seq {LOAD_REQUESTS // LOADERS}); do "
              f"curl -s -o /dev/null --max-time 5 http://{address}:8080/; done")
    loaders = [cluster.popen(["bash", "-c", script], "node") for _ in range(LOADERS)]
    try:
        yield
    finally:
        for loader in loaders:
            loader.kill()
            loader.wait()


def test_hpa_on_cpu_scales_up_and_down(cluster, space, metrics_server):
    del metrics_server
    body = deployment_body("busy", 1, pod_body("busy", space.guests["hello"]))
    space.create_body(body)
    pod = space.wait_pods(1, "app=busy")[0]
    space.kubectl("create", "-f", "-", text=json.dumps({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "busy"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
                 "minReplicas": 1, "maxReplicas": 3,
                 "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
                 "metrics": [{"type": "Resource", "resource": {
                     "name": "cpu", "target": {"type": "AverageValue", "averageValue": "40m"}}}]}}))
    try:
        with asking(cluster, pod["status"]["podIP"]):
            until("second replica", SCALED_SECONDS, lambda: scale_of(space, "busy") >= 2)
            space.wait_pods(scale_of(space, "busy"), "app=busy")
        until("return to one replica", SCALED_SECONDS, lambda: scale_of(space, "busy") == 1)
        space.wait_pods(1, "app=busy")
    finally:
        space.kubectl("delete", "hpa", "busy")


def rendered():
    """What the chart installs for Prometheus and Grafana, as objects."""
    helm = os.path.join(go_tool("helm"), "helm")
    text = subprocess.run([helm, "template", "unikubelet", CHART, "--namespace", "kube-system",
                           "--set", "serviceMonitor.enabled=true", "--set",
                           "dashboard.enabled=true"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return [o for o in yaml.safe_load_all(text) if o]


def scrape_config(monitor, objects):
    """Prometheus' configuration of what the operator makes of our ServiceMonitor."""
    service_monitor = next(o for o in objects if o["kind"] == "ServiceMonitor")
    jobs = []
    for endpoint in service_monitor["spec"]["endpoints"]:
        assert endpoint["scheme"] == "https"
        jobs.append({
            "job_name": endpoint["path"], "scheme": "https", "metrics_path": endpoint["path"],
            "honor_labels": endpoint["honorLabels"], "scrape_interval": "2s",
            "bearer_token_file": monitor.token_file,
            "tls_config": {"insecure_skip_verify": endpoint["tlsConfig"]["insecureSkipVerify"]},
            "static_configs": [{"targets": [f"{NODE_IP}:10250"], "labels": {"node": NODE_NAME}}]})
    return {"scrape_configs": jobs}


class Prometheus:
    def __init__(self, cluster):
        self.cluster = cluster

    def get(self, path):
        done = self.cluster.run(["curl", "-sS", "--max-time", "10",
                                 f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/{path}"], CONTROL,
                                check=False)
        return json.loads(done.stdout)["data"] if done.returncode == 0 else None

    def query(self, expression):
        return (self.get("query?query=" + urllib.parse.quote(expression)) or {}).get("result")

    def targets_up(self):
        targets = (self.get("targets") or {}).get("activeTargets", [])
        bad = [t["lastError"] for t in targets if t["lastError"]]
        assert not bad, bad
        return targets and all(t["health"] == "up" for t in targets)


def test_every_query_of_the_dashboard_has_data(cluster, space, monitor, tmp_path):
    objects = rendered()
    board = next(o for o in objects if o["kind"] == "ConfigMap" and "dashboard" in
                 o["metadata"]["name"])
    board = json.loads(next(iter(board["data"].values())))
    queries = [t["expr"] for p in board["panels"] for t in p.get("targets", [])]
    assert queries
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump(scrape_config(monitor, objects)))
    argv = [debian_program("prometheus", "prometheus"), f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"]
    with running(cluster, "prometheus", argv):
        prometheus = Prometheus(cluster)
        until("scrape of every path", 60, prometheus.targets_up)
        space.pod("seen", container={"args": ["--exit=3", "--after=100"]}, restartPolicy="Always")
        space.pod("stays")
        space.ready("stays")
        for query in queries:
            query = query.replace("$__rate_interval", "1m")
            until(f"data for {query}", 60, lambda q=query: prometheus.query(q))
