"""Services at zero: connections held, the workload woken, and put to zero again, with an HPA and
without, while agent, scaler and API server are killed in the middle."""
import json
import os
import re
import subprocess
import sys
import threading

import pytest

from harness import NODE_IP
from pods import deployment_body, pod_body
from kube import NotFound
from scaler import Scaler, available, until, value

HERE = os.path.dirname(os.path.realpath(__file__))
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices"
HPAS = "/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers"
MANY = 1000


@pytest.fixture(scope="module")
def scaler(cluster):
    scaler = Scaler(cluster, staleSeconds=3)
    scaler.start()
    available(cluster)
    yield scaler
    if scaler.running():
        assert scaler.stop() == 0


class Web:
    """A Deployment of hello guests and its Service."""

    def __init__(self, space, replicas=1, container=None, **annotations):
        self.space, self.kube, self.ns = space, space.kube, space.ns
        self.cluster = space.cluster
        # As for any Service: a Pod that ends serves on until kube-proxies have heard of it.
        template = pod_body("web", space.guests["hello"],
                            container={"lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
                                       **(container or {})})
        annotations = {"min_up_seconds": 0, **annotations}
        space.create_body(deployment_body("web", replicas, template))
        notes = {f"unikubelet.dev/{k.replace('_', '-')}": str(v) for k, v in annotations.items()}
        body = space.create_body({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "labels": {"unikubelet.dev/scale": "activate"},
                         "annotations": notes},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})
        self.ip = body["spec"]["clusterIP"]

    def replicas(self):
        return self.kube.get("Deployment", "web", self.ns)["spec"]["replicas"]

    def generation(self):
        return self.kube.get("Deployment", "web", self.ns)["metadata"]["generation"]

    def wait_replicas(self, good, seconds=60):
        return self.kube.wait("Deployment", "web", lambda o: good(o["spec"]["replicas"]), self.ns,
                              seconds)

    def slice(self):
        try:
            return self.kube.call("GET", f"{SLICES.format(ns=self.ns)}/web-activator")
        except NotFound:
            return None

    def wait_slice(self, there, seconds=30):
        return until(lambda: (self.slice() is not None) == there, bool, seconds)

    def asleep(self, seconds=90):
        self.wait_replicas(lambda n: n == 0, seconds)
        self.space.wait_pods(0, seconds=seconds)
        self.wait_slice(True)
        self.settle()

    def rules(self):
        return self.cluster.run(["iptables-save", "-t", "nat"], "node").stdout

    def known(self):
        """Until kube-proxy's rules know the Service. A connection that begins before them leaves
        the node as it is, and conntrack keeps it so: its SYNs are lost however often they are
        said again."""
        until(self.rules, lambda rules: f"-d {self.ip}/32 -p tcp" in rules)

    def settle(self):
        """Until kube-proxy's rules name the activator alone: seen in the rules, not by
        connecting. It takes things up in its own time, and a Pod that is gone is in its rules
        for a second more."""
        port = self.slice()["ports"][0]["port"]
        until(self.rules, lambda rules: self.targets(rules) == {f"{NODE_IP}:{port}"})

    def targets(self, rules):
        return set(re.findall(f'"{self.ns}/web -> ([0-9.:]+)"', rules))

    def get(self, *flags, seconds=60):
        return self.cluster.http(f"http://{self.ip}/who", *flags, seconds=seconds)

    def warm(self):
        """The guest's server is up: Ready says that its machine runs."""
        self.known()
        assert self.get("--retry", "30", "--retry-all-errors")

    def many(self, count, seconds=120):
        done = self.cluster.run([sys.executable, os.path.join(HERE, "many.py"), self.ip, "80",
                                 str(count), str(seconds)], "node", seconds=seconds + 30)
        return json.loads(done.stdout)

    def load(self, per_second):
        """A process that connects so often; ended by end_load()."""
        process = self.cluster.popen([sys.executable, os.path.join(HERE, "load.py"), self.ip, "80",
                                      str(per_second)], "node", stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "begun\n"
        return process

    @staticmethod
    def end_load(process):
        process.terminate()
        result = json.loads(process.communicate(timeout=60)[0])
        return result["tried"], result["answered"]

    def autoscale(self, maximum=3, **metrics):
        """metrics: name -> averageValue."""
        self.kube.call("POST", HPAS.format(ns=self.ns), {
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment",
                                        "name": "web"},
                     "minReplicas": 0, "maxReplicas": maximum,
                     "behavior": {"scaleDown": {"stabilizationWindowSeconds": 15}},
                     "metrics": [{"type": "External", "external": {
                         "metric": {"name": f"unikubelet_{name}",
                                    "selector": {"matchLabels": {"service": "web"}}},
                         "target": {"type": "AverageValue", "averageValue": str(target)}}}
                         for name, target in metrics.items()]}})

    def autoscaler(self):
        return self.kube.call("GET", f"{HPAS.format(ns=self.ns)}/web")

    def condition(self, name):
        return next((c["status"] for c in self.autoscaler().get("status", {}).get("conditions", [])
                     if c["type"] == name), None)


