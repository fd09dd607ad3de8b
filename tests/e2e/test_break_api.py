"""The API server's side misbehaves: others write what is the agent's, the cluster goes back in time,
credentials are wrong and then right. Nothing of it needs a restart of the agent.
"""
import contextlib
import json
import os
import shutil
import subprocess
import time

import pytest

from harness import CLUSTER, NODE_NAME, Agent, container_state, node_ready, pod_ready
from kube import ApiError, NotFound
from pods import bound_body

SEEN_SECONDS = 20  # what a watch tells, with room for a busy machine
COUNT_SECONDS = 4  # long enough for a loop to show


def identity(pod):
    status = pod["status"]["containerStatuses"][0]
    return status["containerID"], status["restartCount"], pod["status"]["podIP"]


def whole(pod, before):
    return (pod_ready(pod) and pod["status"]["phase"] == "Running"
            and pod["status"].get("containerStatuses") and identity(pod) == before
            and "reason" not in pod["status"])


@pytest.fixture
def running(space):
    space.create_body(bound_body("running", space.guests["hello"]))
    return space.ready("running")


def requests(cluster, since, **want):
    """The agent's requests in the audit log from an offset on: their response codes."""
    codes = []
    with open(cluster.spaces.path("audit.log"), encoding="utf-8") as log:
        log.seek(since)
        for line in log:
            with contextlib.suppress(ValueError):  # the last one is being written
                entry = json.loads(line)
                ref = entry.get("objectRef", {})
                if entry["user"]["username"] == f"system:node:{NODE_NAME}" and all(
                        ref.get(k) == v for k, v in want.items()):
                    codes.append(entry["responseStatus"]["code"])
    return codes


def audit_end(cluster):
    return os.path.getsize(cluster.spaces.path("audit.log"))


@pytest.mark.parametrize("status", [
    {"phase": "Pending"},
    {"containerStatuses": []},
    {"reason": "Evicted", "message": "not by the agent"},
    {"conditions": [{"type": "Ready", "status": "False"}]},
], ids=["phase", "containers", "reason", "conditions"])
def test_status_that_somebody_overwrote(space, running, status):
    before = identity(running)
    since = audit_end(space.cluster)
    space.kube.patch("Pod", "running", {"status": status}, space.ns, "/status")
    space.wait("running", lambda p: whole(p, before), SEEN_SECONDS)
    assert len(requests(space.cluster, since, name="running", subresource="status")) <= 2


def test_fight_over_a_status_is_no_storm(space, running):
    before = identity(running)
    since, until = audit_end(space.cluster), time.monotonic() + COUNT_SECONDS
    while time.monotonic() < until:
        space.kube.patch("Pod", "running", {"status": {"phase": "Pending"}}, space.ns, "/status")
    assert len(requests(space.cluster, since, name="running", subresource="status")) <= 3
    space.wait("running", lambda p: whole(p, before), SEEN_SECONDS)


