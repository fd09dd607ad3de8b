"""What a kubelet tells of itself and its Pods, asked as monitoring asks: through the API server's
node proxy, and straight at :10250.
"""
import datetime
import json
import re
import subprocess
import time

import pytest

from harness import NODE_IP, NODE_NAME
from pods import bound_body, restarts
from programs import debian_program

SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: (\d+))?$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
MIB = 1 << 20


def raw(cluster, path, check=True):
    return cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE_NAME}/proxy/{path}", check=check)


def refused(cluster, path):
    done = cluster.run(["kubectl", "get", "--raw", f"/api/v1/nodes/{NODE_NAME}/proxy/{path}"],
                       check=False)
    assert done.returncode != 0
    return done.stderr


class Metrics(list):
    """(name, labels, value, milliseconds or None) of each sample."""

    def __init__(self, text):
        super().__init__()
        self.text, self.types = text, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"{name} is there twice"
                self.types[name] = kind
            elif not line.startswith("#"):
                found = SAMPLE.match(line)
                assert found, line
                name, labels, value, at = found.groups()
                self.append((name, dict(LABEL.findall(labels or "")), float(value),
                             int(at) if at else None))

    def find(self, name, **labels):
        return [m for m in self if m[0] == name and labels.items() <= m[1].items()]

    def one(self, name, **labels):
        found = self.find(name, **labels)
        assert len(found) == 1, f"{name} {labels}: {found}"
        return found[0]

    def value(self, name, **labels):
        return self.one(name, **labels)[2]


def metrics(cluster, path="metrics"):
    return Metrics(raw(cluster, path))


def milliseconds(text):
    parsed = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return parsed.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000


def pod_stats(cluster, space, name):
    summary = json.loads(raw(cluster, "stats/summary"))
    found = [p for p in summary["pods"]
             if p["podRef"]["namespace"] == space.ns and p["podRef"]["name"] == name]
    assert len(found) == 1
    return found[0]


def test_pods_are_listed(cluster, space):
    space.pod("seen", container={"env": [{"name": "PASSWORD", "value": "hush-hush"}]})
    pod = space.ready("seen")
    text = raw(cluster, "pods")
    assert "hush-hush" not in text
    listing = json.loads(text)
    assert (listing["kind"], listing["apiVersion"]) == ("PodList", "v1")
    mine = next(p for p in listing["items"] if p["metadata"]["uid"] == pod["metadata"]["uid"])
    assert mine["metadata"]["name"] == "seen" and mine["metadata"]["namespace"] == space.ns
    assert mine["spec"]["nodeName"] == NODE_NAME
    assert mine["spec"]["containers"][0]["image"] == space.guests["hello"]
    for key in ("phase", "podIP", "podIPs", "hostIP", "startTime"):
        assert mine["status"][key] == pod["status"][key]
    ours, theirs = (p["status"]["containerStatuses"][0] for p in (mine, pod))
    for key in ("name", "state", "ready", "restartCount", "image", "imageID", "containerID"):
        assert ours[key] == theirs[key]
    for path in ("runningpods", "runningpods/"):
        running = json.loads(raw(cluster, path))["items"]
        mine = next(p for p in running if p["metadata"]["uid"] == pod["metadata"]["uid"])
        assert mine["spec"]["containers"][0]["name"] == "main"


def test_a_pod_that_does_not_run_is_listed_and_not_measured(cluster, space):
    space.pod("done", restartPolicy="Never", container={"args": ["--exit=0"]})
    pod = space.wait("done", lambda p: p["status"].get("phase") == "Succeeded")
    uid = pod["metadata"]["uid"]
    listed = {p["metadata"]["uid"]: p for p in json.loads(raw(cluster, "pods"))["items"]}
    assert listed[uid]["status"]["phase"] == "Succeeded"
    assert uid not in raw(cluster, "runningpods")
    assert not metrics(cluster, "metrics/resource").find("container_cpu_usage_seconds_total",
                                                         pod="done", namespace=space.ns)
    assert uid not in raw(cluster, "stats/summary")