def test_alone_to_zero_and_back(cluster, scaler, space):
    web = Web(space, idle_seconds=3, on_failure="http-503")
    space.wait_pods(1)
    until(lambda: value(cluster, space.ns, "unikubelet_open_connections", "web"),
          lambda v: v == 0, describe=scaler.log)
    web.warm()
    web.asleep()
    assert value(cluster, space.ns, "unikubelet_open_connections", "web") == 0
    accepted = scaler.metric("unikubelet_scaler_accepted_total")
    result = web.many(MANY)
    print(result)
    assert result["outcomes"] == {"answered": MANY}
    space.wait_pods(1)
    web.wait_slice(False)
    assert scaler.metric("unikubelet_scaler_accepted_total") == accepted + MANY
    events = [e["message"] for e in space.kube.list("Event", space.ns)
              if e["involvedObject"]["kind"] == "Service"]
    assert any("from 0 to 1" in m for m in events) and any("goes to 0" in m for m in events)
    # And again.
    web.asleep()
    assert web.get()


def test_autoscaled_up_to_n_and_to_zero(cluster, scaler, space):
    web = Web(space, idle_seconds=3)
    web.autoscale(maximum=3, connections_per_second=4, active=1)
    space.wait_pods(1)
    web.warm()
    load = web.load(20)
    web.wait_replicas(lambda n: n == 3, 90)
    space.wait_pods(3)
    tried, answered = web.end_load(load)
    assert answered == tried > 20
    web.asleep()
    until(lambda: web.condition("ScaledToZero"), lambda v: v == "True")
    # The activator wakes it at once, the HPA keeps it up while it is used.
    result = web.many(MANY)
    assert result["outcomes"] == {"answered": MANY}
    web.wait_slice(False)
    web.asleep()
    # By hand: the HPA leaves it alone, a connection does not.
    space.kubectl("delete", "hpa", "web")
    web.autoscale(maximum=3, connections_per_second=4, active=1)
    until(web.autoscaler, lambda o: any(
        c["type"] == "ScalingActive" and c["reason"] == "ScalingDisabled"
        for c in o.get("status", {}).get("conditions", [])), describe=scaler.log)
    assert web.replicas() == 0
    assert web.get()
    until(lambda: web.condition("ScalingActive"), lambda v: v == "True")


