"""Services at zero: connections held, the workload woken, and put to zero again, with an HPA and
without, while agent, scaler and API server are killed in the middle."""
import json
import os
import sys

import pytest

from pods import deployment_body, pod_body
from kube import NotFound
from scaler import Scaler, available, until, value

HERE = os.path.dirname(os.path.realpath(__file__))
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices"
HPAS = "/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers"
MANY = 1000


@pytest.fixture(scope="module")
def scaler(cluster):
    scaler = Scaler(cluster)
    scaler.start()
    available(cluster)
    yield scaler
    if scaler.running():
        assert scaler.stop() == 0


class Web:
    """A Deployment of hello guests and its Service."""

    def __init__(self, space, replicas=1, **annotations):
        self.space, self.kube, self.ns = space, space.kube, space.ns
        self.cluster = space.cluster
        template = pod_body("web", space.guests["hello"])
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
        # kube-proxy takes it up in its own time: from then on a connect is accepted.
        self.settle()

    def settle(self):
        """Until kube-proxy's rules name the activator: seen in the rules, not by connecting."""
        port = self.slice()["ports"][0]["port"]
        until(lambda: self.cluster.run(["iptables-save", "-t", "nat"], "node").stdout,
              lambda rules: f":{port}" in rules)

    def get(self, seconds=60):
        return self.cluster.http(f"http://{self.ip}/who", seconds=seconds)

    def many(self, count, seconds=120):
        done = self.cluster.run([sys.executable, os.path.join(HERE, "many.py"), self.ip, "80",
                                 str(count), str(seconds)], "node", seconds=seconds + 30)
        return json.loads(done.stdout)

    def autoscale(self, maximum=3, **metrics):
        """metrics: name -> averageValue."""
        self.kube.call("POST", HPAS.format(ns=self.ns), {
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment",
                                        "name": "web"},
                     "minReplicas": 0, "maxReplicas": maximum,
                     "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
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
    assert web.get()
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