def test_resource_metrics(cluster, space):
    space.pod("used")
    pod = space.ready("used")
    space.http(pod)
    first = metrics(cluster, "metrics/resource")
    labels = {"namespace": space.ns, "pod": "used"}
    # metrics-server drops a Pod for a single zero, and takes no sample twice.
    for name in ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes"):
        _, _, value, at = first.one(name, container="main", **labels)
        assert value > 0
        assert abs(at - time.time() * 1000) < 10000
    for name in ("pod_cpu_usage_seconds_total", "pod_memory_working_set_bytes"):
        assert first.one(name, **labels)[3]
    assert f'{{namespace="{space.ns}",pod="used",container="main"}}' in first.text
    assert first.value("node_cpu_usage_seconds_total") > 0
    assert first.value("node_memory_working_set_bytes") > 0
    assert first.value("resource_scrape_error") == 0
    started = milliseconds(pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])
    assert abs(first.value("container_start_time_seconds", **labels) * 1000 - started) < 1000
    # 32 MiB of guest and what QEMU itself needs.
    memory = first.value("container_memory_working_set_bytes", **labels)
    assert 4 * MIB < memory < 200 * MIB
    time.sleep(1.1)
    second = metrics(cluster, "metrics/resource")
    for name in ("container_cpu_usage_seconds_total", "node_cpu_usage_seconds_total"):
        chosen = labels if name.startswith("container") else {}
        old, new = first.one(name, **chosen), second.one(name, **chosen)
        assert new[3] > old[3] and new[2] >= old[2]


def test_summary_tells_directions_as_the_guest_sees_them(cluster, space):
    space.pod("net")
    pod = space.ready("net")
    space.http(pod)
    before = pod_stats(cluster, space, "net")["network"]
    blob = "import socket\n" \
           "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n" \
           f"for _ in range(200): s.sendto(b'x' * 1000, ('{pod['status']['podIP']}', 9))\n"
    cluster.run(["python3", "-c", blob], "node")
    after = pod_stats(cluster, space, "net")["network"]
    received = after["rxBytes"] - before["rxBytes"]
    assert 200000 <= received < 300000
    assert after["txBytes"] - before["txBytes"] < received / 2
    assert after["interfaces"][0]["rxBytes"] == after["rxBytes"]


def test_summary(cluster, space):
    space.pod("sum", container={"args": ["--lines=200"]})
    pod = space.ready("sum")
    space.wait_log("sum", "line 200 of 200")
    raw(cluster, "stats/summary")
    time.sleep(1.1)
    summary = json.loads(raw(cluster, "stats/summary"))
    node = summary["node"]
    assert node["nodeName"] == NODE_NAME
    assert node["cpu"]["usageCoreNanoSeconds"] > 0 and node["cpu"]["usageNanoCores"] > 0
    assert 0 < node["memory"]["workingSetBytes"] <= node["memory"]["usageBytes"]
    assert 0 < node["fs"]["usedBytes"] <= node["fs"]["capacityBytes"]
    assert node["runtime"]["imageFs"]["capacityBytes"] > 0
    assert node["rlimit"]["curproc"] > 0
    assert node["network"]["name"] == "eth0"
    mine = pod_stats(cluster, space, "sum")
    assert mine["podRef"]["uid"] == pod["metadata"]["uid"]
    container = mine["containers"][0]
    assert container["name"] == "main"
    assert container["cpu"]["usageCoreNanoSeconds"] > 0 and "usageNanoCores" in container["cpu"]
    assert container["memory"]["workingSetBytes"] > 0 and container["memory"]["rssBytes"] > 0
    assert container["logs"]["usedBytes"] >= 4096
    assert mine["ephemeral-storage"]["usedBytes"] >= container["logs"]["usedBytes"]
    brief = json.loads(raw(cluster, "stats/summary?only_cpu_and_memory=true"))
    assert set(brief["node"]) <= {"nodeName", "startTime", "cpu", "memory", "swap"}
    mine = next(p for p in brief["pods"] if p["podRef"]["name"] == "sum")
    assert set(mine) == {"podRef", "startTime", "containers", "cpu", "memory"}