def in_background(function, *args):
    """A thread and the list in which its result will be."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    return thread, results


def counters(cluster, ns):
    """connections of each Pod of the namespace, as the agent counts them."""
    text = cluster.kubectl("get", "--raw", "/api/v1/nodes/uk-0/proxy/metrics/connections")
    return [int(line.split()[-1]) for line in text.splitlines()
            if line.startswith("unikubelet_pod_connections_total{") and f'namespace="{ns}"' in line]


def test_killed_in_the_middle(cluster, scaler, space, agent):
    web = Web(space, idle_seconds=4, hold_seconds=50)
    space.wait_pods(1)
    web.warm()
    for _ in range(5):
        web.get()
    until(lambda: counters(cluster, space.ns), lambda c: len(c) == 1 and c[0] >= 5)
    before = counters(cluster, space.ns)
    # Without the agent nothing is known, and nothing is put to zero.
    agent.kill9()
    until(lambda: value(cluster, space.ns, "unikubelet_open_connections", "web"),
          lambda v: v is None, describe=scaler.log)
    assert value(cluster, space.ns, "unikubelet_connections_per_second", "web") is None
    assert web.replicas() == 1
    agent.start()
    assert counters(cluster, space.ns)[0] >= before[0]
    web.asleep()
    # The agent, while connections are held.
    thread, results = in_background(web.many, 200)
    space.wait_pods(1, good=lambda _: True)
    agent.kill9()
    agent.start()
    thread.join()
    assert results[0]["outcomes"] == {"answered": 200}
    web.asleep()
    # The API server, right after the wake.
    thread, results = in_background(web.many, 200)
    web.wait_replicas(lambda n: n == 1)
    cluster.command("restart", "kube-apiserver", "--kill")
    thread.join()
    assert results[0]["outcomes"] == {"answered": 200}


def test_another_leader(cluster, scaler, space):
    standby = Scaler(cluster, 1)
    standby.start()
    try:
        web = Web(space, idle_seconds=3)
        space.wait_pods(1)
        web.asleep()
        assert standby.metric("unikubelet_scaler_leader") == 0
        scaler.kill9()
        until(lambda: standby.metric("unikubelet_scaler_leader"), lambda v: v == 1,
              describe=standby.log)
        until(web.slice, lambda o: o["ports"][0]["port"] >= 21000, describe=standby.log)
        web.settle()
        assert web.many(50)["outcomes"] == {"answered": 50}
        available(cluster)
        until(lambda: value(cluster, space.ns, "unikubelet_active", "web"), lambda v: v is not None,
              describe=standby.log)
        # One that is ended properly hands over.
        scaler.start()
        until(lambda: scaler.get("/readyz"), lambda text: text == "ok\n", describe=scaler.log)
        assert standby.stop() == 0
        until(lambda: scaler.metric("unikubelet_scaler_leader"), lambda v: v == 1,
              describe=scaler.log)
    finally:
        if standby.running():
            standby.kill9()


def test_leader_killed_while_it_holds(cluster, scaler, space):
    """Only what it held is lost; whoever waits at the next one is answered. And what is put to
    zero while connections wait is woken again."""
    held = "unikubelet_scaler_held_connections"
    standby = Scaler(cluster, 1)
    standby.start()
    try:
        until(lambda: standby.get("/readyz"), lambda text: text == "ok\n", describe=standby.log)
        until(lambda: scaler.metric("unikubelet_scaler_leader"), lambda v: v == 1,
              describe=scaler.log)
        probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
        web = Web(space, 0, container={"args": ["--health=503"], "readinessProbe": probe})
        web.wait_slice(True)
        web.settle()
        first, lost = in_background(web.many, 20)
        until(lambda: scaler.metric(held), lambda v: v == 20, describe=scaler.log)
        web.wait_replicas(lambda n: n == 1)
        # Not while somebody waits.
        woken = web.generation()
        space.kubectl("scale", "deployment", "web", "--replicas=0")
        space.kube.wait("Deployment", "web", lambda o: o["spec"]["replicas"] == 1
                        and o["metadata"]["generation"] >= woken + 2, space.ns)
        assert scaler.metric(held) == 20
        scaler.kill9()
        first.join()
        assert "answered" not in lost[0]["outcomes"] and "silent" not in lost[0]["outcomes"]
        until(web.slice, lambda o: o["ports"][0]["port"] >= 21000, describe=standby.log)
        web.settle()
        second, served = in_background(web.many, 20)
        until(lambda: standby.metric(held), lambda v: v == 20, describe=standby.log)
        (pod,) = space.kube.wait_all(
            "Pod", space.ns, lambda pods: len(pods) == 1 and pods[0]["status"].get("podIP"))
        cluster.http(f"http://{pod['status']['podIP']}:8080/health?code=200", "--retry", "30",
                     "--retry-all-errors", seconds=30)
        second.join()
        assert served[0]["outcomes"] == {"answered": 20}
        scaler.start()
        until(lambda: scaler.get("/readyz"), lambda text: text == "ok\n", describe=scaler.log)
        assert standby.stop() == 0
        until(lambda: scaler.metric("unikubelet_scaler_leader"), lambda v: v == 1,
              describe=scaler.log)
    finally:
        if standby.running():
            standby.kill9()
