"""The node's own admission: Pods that were bound here by name and do not belong here fail as on a
kubelet, with its reasons, and a ReplicaSet of them does not become a storm.
"""
import datetime

import pytest

from harness import NODE_NAME
from pods import bound_body


def rejected(pod):
    return pod["status"].get("phase") == "Failed"


def parse_time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def rejections(events):
    """When Pods were rejected, not only held back."""
    return sorted(parse_time(e["firstTimestamp"]) for e in events
                  if e["reason"] == "OutOfcpu" and "held back" not in e["message"])


def affinity(operator, key, *values):
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [term]}}}}


def asking(**amounts):
    return {"container": {"resources": {"requests": amounts}}}


CASES = {
    "cpu": (asking(cpu="1000"), "OutOfcpu", "enough resource: cpu, requested: 1000050, used: "),
    "memory": (asking(memory="900Gi"), "OutOfmemory", "enough resource: memory, requested: "),
    "storage": (asking(**{"ephemeral-storage": "900Ti"}), "OutOfephemeral-storage",
                "enough resource: ephemeral-storage, requested: "),
    "selector": ({"nodeSelector": {"disk": "ssd"}}, "NodeAffinity",
                 "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"),
    "affinity": (affinity("NotIn", "kubernetes.io/hostname", NODE_NAME), "NodeAffinity",
                 "Predicate NodeAffinity failed"),
    "os": ({"os": {"name": "windows"}}, "PodOSNotSupported", "Failed to admit pod as the OS field"),
}


def test_pods_that_do_not_belong_here_fail_as_on_a_kubelet(space):
    """All at once, beside one whose affinity matches."""
    body = bound_body("good", space.guests["hello"], **affinity("In", "type", "virtual-kubelet"))
    body["spec"]["nodeSelector"] = {"unikubelet.dev/runtime": "true"}
    space.create_body(body)
    for name, (spec, _, _) in CASES.items():
        body = bound_body(name, space.guests["hello"], **spec)
        if name == "os":
            body["spec"].pop("runtimeClassName")
        space.create_body(body)
    for name, (_, reason, text) in CASES.items():
        pod = space.wait(name, rejected)
        assert pod["status"]["reason"] == reason
        assert pod["status"]["message"].startswith("Pod was rejected: ")
        assert text in pod["status"]["message"]
        assert not pod["status"].get("containerStatuses")
        assert text in space.wait_event(name, reason)
        assert all(e["type"] == "Warning" for e in space.events(name, reason))
    assert space.kubectl("get", "pod", "cpu", "--no-headers").split()[2] == "OutOfcpu"
    space.ready("good")


def test_taint_that_is_not_tolerated(space):
    """A NoExecute taint: what runs is deleted by the control plane, what comes is rejected by the
    node; what tolerates it stays and comes."""
    taint = f"maintenance={space.ns[-6:]}:NoExecute"
    tolerations = [{"operator": "Exists"}]
    space.create_body(bound_body("runs", space.guests["hello"]))
    stays = bound_body("stays", space.guests["hello"])
    stays["spec"]["tolerations"] = tolerations
    space.create_body(stays)
    space.ready("runs")
    before = space.ready("stays")
    space.cluster.kubectl("taint", "node", NODE_NAME, taint)
    try:
        space.gone("runs")
        space.create_body(bound_body("late", space.guests["hello"]))
        # Whoever is first: the node rejects it, or the taint manager deletes it.
        space.wait_event("late", None, "aint")
        again = bound_body("tolerant", space.guests["hello"])
        again["spec"]["tolerations"] = tolerations
        space.create_body(again)
        space.ready("tolerant")
    finally:
        space.cluster.kubectl("taint", "node", NODE_NAME, f"{taint}-")
    after = space.get("stays")
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]


@pytest.mark.parametrize("replicas", [3])
def test_replica_set_of_rejected_pods_is_no_storm(space, replicas):
    template = bound_body("x", space.guests["hello"], **asking(cpu="1000"))
    labels = {"app": "toobig"}
    template = {"metadata": {"labels": labels}, "spec": template["spec"]}
    space.kube.create({"apiVersion": "apps/v1", "kind": "ReplicaSet",
                       "metadata": {"name": "toobig"},
                       "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                                "template": template}}, space.ns)
    try:
        pods = space.kube.wait_all(
            "Pod", space.ns, lambda all: len(list(filter(rejected, all))) >= 4, seconds=60)
        failed = [p for p in pods if rejected(p)]
        # At most the four failed ones and those that wait: a kubelet makes dozens a second.
        assert len(pods) <= len(failed) + replicas
        events = space.kube.wait_all("Event", space.ns, lambda all: len(rejections(all)) >= 4)
        # At 0, 1, 3 and 7 s at the earliest, in whole seconds; which Pod is next does not matter.
        times = rejections(events)
        assert times[3] - times[0] >= datetime.timedelta(seconds=6)
        held = next(p for p in pods if not rejected(p))["metadata"]["name"]
        assert "held back" in space.wait_event(held, "OutOfcpu", "held back")
    finally:
        space.kube.delete("ReplicaSet", "toobig", space.ns)