def test_cadvisor_metrics(cluster, space):
    limits = {"memory": "32Mi", "cpu": "500m"}
    space.pod("look", container={"resources": {"limits": limits, "requests": limits}})
    pod = space.ready("look")
    space.http(pod)
    found = metrics(cluster, "metrics/cadvisor")
    labels = {"namespace": space.ns, "pod": "look"}
    _, all_labels, cpu, _ = found.one("container_cpu_usage_seconds_total", cpu="total", **labels)
    assert cpu > 0
    assert all_labels["image"] == space.guests["hello"] and all_labels["container"] == "main"
    assert all_labels["id"] and all_labels["name"]
    for name in ("container_memory_working_set_bytes", "container_memory_usage_bytes",
                 "container_memory_rss", "container_start_time_seconds", "container_last_seen"):
        assert found.value(name, container="main", **labels) > 0
    assert found.value("container_spec_memory_limit_bytes", **labels) == 32 * MIB
    assert found.value("container_spec_cpu_quota", **labels) == 50000
    for name in ("receive", "transmit"):
        sample = found.one(f"container_network_{name}_bytes_total", **labels)
        assert sample[2] > 0 and sample[1]["container"] == "" and sample[1]["interface"] == "eth0"
    assert found.value("machine_memory_bytes") > 100 * MIB
    assert found.value("machine_cpu_cores") >= 1


def test_probes_have_families(cluster, agent):
    """Samples are counted in test_lifecycle_probes.py."""
    del agent
    found = metrics(cluster, "metrics/probes")
    assert found.types["prober_probe_total"] == "counter"


def boots(found, guest):
    return found.find("unikubelet_boot_duration_seconds_count", vmm="qemu", guest=guest)


def test_own_metrics_count_what_happens(cluster, space):
    before = metrics(cluster)
    space.pod("mine")
    pod = space.ready("mine")
    found = metrics(cluster)
    assert found.value("kubelet_node_name", node=NODE_NAME) == 1
    assert found.value("kubelet_running_pods") == 1
    assert found.value("kubelet_running_containers", container_state="running") == 1
    assert found.value("unikubelet_pods", phase="Running") == 1
    for name in ("kubelet_started_pods_total", "kubelet_started_containers_total",
                 "kubelet_pod_start_duration_seconds_count"):
        assert found.value(name) == before.value(name) + 1, name
    guest = boots(found, "unikraft")
    assert len(guest) == 1 and guest[0][2] == sum(b[2] for b in boots(before, "unikraft")) + 1
    for kind in ("start_container", "run_podsandbox"):
        old, new = (m.value("kubelet_runtime_operations_total", operation_type=kind)
                    for m in (before, found))
        assert new == old + 1
    patches = found.find("rest_client_requests_total", method="PATCH", code="200")
    assert patches and patches[0][2] > 0 and ":" in patches[0][1]["host"]
    assert found.value("rest_client_request_duration_seconds_count", verb="PATCH") > 0
    assert found.value("process_resident_memory_bytes") > MIB
    assert abs(found.value("process_start_time_seconds") - time.time()) < 24 * 3600
    assert found.value("unikubelet_reconcile_lag_seconds_count") > 0
    space.http(pod)
    space.tell(pod, "/exit?code=1")
    space.wait("mine", lambda p: restarts(p) == 1)
    space.ready("mine")
    after = metrics(cluster)
    for name in ("unikubelet_machine_restarts_total", "unikubelet_machines_ended_total",
                 "kubelet_started_containers_total"):
        assert after.value(name) == found.value(name) + 1, name


def test_machines_taken_over_are_counted_and_measured(cluster, space, agent):
    space.pod("kept")
    space.ready("kept")
    agent.kill9()
    agent.start()
    found = metrics(cluster)
    assert found.value("unikubelet_machines_adopted_total") == 1
    assert found.value("kubelet_started_containers_total") == 0
    usage = metrics(cluster, "metrics/resource").one("container_cpu_usage_seconds_total",
                                                     pod="kept", namespace=space.ns)
    assert usage[2] > 0
    assert "txBytes" in pod_stats(cluster, space, "kept")["network"]


def test_configz_and_healthz(cluster, agent):
    config = json.loads(raw(cluster, "configz"))["kubeletconfig"]
    assert config["kind"] == "KubeletConfiguration"
    assert config["apiVersion"] == "kubelet.config.k8s.io/v1beta1"
    assert config["port"] == 10250 and config["nodeStatusUpdateFrequency"] == "1s"
    assert config["nodeStatusReportFrequency"] == "5m0s"
    assert config["cgroupRoot"] == agent.config["cgroup"]
    for path in ("healthz", "healthz/ping", "healthz/log", "healthz/syncloop"):
        assert raw(cluster, path) == "ok"
    assert "NotFound" in refused(cluster, "healthz/nonsense")


