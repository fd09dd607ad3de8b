"""Nothing dies with the agent, nor with the control plane."""
import json
import os
import random
import threading
import time

import pytest

from harness import NODE_NAME, Agent, container_state, pod_ready
from kube import ApiError, NotFound
from pods import pod_body, restarts

KILLS = int(os.environ.get("UNIKUBELET_KILLS", "50"))
CHURN_PODS, STEADY_PODS = 30, 10
SETTLE_SECONDS = 180


def identity(pod):
    status = pod["status"]["containerStatuses"][0]
    return status["containerID"], status["restartCount"], pod["status"]["podIP"]


@pytest.fixture
def three(space):
    for i in range(3):
        space.pod(f"steady-{i}")
    pods = space.wait_pods(3)
    for pod in pods:
        space.http(pod)
    return {p["metadata"]["name"]: identity(p) for p in pods}


def unchanged(space, before):
    for name, was in before.items():
        pod = space.ready(name)
        assert identity(pod) == was
        assert "hello from" in space.http(pod)


@pytest.mark.parametrize("component", ["kube-apiserver", "etcd"])
@pytest.mark.parametrize("how", ["gently", "killed"])
def test_control_plane_restart_under_running_pods(space, three, cluster, component, how):
    flags = ["--kill"] if how == "killed" else []
    cluster.command("stop", component, *flags)
    for name in three:
        assert "hello from" in cluster.http(f"http://{three[name][2]}:8080/")
    cluster.command("start", component)
    unchanged(space, three)
    space.pod("after")
    assert "hello from" in space.http(space.ready("after"))
    space.delete_pod("steady-0")
    space.gone("steady-0")


def test_guests_live_while_the_agent_is_dead(space, three, agent):
    agent.kill9()
    for name in three:
        assert "hello from" in space.cluster.http(f"http://{three[name][2]}:8080/")
    agent.start()
    unchanged(space, three)


def test_guests_live_through_an_orderly_restart(space, three, agent):
    assert agent.stop() == 0
    agent.start()
    unchanged(space, three)


def test_what_happened_while_the_agent_was_dead(space, agent, node):
    """A guest ended, a Pod deleted, one deleted by force, one recreated, one created."""
    for name in ("ends", "deleted", "forced", "again", "stays"):
        space.pod(name, restartPolicy="Never")
    pods = {p["metadata"]["name"]: p for p in space.wait_pods(5)}
    for pod in pods.values():
        space.http(pod)
    agent.kill9()
    space.tell(pods["ends"], "/exit?code=9")
    space.delete_pod("deleted")
    for name in ("forced", "again"):
        space.delete_pod(name, grace=0)
        space.gone(name)
    space.pod("again", restartPolicy="Never", container={"env": [{"name": "N", "value": "2"}]})
    space.pod("new", restartPolicy="Never")
    agent.start()
    ended = space.wait("ends", lambda p: p["status"].get("phase") == "Failed")
    assert container_state(ended, "terminated")["exitCode"] == 9
    space.gone("deleted")
    again = space.ready("again")
    assert "env: N=2" in space.http(again)
    space.ready("new")
    assert identity(space.get("stays")) == identity(pods["stays"])
    assert len(node.vmms()) == 3


def test_damaged_state_files_are_set_aside(space, three, agent):
    agent.kill9()
    top = space.cluster.spaces.path("node", "var", "lib", "unikubelet", "pods")
    records = sorted(n for n in os.listdir(top) if n.endswith(".pod"))
    assert len(records) >= 3
    with open(os.path.join(top, records[0]), "r+b") as file:
        file.truncate(20)
    with open(os.path.join(top, "00000000-0000-0000-0000-000000000000.pod"), "wb") as file:
        file.write(os.urandom(300))
    agent.start()
    unchanged(space, three)
    bad = [n for n in os.listdir(top) if n.endswith(".bad")]
    assert len(bad) == 2, bad
    for name in bad:
        os.unlink(os.path.join(top, name))


def test_second_agent_on_the_same_host_is_refused(cluster, agent):
    del agent
    second = Agent(cluster)
    second.log_path += ".second"
    second.start(ready=False)
    assert second.process.wait(20) != 0
    assert "in use by another agent" in second.log()


