"""Fixtures: one cluster, registry and agent a session; a namespace and a leak check a test.

UNIKUBELET_CLUSTER=DIR uses a cluster that is up already (and leaves it up); UNIKUBELET_BUILD=DIR
tests the programs of another build directory; UNIKUBELET_KEEP=1 leaves the cluster up on failure.
"""
import json
import os
import subprocess
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

from harness import REGISTRY, ROOT, Agent, Approver, Cluster, Node  # noqa: E402
from pods import Space  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.session.stash.setdefault(FAILED, []).append(item.name)


FAILED = pytest.StashKey()


@pytest.fixture(scope="session")
def cluster(request):
    given = os.environ.get("UNIKUBELET_CLUSTER")
    directory = given or tempfile.mkdtemp(prefix="unikubelet-e2e-")
    cluster = Cluster.up(directory)
    try:
        cluster.open()
        Approver(cluster.kube).start()
        cluster.kubectl("apply", "-f", os.path.join(ROOT, "manifests", "runtimeclass.yaml"))
        subprocess.run([REGISTRY, "up", directory, "--auth"], check=True, stdout=subprocess.DEVNULL)
        yield cluster
    finally:
        cluster.close()
        keep = os.environ.get("UNIKUBELET_KEEP") and request.session.stash.get(FAILED, [])
        if keep:
            print(f"\nkept for you to look at: {directory}")
        elif not given:
            cluster.down()


@pytest.fixture(scope="session")
def guests(cluster, tmp_path_factory):
    """name -> reference in the registry, of every image that tests/guests/pack makes: "hello" is
    hello:v1, other tags are asked for as "hello:v2", its layout as "layout:hello"."""
    out = tmp_path_factory.mktemp("guests")
    subprocess.run([os.path.join(ROOT, "tests", "guests", "pack"), str(out)], check=True)
    found = {}
    for name in sorted(os.listdir(out)):
        with open(out / name / "index.json", encoding="utf-8") as file:
            entries = json.load(file)["manifests"]
        found[f"layout:{name}"] = str(out / name)
        for entry in entries:
            tag = entry["annotations"]["org.opencontainers.image.ref.name"]
            image = cluster.push(f"{out / name}:{tag}", f"{name}:{tag}")
            found[name if tag == "v1" else f"{name}:{tag}"] = image
    return found


@pytest.fixture(scope="session")
def session_agent(cluster):
    agent = Agent(cluster)
    agent.start()
    yield agent
    if agent.running():
        assert agent.stop() == 0


@pytest.fixture
def agent(session_agent):
    """The agent, running and ready whatever an earlier test did to it."""
    if not session_agent.running():
        session_agent.start()
    yield session_agent
    assert session_agent.running(), (
        f"the agent ended by itself: status {session_agent.process.returncode}\n"
        f"{session_agent.log(60)}")


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


@pytest.fixture
def node(cluster):
    return Node(cluster)


@pytest.fixture
def space(request, cluster, agent, node, guests):  # pylint: disable=unused-argument
    """A namespace of the test's own; afterwards nothing of its Pods may be left on the node."""
    space = Space(cluster, guests, request.node.name)
    space.create()
    logged = len(agent.log())
    yield space
    failed = request.node.name in request.session.stash.get(FAILED, [])
    if failed:
        print(space.describe())
        print(f"--- the agent's log ends:\n{agent.log()[logged:][-20000:]}")
    if not agent.running():
        agent.start()
    space.delete()
    node.check()
