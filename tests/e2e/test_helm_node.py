"""helm install, upgrade and uninstall on a real node: kubelet 1.37, containerd 2.4 and runc, with
the image that the real Dockerfile makes. Unikernels outlive every container of the agent."""
import os
import re
import subprocess
import tempfile

import pytest

from harness import REGISTRY, REGISTRY_ADDRESS, ROOT, Approver, node_ready
from pods import deployment_body, pod_body, pod_ready, restarts
from scaler import available, until, value
from worker import CHART, UNIKERNELS, Worker

COUNT = 20
NS = "unikubelet"
LABEL = "app=hello"


@pytest.fixture(scope="module")
def worker():
    machine = Worker(tempfile.mkdtemp(prefix="unikubelet-worker-"))
    try:
        machine.start()
        Approver(machine.kube).start()
        subprocess.run([REGISTRY, "up", machine.cluster.dir], check=True,
                       stdout=subprocess.DEVNULL)
        yield machine
    finally:
        machine.stop(keep=bool(os.environ.get("UNIKUBELET_KEEP")))


@pytest.fixture(scope="module")
def installed(worker):
    """The chart, with nothing set but what the tests' registry and emulator want."""
    worker.helm("install", "unikubelet", CHART, "-n", NS, "--create-namespace", "--wait",
                "--timeout=5m", "--set", "agent.flags.accel=tcg",
                "--set", f"agent.flags.insecure-registries={REGISTRY_ADDRESS}")
    try:
        worker.kube.wait("Node", UNIKERNELS, node_ready, seconds=90)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{worker.describe()}") from None
    return worker


@pytest.fixture(scope="module")
def hello(installed, tmp_path_factory):
    """A Deployment of unikernels that answer; the list of its Pods."""
    out = tmp_path_factory.mktemp("guests")
    subprocess.run([os.path.join(ROOT, "tests", "guests", "pack"), str(out)], check=True)
    image = installed.cluster.push(f"{out / 'hello'}:v1", "hello:v1")
    installed.kube.create(deployment_body("hello", COUNT, pod_body("hello", image)), "default")
    return ready_pods(installed)


def ready_pods(worker):
    try:
        return worker.kube.wait_all(
            "Pod", "default", lambda p: len(p) == COUNT and all(map(pod_ready, p)), LABEL, 180)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{worker.describe()}") from None


def facts(worker):
    """What must not change: container ids, restarts, and the processes of the machines."""
    pods = ready_pods(worker)
    return ({p["metadata"]["uid"]: (restarts(p), p["status"]["podIP"],
                                    p["status"]["containerStatuses"][0]["containerID"])
             for p in pods}, worker.vmms())


def test_install(installed, hello):
    """Node Ready beside the host's own, unikernels run on it, and `helm test` agrees."""
    assert {p["spec"]["nodeName"] for p in hello} == {UNIKERNELS}
    assert len(installed.vmms()) == COUNT
    node = installed.kube.get("Node", UNIKERNELS)
    assert node["metadata"]["labels"]["unikubelet.dev/host"] == "worker"
    agent = installed.agent_container()[1]["spec"]
    assert "privileged" not in agent["containers"][0]["securityContext"]
    installed.helm("test", "unikubelet", "-n", NS, "--timeout=3m")
    log = installed.cluster.kubectl("logs", hello[0]["metadata"]["name"])
    assert "listening on port 8080" in log


def test_upgrade_restarts_nothing(installed, hello):
    before = facts(installed)
    old = installed.agent_container()[0]
    with installed.request_loop([p["status"]["podIP"] for p in hello]) as loop:
        installed.helm("upgrade", "unikubelet", CHART, "-n", NS, "--reuse-values", "--wait",
                       "--timeout=5m", "--set-string", "agent.podAnnotations.round=second")
        installed.kube.wait("Node", UNIKERNELS, node_ready, seconds=60)
        assert installed.agent_container()[0] != old
        installed.cluster.kubectl("logs", hello[0]["metadata"]["name"])
    assert loop["failures"] == []
    assert loop["least"] >= 2
    assert facts(installed) == before


