"""Two families: an agent with an IPv6 range too, and a Node with an address of each."""
import pytest

from harness import NODE_NAME, Agent
from network import linux_pod, shell

NODE_IP6, RANGE = "fd00:89::2", "fd00:88::/64"


def family(addresses):
    return ["6" if ":" in a["ip"] else "4" for a in addresses]


@pytest.fixture
def dual(cluster, session_agent, node):
    """Takes the place of the session's agent."""
    if session_agent.running():
        assert session_agent.stop() == 0
    cluster.run(["ip", "addr", "add", f"{NODE_IP6}/64", "dev", "eth0", "nodad"], "node")
    cluster.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"], "node")
    agent = Agent(cluster, nodeIP=f"10.89.0.2,{NODE_IP6}", podCIDR6=RANGE, cniCheck=True)
    agent.start()
    yield agent
    if agent.running():
        assert agent.stop() == 0
    cluster.run(["ip", "addr", "del", f"{NODE_IP6}/64", "dev", "eth0"], "node")
    session_agent.start()
    node.check()


def test_two_families(cluster, guests, dual):
    from pods import Space  # pylint: disable=import-outside-toplevel
    space = Space(cluster, guests, "network-dual")
    space.create()
    try:
        linux_pod(space, "both")
        space.pod("four")
        pod, four = space.ready("both", 120), space.ready("four")
        node = cluster.kube.get("Node", NODE_NAME)
        internal = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
        assert internal == ["10.89.0.2", NODE_IP6]
        assert [a["ip"] for a in pod["status"]["hostIPs"]] == internal
        assert family(pod["status"]["podIPs"]) == ["4", "6"]
        assert pod["status"]["podIP"] == pod["status"]["podIPs"][0]["ip"]
        six = pod["status"]["podIPs"][1]["ip"]
        assert six.startswith("fd00:88::")
        assert "hello from linux" in space.http(pod, seconds=180)
        assert "hello from linux" in cluster.http(f"http://[{six}]:8080/")
        assert "hello from linux" in cluster.http(f"http://[{six}]:8080/", where="node")
        assert f"inet6 {six}/64" in shell(space, pod, "ip addr show eth0")
        # One that takes no IPv6 address has none, and is told so.
        assert family(four["status"]["podIPs"]) == ["4"]
        assert "unikraft guests take no IPv6 address" in space.wait_event(
            "four", "NetworkAddressUnused")
        # A new agent finds both as they were; CNI's CHECK has nothing to say.
        dual.kill9()
        dual.start()
        again = space.get("both")["status"]
        assert again["podIPs"] == pod["status"]["podIPs"]
        assert "hello from linux" in cluster.http(f"http://[{six}]:8080/", where="node")
        assert not space.events("both", "NetworkCheckFailed")
    finally:
        print(space.describe())
        space.delete()