def test_log_files(cluster, space):
    space.pod("noted", container={"args": ["--print=for-the-file"]})
    pod = space.ready("noted")
    space.wait_log("noted", "for-the-file")
    directory = f"{space.ns}_noted_{pod['metadata']['uid']}"
    assert '<a href="./pods/">pods/</a>' in raw(cluster, "logs/")
    assert directory in raw(cluster, "logs/pods/")
    assert "for-the-file\n" in raw(cluster, f"logs/pods/{directory}/main/0.log")
    assert "NotFound" in refused(cluster, "logs/pods/none")
    assert "not supported" in refused(cluster, "logs/?query=kubelet")


def ask(cluster, path, *flags):
    """Straight at the agent, as somebody who may do everything."""
    token = cluster.kubectl("create", "token", "observer", "-n", "kube-system").strip()
    return cluster.run(["curl", "-sk", "-i", "--max-time", "10", "-H",
                        f"Authorization: Bearer {token}", *flags,
                        f"https://{NODE_IP}:10250{path}"]).stdout


@pytest.fixture
def observer(cluster, agent):
    del agent
    cluster.kubectl("create", "serviceaccount", "observer", "-n", "kube-system")
    cluster.kubectl("create", "clusterrolebinding", "observer", "--clusterrole=cluster-admin",
                    "--serviceaccount=kube-system:observer")
    yield
    cluster.kubectl("delete", "clusterrolebinding", "observer")
    cluster.kubectl("delete", "serviceaccount", "observer", "-n", "kube-system")


def test_what_is_refused_is_refused_clearly(cluster, observer):
    del observer
    answer = ask(cluster, "/checkpoint/default/p/c", "-X", "POST")
    assert answer.startswith("HTTP/1.1 501 ") and "checkpoint is not supported" in answer
    answer = ask(cluster, "/pods", "-X", "POST")
    assert answer.startswith("HTTP/1.1 405 ") and "\nAllow: GET" in answer
    assert ask(cluster, "/nonsense").startswith("HTTP/1.1 404 ")
    assert ask(cluster, "/metrics/nonsense").startswith("HTTP/1.1 404 ")
    for path in ("/logs/../../etc/passwd", "/logs/%2e%2e/%2e%2e/etc/passwd"):
        assert "root:" not in ask(cluster, path, "--path-as-is")
    answer = ask(cluster, "/metrics")
    assert "\nContent-Type: text/plain; version=0.0.4; charset=utf-8" in answer


def test_a_monitor_needs_no_more_than_nodes_metrics(cluster, agent):
    """The rights of metrics-server and Prometheus: nodes/metrics and nodes/stats."""
    del agent
    cluster.kubectl("create", "serviceaccount", "monitor", "-n", "kube-system")
    cluster.kubectl("create", "clusterrole", "monitor", "--verb=get",
                    "--resource=nodes/metrics,nodes/stats")
    cluster.kubectl("create", "clusterrolebinding", "monitor", "--clusterrole=monitor",
                    "--serviceaccount=kube-system:monitor")
    try:
        token = cluster.kubectl("create", "token", "monitor", "-n", "kube-system").strip()
        head = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", "-H",
                f"Authorization: Bearer {token}"]
        for path, code in (("/metrics", 200), ("/metrics/resource", 200),
                           ("/metrics/cadvisor", 200), ("/stats/summary", 200), ("/pods", 403),
                           ("/logs/", 403), ("/configz", 403), ("/runningpods/", 403)):
            got = cluster.run(head + [f"https://{NODE_IP}:10250{path}"]).stdout
            assert got == str(code), path
    finally:
        for kind in ("clusterrolebinding", "clusterrole"):
            cluster.kubectl("delete", kind, "monitor")
        cluster.kubectl("delete", "serviceaccount", "monitor", "-n", "kube-system")


def test_promtool_accepts_all_metrics(cluster, space):
    promtool = debian_program("prometheus", "promtool")
    space.create_body(bound_body("checked", space.guests["hello"]))
    space.ready("checked")
    for path in ("metrics", "metrics/resource", "metrics/cadvisor", "metrics/probes"):
        done = subprocess.run([promtool, "check", "metrics"], input=raw(cluster, path), text=True,
                              capture_output=True, check=False)
        # 3: it would have named them otherwise; the names are the kubelet's and cAdvisor's.
        assert done.returncode in (0, 3), f"{path}: {done.stdout}{done.stderr}"
        assert "error while linting" not in done.stdout + done.stderr