def test_second_agent_of_the_same_name_is_refused(cluster, agent, tmp_path):
    """Another host, the same node name: it must not fight over the Node."""
    del agent
    second = Agent(cluster, stateDir=str(tmp_path / "state"), runDir=str(tmp_path / "run"),
                   netnsDir=str(tmp_path / "netns"), port=10251)
    second.log_path += ".other"
    second.config_path += ".other"
    second.start(ready=False)
    try:
        assert second.process.wait(60) != 0
        assert NODE_NAME in second.log(5)
    finally:
        if second.running():
            second.kill9()


def test_deleted_node_registers_again(space, three):
    old = space.kube.get("Node", NODE_NAME)["metadata"]["uid"]
    space.kube.delete("Node", NODE_NAME)
    node = space.kube.wait("Node", NODE_NAME, seconds=30, good=lambda n: pod_ready(n)
                           and n["metadata"]["uid"] != old)
    space.kube.wait("Lease", NODE_NAME, lambda o: o["metadata"]["ownerReferences"][0]["uid"]
                    == node["metadata"]["uid"], "kube-node-lease", seconds=30)
    for name, was in three.items():
        assert identity(space.get(name)) == was


class Churn(threading.Thread):
    """Creates, deletes, forces and recreates Pods at random until told to end."""

    def __init__(self, space, seed):
        super().__init__(daemon=True)
        self.space, self.random = space, random.Random(seed)
        self.ended = threading.Event()
        self.error = None
        self.turns = 0

    def run(self):
        try:
            while not self.ended.wait(self.random.uniform(0.05, 0.4)):
                self.turn(f"churn-{self.random.randrange(CHURN_PODS - STEADY_PODS)}")
                self.turns += 1
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def turn(self, name):
        try:
            self.space.delete_pod(name, self.random.choice((None, None, 0)))
        except NotFound:
            self.fill(name)

    def fill(self, name):
        try:
            self.space.create_body(pod_body(name, self.space.guests["hello"],
                                            terminationGracePeriodSeconds=2))
        except ApiError as error:
            if "AlreadyExists" not in str(error):  # the deleted one is still ending
                raise


def test_agent_killed_under_churn(space, agent, node):
    """0 lost, 0 doubled, 0 leaked."""
    seed = int(os.environ.get("UNIKUBELET_SEED") or time.time())
    print(f"UNIKUBELET_SEED={seed}")
    moments = random.Random(seed)
    for i in range(STEADY_PODS):
        space.pod(f"steady-{i}")
    steady = {p["metadata"]["name"]: identity(p) for p in space.wait_pods(STEADY_PODS)}
    churn = Churn(space, seed)
    for i in range(CHURN_PODS - STEADY_PODS):
        churn.fill(f"churn-{i}")
    churn.start()
    try:
        for _ in range(KILLS):
            churn.ended.wait(moments.uniform(0.02, 1.2))
            assert agent.running(), f"the agent ended by itself:\n{agent.log(60)}"
            agent.kill9()
            agent.start(ready=False)
    finally:
        churn.ended.set()
        churn.join()
    assert churn.error is None, churn.error
    agent.wait_ready()
    settled(space, churn)
    for name, was in steady.items():
        assert identity(space.get(name)) == was, name
    running = {p["metadata"]["uid"]: p for p in space.pods()}
    lines = list(node.vmms().values())
    for uid, pod in running.items():
        machines = [line for line in lines if uid in line]
        assert len(machines) == 1, f"{pod['metadata']['name']} has {len(machines)} machines"
        assert "hello from" in space.http(pod, seconds=60)
        assert restarts(pod) == 0, json.dumps(pod["status"])
    assert len(lines) == len(running)


def settled(space, churn):
    """Fills up to the full number and waits until all are Ready and none is ending."""
    def good(pods):
        return len(pods) == CHURN_PODS and all(
            pod_ready(p) and "deletionTimestamp" not in p["metadata"] for p in pods)
    space.kube.wait_all("Pod", space.ns, lambda pods: not any(
        "deletionTimestamp" in p["metadata"] for p in pods), seconds=SETTLE_SECONDS)
    for i in range(CHURN_PODS - STEADY_PODS):
        churn.fill(f"churn-{i}")
    space.kube.wait_all("Pod", space.ns, good, seconds=SETTLE_SECONDS)
