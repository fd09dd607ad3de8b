"""Row 15, a request to a Service at zero, and row 16, the path after the wake."""
import json
import os
import re
import sys
import threading
import time

from harness import ROOT
from pods import bound_body, deployment_body, pod_ready
from rig import median, say
from scaler import Scaler, available, until
from spaces import NODE

ROUNDS = 5
MANY = 1000
MANY_SECONDS = 120
REQUESTS = 100
NS = "default"
MANY_PROGRAM = os.path.join(ROOT, "tests", "e2e", "many.py")
SLICE = f"/apis/discovery.k8s.io/v1/namespaces/{NS}/endpointslices/web-activator"


class Edges(threading.Thread):
    """When the first new Pod was seen, and seen Ready."""

    def __init__(self, kube, selector):
        super().__init__(daemon=True)
        self.kube, self.selector, self.created, self.ready = kube, selector, None, None
        self.pod = None

    def run(self):
        for what, pod in self.kube.watch("Pod", NS, selector=self.selector, seconds=MANY_SECONDS):
            now = time.monotonic()
            if what == "ADDED" and self.created is None:
                self.created = now
            if what != "DELETED" and pod_ready(pod):
                self.ready, self.pod = now, pod
                return

    def took_ms(self):
        self.join(MANY_SECONDS)
        return (self.ready - self.created) * 1000


def many(rig, address, port, count):
    done = rig.cluster.run([sys.executable, MANY_PROGRAM, address, str(port), str(count),
                            str(MANY_SECONDS)], NODE, seconds=MANY_SECONDS + 30)
    return json.loads(done.stdout)


def service(rig):
    """The Deployment and its Service, at zero."""
    kube, template = rig.cluster.kube, bound_body("web", "hello:v1")
    kube.create(deployment_body("web", 0, template), NS)
    body = kube.create({"apiVersion": "v1", "kind": "Service",
                        "metadata": {"name": "web", "labels": {"unikubelet.dev/scale": "activate"}},
                        "spec": {"selector": {"app": "web"},
                                 "ports": [{"port": 80, "targetPort": 8080}]}}, NS)
    return body["spec"]["clusterIP"]


def to_zero(rig):
    kube = rig.cluster.kube
    kube.patch("Deployment", "web", {"spec": {"replicas": 0}}, NS)
    kube.wait_all("Pod", NS, lambda pods: not pods, "app=web", 90)
    port = until(lambda: kube.call("GET", SLICE), bool)["ports"][0]["port"]
    # kube-proxy names the activator alone: a Pod that is gone is in its rules for a second more.
    until(lambda: rig.cluster.run(["iptables-save", "-t", "nat"], NODE).stdout,
          lambda rules: {t.split(":")[1] for t in re.findall(f'"{NS}/web -> ([0-9.:]+)"', rules)}
          == {str(port)})


def boot_ms(rig, name):
    """What the guest itself needs between its Pod's Ready and its first byte."""
    kube = rig.cluster.kube
    edges = Edges(kube, f"app={name}")
    kube.create(bound_body(name, "hello:v1"), NS)
    edges.start()
    edges.join(MANY_SECONDS)
    address = edges.pod["status"]["podIP"]
    while many(rig, address, 8080, 1)["outcomes"] != {"answered": 1}:
        pass  # refused: it boots
    took = (time.monotonic() - edges.ready) * 1000
    kube.delete("Pod", name, NS)
    kube.wait_gone("Pod", name, NS)
    return took


def wakes(rig, report, address):
    values, boots = [], []
    for n in range(ROUNDS):
        to_zero(rig)
        edges = Edges(rig.cluster.kube, "app=web")
        edges.start()
        result = many(rig, address, 80, 1)
        assert result["outcomes"] == {"answered": 1}, result
        values.append(result["first"] * 1000 - edges.took_ms())
        boots.append(boot_ms(rig, f"boot-{n}"))
        say(f"first byte after {result['first'] * 1000:.0f} ms, of which created to Ready "
            f"{edges.took_ms():.0f} ms; a guest's boot after Ready {boots[-1]:.0f} ms")
    report.add(15, f"Service at zero: connect to first byte, minus Pod created to Ready, median of "
               f"{ROUNDS}", median(values), "ms",
               "Pod Ready to first byte of a direct connection (the guest's own boot, TCG)",
               median(boots), target=20)
    to_zero(rig)
    outcomes = many(rig, address, 80, MANY)["outcomes"]
    report.add(15, f"lost of {MANY} concurrent connections at zero",
               MANY - outcomes.get("answered", 0), "", target=0)


def path(rig, report, scaler, address):
    kube = rig.cluster.kube
    (pod,) = kube.wait_all("Pod", NS, lambda pods: len(pods) == 1 and pod_ready(pods[0]), "app=web")
    until(lambda: scaler.metric("unikubelet_scaler_relayed_connections"), lambda v: v == 0)
    until(lambda: rig.cluster.run(["iptables-save", "-t", "nat"], NODE).stdout,
          lambda rules: f":{scaler.config['dataPort']}" not in rules)
    before = scaler.metric("unikubelet_scaler_accepted_total")
    through, direct = [], []
    for _ in range(REQUESTS):
        through.append(many(rig, address, 80, 1)["first"] * 1000)
        direct.append(many(rig, pod["status"]["podIP"], 8080, 1)["first"] * 1000)
    report.add(16, f"after the wake: request through the Service, median of {REQUESTS}",
               median(through), "ms", "directly to the Pod", median(direct))
    report.add(16, f"of {REQUESTS} connections, through the activator",
               scaler.metric("unikubelet_scaler_accepted_total") - before, "", target=0)


def run_zero(rig, report, wanted):
    if not wanted & {15, 16}:
        return
    say("rows 15, 16: a Service at zero, and after")
    rig.cluster.kubectl("apply", "-f", os.path.join(ROOT, "manifests", "runtimeclass.yaml"))
    rig.start_agent(real=True)
    scaler = Scaler(rig.cluster, logLevel="info")
    scaler.start()
    try:
        available(rig.cluster)
        address = service(rig)
        to_zero(rig)
        if 15 in wanted:
            wakes(rig, report, address)
        else:
            many(rig, address, 80, 1)
        if 16 in wanted:
            path(rig, report, scaler, address)
        rig.cluster.kube.delete("Service", "web", NS)
        rig.cluster.kube.delete("Deployment", "web", NS)
        rig.cluster.kube.wait_all("Pod", NS, lambda pods: not pods, "app=web", 90)
    except BaseException:
        print(f"--- the scaler's log ends:\n{scaler.log(40)}", file=sys.stderr)
        raise
    finally:
        scaler.stop()
