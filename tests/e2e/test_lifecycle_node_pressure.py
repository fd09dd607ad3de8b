"""Node pressure: thresholds set so that they hold on this host, conditions and taints follow, and
Pods go in the kubelet's order, with its reason, message and condition.
"""
import pytest

from harness import NODE_NAME
from pods import bound_body

LOW = {"evictionHard": ["memory.available<99%"], "evictionPressureTransitionSeconds": 1,
       "reservedMemory": "0"}


def condition(obj, kind):
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def evicted(pod):
    return pod["status"].get("reason") == "Evicted"


@pytest.fixture
def reconfigure(agent):
    """Restarts the agent with other keys; the guests go on."""
    before = dict(agent.config)

    def restart(**config):
        assert agent.stop() == 0
        agent.config = {**before, **config}
        agent.start()

    yield restart
    restart()


def class_of(space, name, value):
    space.kube.call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name}, "value": value})


def test_least_important_pod_goes_first(space, reconfigure):
    """"greedy" uses more than it asks for and has a low priority, "dear" too but a high one,
    "modest" asks for all that it uses."""
    name = f"dear-{space.ns[-6:]}"
    class_of(space, name, 1000)
    hello = space.guests["hello"]
    tiny = {"limits": {"memory": "32Mi"}, "requests": {"memory": "1Mi"}}
    ample = {"limits": {"memory": "128Mi"}, "requests": {"memory": "128Mi"}}
    try:
        for pod, resources, spec in (("dear", tiny, {"priorityClassName": name}),
                                     ("greedy", tiny, {}), ("modest", ample, {})):
            body = bound_body(pod, hello, container={"resources": resources}, **spec)
            body["spec"].pop("runtimeClassName")  # whose overhead counts as asked for
            space.create_body(body)
        for pod in ("dear", "greedy", "modest"):
            space.ready(pod)
        reconfigure(**LOW)
        first = space.kube.wait_all("Pod", space.ns, lambda all: any(map(evicted, all)))
        assert [p["metadata"]["name"] for p in first if evicted(p)] == ["greedy"]
        gone = [space.wait(pod, evicted) for pod in ("greedy", "dear", "modest")]
        times = [condition(pod, "DisruptionTarget")["lastTransitionTime"] for pod in gone]
        assert times == sorted(times)
        for pod in gone:
            assert pod["status"]["phase"] == "Failed"
            assert pod["status"]["message"].startswith(
                "The node was low on resource: memory. Threshold quantity: ")
            target = condition(pod, "DisruptionTarget")
            assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
            assert target["message"] == pod["status"]["message"]
            assert "terminated" in pod["status"]["containerStatuses"][0]["state"]
            space.wait_event(pod["metadata"]["name"], "Evicted", "low on resource: memory")
        assert "Container main was using" in gone[0]["status"]["message"]
        assert "request is 1Mi, has larger consumption of memory" in gone[0]["status"]["message"]
        assert "Container main" not in gone[2]["status"]["message"]

        node = space.kube.wait("Node", NODE_NAME, lambda n: any(
            t["key"] == "node.kubernetes.io/memory-pressure" for t in n["spec"].get("taints", [])))
        pressure = condition(node, "MemoryPressure")
        assert (pressure["status"], pressure["reason"]) == ("True", "KubeletHasInsufficientMemory")
        late = bound_body("late", hello, container={"resources": {}})
        space.create_body(late)
        pod = space.wait("late", evicted)
        assert pod["status"]["message"] == \
            "Pod was rejected: The node had condition: [MemoryPressure]. "
        assert not pod["status"].get("containerStatuses")

        reconfigure()
        space.kube.wait("Node", NODE_NAME, lambda n: condition(n, "MemoryPressure").get(
            "status") == "False" and not any("pressure" in t["key"] for t in n["spec"]["taints"]))
        space.pod("after")
        space.ready("after")
    finally:
        space.kube.call("DELETE", f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}")