def test_status_that_the_api_refuses_is_no_storm(space):
    """Somebody says that a container ended which may not start again: then the API refuses that it
    runs, with 422, whatever the agent does."""
    space.create_body(bound_body("never", space.guests["hello"], restartPolicy="Never"))
    pod = space.ready("never")
    ended = {**pod["status"]["containerStatuses"][0], "ready": False,
             "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}
    since = audit_end(space.cluster)
    space.kube.patch("Pod", "never", {"status": {
        "containerStatuses": [ended],
        "conditions": [{"type": "Ready", "status": "False"}]}}, space.ns, "/status")
    time.sleep(COUNT_SECONDS)
    codes = requests(space.cluster, since, name="never", subresource="status")
    assert codes.count(422) in (1, 2), codes


def test_node_that_was_thought_lost(space, running):
    """What the node lifecycle controller writes after 40 s of silence, without the silence."""
    node = space.kube.get("Node", NODE_NAME)
    conditions = [{**c, "status": "Unknown", "reason": "NodeStatusUnknown"}
                  for c in node["status"]["conditions"]]
    space.kube.patch("Node", NODE_NAME, {"status": {"conditions": conditions}}, sub="/status")
    space.kube.wait("Node", NODE_NAME, node_ready, seconds=SEEN_SECONDS)
    assert identity(space.get("running")) == identity(running)


def restore(cluster, backup):
    etcd = cluster.spaces.path("etcd")
    for name in ("kube-apiserver", "etcd"):
        cluster.command("stop", name, "--kill")
    shutil.rmtree(etcd)
    shutil.copytree(backup, etcd)
    cluster.command("start", "etcd")
    cluster.command("start", "kube-apiserver")


def test_etcd_restored_from_a_backup(space, running, cluster, node, tmp_path):
    """Pods that the API forgot end, one that it remembers again runs again, and of the others it
    learns how they are. The rest of the control plane must be restarted for that; not the agent."""
    before = identity(running)
    space.create_body(bound_body("waits", f"{space.guests['hello']}-is-not-there"))
    space.create_body(bound_body("ended", space.guests["hello"]))
    space.ready("ended")
    space.wait("waits", lambda p: container_state(p, "waiting"))
    for name in ("kube-apiserver", "etcd"):
        cluster.command("stop", name)
    shutil.copytree(cluster.spaces.path("etcd"), tmp_path / "etcd")
    cluster.command("start", "etcd")
    cluster.command("start", "kube-apiserver")
    try:
        space.create_body(bound_body("forgotten", space.guests["hello"]))
        space.ready("forgotten")
        space.delete_pod("ended", grace=0)
        space.gone("ended")
        # A Pod that is not ready in the backup, and here.
        waits = space.get("waits")["spec"]["containers"][0]
        space.kube.patch("Pod", "waits", {"spec": {"containers": [
            {**waits, "image": space.guests["hello"]}]}}, space.ns)
        space.ready("waits")
    finally:
        restore(cluster, tmp_path / "etcd")
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            cluster.command("restart", name)
    space.wait("running", lambda p: whole(p, before), 2 * SEEN_SECONDS)
    space.ready("ended", 2 * SEEN_SECONDS)
    space.wait("waits", lambda p: container_state(p, "waiting"), SEEN_SECONDS)
    space.create_body(bound_body("after", space.guests["hello"]))
    space.ready("after")
    deadline = time.monotonic() + SEEN_SECONDS
    while len(node.vmms()) != 3 and time.monotonic() < deadline:
        time.sleep(0.1)  # the end of a machine shows nowhere in the API
    assert len(node.vmms()) == 3, node.vmms()


@pytest.fixture
def guest_agent(cluster, tmp_path):
    """A second agent, of another Node, with a kubeconfig that the test writes."""
    name = "uk-guest"
    good = cluster.spaces.path(f"{name}.kubeconfig")
    subprocess.run([CLUSTER, "identity", cluster.dir, name], check=True, stdout=subprocess.DEVNULL)
    with open(good, encoding="utf-8") as file:
        config = json.load(file)
    agent = Agent(cluster, name=name, kubeconfig=str(tmp_path / "kubeconfig"), port=10252,
                  stateDir=str(tmp_path / "state"), runDir=str(tmp_path / "run"), vmm="fake",
                  network="none", cgroup="")
    del agent.config["bootstrapKubeconfig"]
    yield agent, config
    if agent.running():
        assert agent.stop() == 0
    with contextlib.suppress(NotFound, ApiError):
        cluster.kube.delete("Node", name)


def test_credentials_that_become_good(guest_agent, tmp_path):
    """No API server by that CA, then one: the kubeconfig is replaced under the running agent."""
    agent, good = guest_agent

    def write(config):
        with open(tmp_path / "new", "w", encoding="utf-8") as file:
            json.dump(config, file)
        os.rename(tmp_path / "new", tmp_path / "kubeconfig")

    wrong = json.loads(json.dumps(good))
    server = wrong["clusters"][0]["cluster"]
    user = wrong["users"][0]["user"]
    server["certificate-authority-data"] = user["client-certificate-data"]  # signed nothing
    write(wrong)
    agent.start(ready=False)
    deadline = time.monotonic() + SEEN_SECONDS
    while "SSL certificate problem" not in agent.log() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "SSL certificate problem" in agent.log()
    write(good)
    agent.wait_ready(30)
    # Half a change is none: a certificate without its key.
    half = json.loads(json.dumps(good))
    half["users"][0]["user"]["client-key-data"] = server["certificate-authority-data"]
    write(half)
    deadline = time.monotonic() + SEEN_SECONDS
    while "stays in force" not in agent.log() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "stays in force" in agent.log()
    assert agent.running()
