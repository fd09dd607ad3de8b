"""Cordon, drain, and the node's own shutdown."""
import json

import pytest

from harness import NODE_NAME
from pods import MEMORY, bound_body, deployment_body, pod_body, running


def condition(obj, kind):
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def unschedulable(pod):
    return condition(pod, "PodScheduled").get("reason") == "Unschedulable"


def test_cordon_and_drain(space):
    hello = space.guests["hello"]
    space.create_body(deployment_body("web", 2, pod_body("x", hello)))
    before = space.wait_pods(2, "app=web")
    try:
        space.cluster.kubectl("drain", NODE_NAME, "--ignore-daemonsets", "--force", seconds=90)
        for pod in before:
            space.gone(pod["metadata"]["name"], pod["metadata"]["uid"])
        # Their replacements wait: the node is cordoned.
        space.wait_pods(2, "app=web", good=unschedulable)
    finally:
        space.cluster.kubectl("uncordon", NODE_NAME)
    space.wait_pods(2, "app=web")


@pytest.fixture
def draining(agent):
    before = dict(agent.config)
    assert agent.stop() == 0
    agent.config = {**before, "drainOnExit": True, "shutdownGracePeriodSeconds": 20,
                    "shutdownGracePeriodCriticalPodsSeconds": 5}
    agent.start()
    yield agent
    if agent.running():
        assert agent.stop(40) == 0
    agent.config = before
    agent.start()


def test_shutdown_of_the_node(space, draining):
    """Ordinary Pods first, then the critical one; all are Failed with the kubelet's words before
    the agent is gone, and the Node says why."""
    hello = space.guests["hello"]
    space.create_body(pod_body("one", hello))
    space.create_body(pod_body("never", hello, restartPolicy="Never"))
    critical = bound_body("critical", hello, priorityClassName="system-node-critical",
                          container={"resources": MEMORY})
    space.create_body(critical)
    names = ("one", "never", "critical")
    for name in names:
        space.ready(name)
    assert draining.stop(40) == 0
    ended = {}
    for name in names:
        pod = space.get(name)
        assert pod["status"]["phase"] == "Failed", json.dumps(pod["status"])
        assert pod["status"]["reason"] == "Terminated"
        assert pod["status"]["message"] == \
            "Pod was terminated in response to imminent node shutdown."
        target = condition(pod, "DisruptionTarget")
        assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
        state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        ended[name] = state["finishedAt"]
    assert ended["critical"] >= max(ended["one"], ended["never"])
    node = space.kube.get("Node", NODE_NAME)
    ready = condition(node, "Ready")
    assert (ready["status"], ready["message"]) == ("False", "node is shutting down")
    draining.start()
    # They ended for good: no restart policy brings them back.
    assert not running(space.get("one"))
    space.pod("after")
    space.ready("after")
