"""The host's own conflist: chained plugins, capabilities, plugins that go wrong, and what is left
when the agent dies between ADD and DEL. What else plugins may do: tests/unit/test_network.c."""
import contextlib
import json
import os
import select
import shutil
import uuid

import pytest

from harness import Agent
from network import LINUX_MEMORY, in_pod, shell
from pods import Space, pod_body

SUBNET, BRIDGE, MTU = "10.87.0.0/24", "host0", 1400
MAC, ADDRESS = "02:42:0a:57:00:4d", "10.87.0.77"
WRONG = {"fail": "CNI plugin knob: the switch is off: port 7 (code 120)",
         "rubbish": "CNI plugin knob: it printed no result",
         "flood": "CNI plugin knob printed more than 262144 bytes"}
SECONDS = 60
CONFLIST = {"cniVersion": "1.0.0", "name": "host", "plugins": [
    {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "mtu": MTU,
     "capabilities": {"mac": True, "ips": True},
     "ipam": {"type": "host-local", "ranges": [[{"subnet": SUBNET}]],
              "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}},
    {"type": "portmap", "capabilities": {"portMappings": True}},
    {"type": "knob"}]}


class Knob:
    """The plugin's directory."""

    def __init__(self, cluster):
        self.top = cluster.spaces.path("node", "run", "knob")
        for name in ("bin", "conf", "do"):
            os.makedirs(os.path.join(self.top, name))
        here = os.path.dirname(os.path.realpath(__file__))
        shutil.copy(os.path.join(here, "cniknob.py"), os.path.join(self.top, "bin", "knob"))
        path = os.path.join(self.top, "conf", "10-host.conflist")
        with open(path, "w", encoding="ascii") as file:
            json.dump(CONFLIST, file)
        for name in ("at", "go"):
            os.mkfifo(os.path.join(self.top, name))

    def does(self, pod, what):
        path = os.path.join(self.top, "do", pod)
        if what is None:
            os.unlink(path)
            return
        with open(path, "w", encoding="ascii") as file:
            file.write(what)

    def calls(self, pod):
        with open(os.path.join(self.top, "calls"), encoding="ascii") as file:
            return [line.split()[0] for line in file if line.split()[-1] == pod]

    def wait_at(self):
        """Until a plugin that was told to wait does."""
        fd = os.open(os.path.join(self.top, "at"), os.O_RDONLY | os.O_NONBLOCK)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            assert poll.poll(SECONDS * 1000), "no plugin came to the gate"
            assert os.read(fd, 64) == b"here\n"
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def go(self):
        """The line stays to be read for as long as this is open."""
        fd = os.open(os.path.join(self.top, "go"), os.O_RDWR)
        os.write(fd, b"on\n")
        yield
        os.close(fd)


@pytest.fixture(scope="module")
def knob(cluster):
    found = Knob(cluster)
    yield found
    shutil.rmtree(found.top)


@pytest.fixture(scope="module")
def host(cluster, session_agent, knob):
    """Takes the place of the session's agent."""
    if session_agent.running():
        assert session_agent.stop() == 0
    agent = Agent(cluster, cniConfDir="/run/knob/conf",
                  cniBinDirs=["/run/knob/bin", "/usr/lib/cni"])
    agent.start()
    yield agent
    if agent.running():
        assert agent.stop() == 0
    cluster.run(["ip", "link", "del", BRIDGE], "node", check=False)
    session_agent.start()


@pytest.fixture
def pods(request, cluster, host, guests):  # pylint: disable=unused-argument
    space = Space(cluster, guests, request.node.name)
    space.create()
    yield space
    print(space.describe())
    space.delete()


def links(cluster, prefix=()):
    out = cluster.run([*prefix, "ip", "-j", "link"], "node").stdout
    return [link["ifname"] for link in json.loads(out)]


def test_chain_of_the_host_s_conflist(cluster, pods, knob):
    """mac and ips are what the Pod asks for, MTU and sysctl what the chain says."""
    body = pod_body("wishes", pods.guests["linux"], container={
        "resources": LINUX_MEMORY, "ports": [{"containerPort": 8080, "hostPort": 18087}]})
    body["metadata"]["annotations"] = {"unikubelet.dev/mac": MAC,
                                       "unikubelet.dev/ips": f"{ADDRESS}/24"}
    pods.create_body(body)
    wrong = pod_body("wrong", pods.guests["hello"])
    wrong["metadata"]["annotations"] = {"unikubelet.dev/mac": "02:42"}
    pods.create_body(wrong)
    pod = pods.ready("wishes", 120)
    assert pod["status"]["podIP"] == ADDRESS
    pods.http(pod, seconds=SECONDS)
    inside = shell(pods, pod, "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu")
    assert inside.split() == [MAC, str(MTU)]
    sysctl = cluster.run([*in_pod(pod), "sysctl", "-n", "net.core.somaxconn"], "node").stdout
    assert sysctl == "512\n"
    assert "hello" in cluster.http("http://10.89.0.2:18087/", where="control")
    assert "unikubelet.dev/mac" in pods.wait_event("wrong", "FailedCreatePodSandBox")
    pods.delete_pod("wishes")
    pods.gone("wishes")
    assert knob.calls("wishes") == ["ADD", "DEL"] and knob.calls("wrong") == []


def test_a_plugin_goes_wrong_and_comes_right(pods, knob):
    """Each Pod has its own plugin's words; nobody else's Pod waits for it; it goes on by itself."""
    for what in WRONG:
        knob.does(what, what)
        pods.pod(what)
    pods.pod("fine")
    pods.http(pods.ready("fine"))
    for what, words in WRONG.items():
        assert words in pods.wait_event(what, "FailedCreatePodSandBox", seconds=SECONDS)
    for what in WRONG:
        knob.does(what, None)
    for what in WRONG:
        pods.http(pods.ready(what, SECONDS))
        calls = knob.calls(what)
        assert calls[:2] == ["ADD", "DEL"] and calls[-1] == "ADD", calls


def test_a_meta_plugin_s_further_interface(cluster, pods, knob):
    """It stays in the namespace, the Pod's event says so, and it goes with the Pod."""
    knob.does("more", "more")
    pod = pods.pod("more")
    assert "net1" in pods.wait_event("more", "NetworkInterfaceUnused", seconds=SECONDS)
    pod = pods.ready("more")
    pods.http(pod)
    assert "net1" in links(cluster, in_pod(pod)) and "knob-more" in links(cluster)
    pods.delete_pod("more")
    pods.gone("more")
    assert "knob-more" not in links(cluster)


def test_dead_between_add_and_del(cluster, pods, knob, host, node):
    """The agent is killed while a plugin works: the next one lets that end, undoes it and begins
    anew. A namespace of a Pod that nobody knows goes, with its tap; what is not ours stays."""
    stale, foreign = f"unik-{uuid.uuid4()}", "someone"
    knob.does("half", "wait")
    pods.pod("whole")
    whole = pods.ready("whole")
    pods.http(whole)
    pods.pod("half")
    knob.wait_at()
    host.kill9()
    for name in (stale, foreign):
        cluster.run(["ip", "netns", "add", name], "node")
        cluster.run(["ip", "-n", name, "tuntap", "add", "tap0", "mode", "tap"], "node")
    cluster.run(["ip", "tuntap", "add", "tap7", "mode", "tap"], "node")
    knob.does("half", None)
    host.start()
    assert knob.calls("half") == ["ADD"]
    with knob.go():
        pods.http(pods.ready("half", SECONDS))
    calls = knob.calls("half")
    assert calls[0] == "ADD" and calls[-2:] == ["DEL", "ADD"], calls
    pods.http(whole)
    assert knob.calls("whole") == ["ADD"]
    # Deleted while nobody looks: DEL comes with the next agent.
    host.kill9()
    pods.delete_pod("half", 0)
    host.start()
    pods.delete_pod("whole")
    pods.gone("whole")
    assert "tap7" in links(cluster) and "tap0" in links(cluster, ["ip", "netns", "exec", foreign])
    cluster.run(["ip", "netns", "del", foreign], "node")
    for link in ("tap7", BRIDGE):
        cluster.run(["ip", "link", "del", link], "node")
    node.check()
    assert knob.calls("half")[-1] == "DEL" and knob.calls("whole") == ["ADD", "DEL"]