def test_container_killed_by_the_runtime(installed, hello):
    before = facts(installed)
    container, pod = installed.agent_container()
    with installed.request_loop([p["status"]["podIP"] for p in hello]) as loop:
        installed.on_node("ctr", "--namespace=k8s.io", "task", "kill", "--signal=SIGKILL",
                          container)
        installed.kube.wait(
            "Pod", pod["metadata"]["name"],
            lambda p: pod_ready(p) and restarts(p) > restarts(pod), NS, seconds=120)
        installed.kube.wait("Node", UNIKERNELS, node_ready, seconds=60)
    assert loop["failures"] == []
    assert loop["least"] >= 2
    assert facts(installed) == before


def test_scaler_pod(installed, hello):
    """The chart's scaler as its Pods run it: its own rights, image and network."""
    installed.helm("upgrade", "unikubelet", CHART, "-n", NS, "--reuse-values", "--wait",
                   "--timeout=5m", "--set", "scaler.enabled=true")
    available(installed.cluster, 60)
    pods = installed.kube.list("Pod", NS, "app.kubernetes.io/component=scaler")
    assert len(pods) == 2 and all(p["spec"]["nodeName"] == "worker" for p in pods)
    service = installed.kube.create({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "hello", "labels": {"unikubelet.dev/scale": "activate"}},
        "spec": {"selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]}},
        "default")
    # Counted by the agent, read by the scaler, asked for through the API server. What ended while
    # no agent ran (see the test before) counts as open for minutes: in doubt it is up.
    until(lambda: value(installed.cluster, "default", "unikubelet_open_connections", "hello"),
          lambda v: v is not None, 60, installed.describe)
    with installed.request_loop([p["status"]["podIP"] for p in hello]):
        until(lambda: value(installed.cluster, "default", "unikubelet_connections_per_second",
                            "hello"), lambda v: v is not None and v > 0, 60, installed.describe)
    # Its Service at zero: held by the Pod, woken, carried to a machine.
    installed.cluster.kubectl("scale", "deployment", "hello", "--replicas=0", "-n", "default")
    installed.kube.wait_all("Pod", "default", lambda p: not p, LABEL, 120)
    until(lambda: targets(installed, "hello"),
          lambda t: t and t <= {f"{p['status']['podIP']}:20000" for p in pods}, 60)
    out = installed.cluster.http(f"http://{service['spec']['clusterIP']}/who", seconds=60)
    assert "hello from" in out
    installed.cluster.kubectl("delete", "service", "hello", "-n", "default")


def targets(worker, service):
    """Where kube-proxy's rules lead to."""
    rules = worker.cluster.run(["iptables-save", "-t", "nat"], "node").stdout
    return set(re.findall(f'"default/{service} -> ([0-9.:]+)"', rules))


def test_uninstall_leaves_nothing(installed, hello):  # pylint: disable=unused-argument
    installed.helm("uninstall", "unikubelet", "-n", NS, "--wait", "--timeout=6m")
    installed.kube.wait_gone("Node", UNIKERNELS, seconds=30)
    processes = installed.on_node("ps", "-eww", "-o", "args=")
    assert "unikubelet-shim" not in processes and "qemu-system" not in processes
    left = installed.on_node(
        "sh", "-c", "ls -d /opt/unikubelet /var/lib/unikubelet /run/unikubelet /run/netns/unik-* "
        "/sys/fs/cgroup/unikubelet* /sys/fs/cgroup/*/unikubelet* 2>/dev/null || true")
    assert left == ""
    rules = installed.on_node("iptables-save", "-t", "nat")
    assert "unik-" not in rules
    for kind in ("clusterrole", "clusterrolebinding", "runtimeclass", "apiservice"):
        names = installed.cluster.kubectl("get", kind, "-o", "name",
                                          "-l", "app.kubernetes.io/name=unikubelet")
        assert names == ""
    objects = installed.cluster.kubectl("get", "all,cm,secret,sa", "-n", NS, "-o", "name")
    assert [o for o in objects.split()
            if o not in ("configmap/kube-root-ca.crt", "serviceaccount/default")] == []
