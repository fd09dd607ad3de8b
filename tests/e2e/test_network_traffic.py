"""What goes through tap, redirect and bridge: every kind of traffic, whole and counted."""
import json

import pytest

from network import in_pod, linux_pod, listening, shell, traffic

MEGABYTE = 1 << 20
BANDWIDTH = {"kubernetes.io/ingress-bandwidth": "20M", "kubernetes.io/egress-bandwidth": "10M"}


@pytest.fixture(scope="module")
def pair(request, cluster, session_agent, guests):
    """Two of our unikernels and a Linux guest, for all tests here."""
    del session_agent
    from pods import Space  # pylint: disable=import-outside-toplevel
    space = Space(cluster, guests, "network-traffic")
    space.create()
    request.addfinalizer(space.delete)
    space.pod("a")
    space.pod("b")
    linux_pod(space, "l")
    pods = {name: space.ready(name, 120) for name in "abl"}
    space.http(pods["a"])
    space.http(pods["b"])
    space.http(pods["l"], seconds=60)
    pods["space"] = space
    return pods


def ip(pod):
    return pod["status"]["podIP"]


def test_udp(cluster, pair):
    for size in (1, 512, 1472):
        assert traffic(cluster, "udp", ip(pair["a"]), 100, size)["good"] == 100


def test_large_transfers_both_ways(cluster, pair):
    assert traffic(cluster, "sink", ip(pair["a"]), 8 * MEGABYTE)["same"]
    got = traffic(cluster, "source", ip(pair["a"]), 8 * MEGABYTE)
    assert got["same"] and got["bytes"] == 8 * MEGABYTE


def test_large_transfers_of_a_linux_guest(cluster, pair):
    """It offloads checksums and segmentation to its virtio-net: what the host does is whole."""
    space, pod, size = pair["space"], pair["l"], 6 * MEGABYTE
    script = f"head -c {size} /dev/urandom > /tmp/x; sha256sum < /tmp/x"
    sent = shell(space, pod, script, seconds=300).split()[0]
    with listening(cluster, "take", 9100) as answer:
        shell(space, pod, "nc 10.88.0.1 9100 < /tmp/x; rm /tmp/x", seconds=300)
        assert answer() == {"bytes": size, "sha256": sent}
    with listening(cluster, "give", 9101, size) as answer:
        got = shell(space, pod, "nc 10.88.0.1 9101 < /dev/null | sha256sum",
                    seconds=300).split()[0]
        assert answer()["sha256"] == got


@pytest.mark.parametrize("name,exact", [("a", True), ("l", False)], ids=["plain", "offloading"])
def test_checksums_on_the_tap(cluster, pair, name, exact):
    """Every packet between guest and host, and between guests, as it is on the guest's tap. A guest
    without offloads must never see or send one that is not whole; of one that offloads the kernel
    may still have to compute it, but none is wrong."""
    space, pod, other = pair["space"], pair[name], pair["b"]
    with listening(cluster, "checksums", "tap0", within=in_pod(pod)) as answer:
        if name == "a":
            assert traffic(cluster, "udp", ip(pod), 50, 1000)["good"] == 50
            assert traffic(cluster, "sink", ip(pod), MEGABYTE)["same"]
            assert traffic(cluster, "source", ip(pod), MEGABYTE)["same"]
            text = traffic(cluster, "fetch", ip(pod), ip(other), 8080, "/")["text"]
            assert "hello from main" in text
        else:
            text = shell(space, pod, f"wget -qO- http://{ip(other)}:8080/; "
                                     f"for i in 1 2 3; do echo x | nc -u -w 1 {ip(other)} 7; done")
            assert "hello from main" in text
        seen = answer()
    for direction in ("in", "out"):
        assert seen[direction]["bad"] == 0, seen
        assert seen[direction]["good"] + seen[direction]["partial"] >= 5, seen
        if exact:
            assert seen[direction]["partial"] == 0 and seen[direction]["lengths"] <= 1514, seen


def test_ten_thousand_short_connections(cluster, pair):
    got = traffic(cluster, "short", ip(pair["b"]), 8080, 10000, 16, seconds=400)
    assert got["good"] == 10000 and not got["errors"], got


def test_mac_and_mtu_are_the_interface_s(cluster, pair):
    links = {}
    for name in ("eth0", "tap0"):
        out = cluster.run([*in_pod(pair["l"]), "ip", "-j", "link", "show", name], "node").stdout
        links[name] = json.loads(out)[0]
    inside = shell(pair["space"], pair["l"], "cat /sys/class/net/eth0/address "
                                             "/sys/class/net/eth0/mtu").split()
    assert inside == [links["eth0"]["address"], str(links["eth0"]["mtu"])]
    assert links["tap0"]["mtu"] == links["eth0"]["mtu"]


def host_veth(cluster, pod):
    """The node's end of the Pod's link, found as anybody finds it: by the peer's index."""
    out = cluster.run([*in_pod(pod), "ip", "-j", "link", "show", "eth0"], "node").stdout
    index = json.loads(out)[0]["link_index"]
    links = json.loads(cluster.run(["ip", "-j", "link"], "node").stdout)
    return next(i["ifname"] for i in links if i["ifindex"] == index)


def test_a_policy_on_the_interface_holds(cluster, pair):
    """What enforces NetworkPolicy sees the Pod's traffic on the interface that CNI made."""
    veth, table = host_veth(cluster, pair["a"]), "probe"
    rules = f"""table bridge {table} {{
        chain from_pod {{
            type filter hook input priority 0;
            iifname "{veth}" udp sport 7 counter;
        }}
        chain to_pod {{
            type filter hook output priority 0;
            oifname "{veth}" udp dport 7 counter;
            oifname "{veth}" tcp dport 8080 drop;
        }}
    }}
    """
    cluster.run(["nft", "-f", "-"], "node", input=rules)
    try:
        assert traffic(cluster, "udp", ip(pair["a"]), 25, 100)["good"] == 25
        out = cluster.run(["nft", "-j", "list", "table", "bridge", table], "node").stdout
        counters = [e["counter"]["packets"] for item in json.loads(out)["nftables"]
                    if "rule" in item for e in item["rule"]["expr"] if "counter" in e]
        assert counters == [25, 25]
        refused = cluster.run(["curl", "-s", "--max-time", "1", f"http://{ip(pair['a'])}:8080/"],
                              "node", check=False)
        assert refused.returncode == 28
    finally:
        cluster.run(["nft", "delete", "table", "bridge", table], "node")
    assert "hello" in pair["space"].http(pair["a"])


def test_host_ports_tcp_and_udp(cluster, pair):
    space = pair["space"]
    ports = [{"containerPort": 8080, "hostPort": 18080}, {"containerPort": 7, "hostPort": 10007,
                                                          "protocol": "UDP"}]
    space.pod("ports", container={"ports": ports})
    pod = space.ready("ports")
    space.http(pod)
    assert "hello" in cluster.http("http://10.89.0.2:18080/", where="control")
    code = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
            "s.settimeout(10); s.connect(('10.89.0.2', 10007)); s.send(b'over'); "
            "print(s.recv(9).decode())")
    assert cluster.run(["python3", "-c", code], "control").stdout == "over\n"


def test_bandwidth_annotations(cluster, pair):
    """kubernetes.io/ingress-bandwidth and egress-bandwidth, as tbf of the bandwidth plugin."""
    space = pair["space"]
    from pods import pod_body  # pylint: disable=import-outside-toplevel
    body = pod_body("slow", space.guests["hello"])
    body["metadata"]["annotations"] = BANDWIDTH
    space.create_body(body)
    wrong = pod_body("wrong", space.guests["hello"])
    wrong["metadata"]["annotations"] = {"kubernetes.io/egress-bandwidth": "10"}
    space.create_body(wrong)
    space.http(space.ready("slow"))
    disciplines = cluster.run(["tc", "qdisc", "show"], "node").stdout
    assert "tbf" in disciplines and "rate 20Mbit" in disciplines and "rate 10Mbit" in disciplines
    slow = space.get("slow")
    assert traffic(cluster, "sink", ip(slow), MEGABYTE)["same"]
    assert traffic(cluster, "source", ip(slow), MEGABYTE)["same"]
    disciplines = json.loads(cluster.run(["tc", "-s", "-j", "qdisc", "show"], "node").stdout)
    through = [q["bytes"] for q in disciplines if q["kind"] == "tbf"]
    assert len(through) == 2 and min(through) > MEGABYTE, through  # both ways, all of it
    assert "unreasonably small (< 1kbit)" in space.wait_event("wrong", "FailedCreatePodSandBox")


def test_statistics_have_the_pod_s_directions(cluster, pair):
    """Received is what the Pod received, in the summary and in cAdvisor's metrics alike."""
    pod = pair["a"]

    def bytes_of():
        path = "/api/v1/nodes/uk-0/proxy/stats/summary"
        summary = json.loads(cluster.kubectl("get", "--raw", path))
        net = next(p["network"] for p in summary["pods"]
                   if p["podRef"]["uid"] == pod["metadata"]["uid"])
        text = cluster.kubectl("get", "--raw", "/api/v1/nodes/uk-0/proxy/metrics/cadvisor")
        lines = [line for line in text.splitlines() if f'namespace="{pair["space"].ns}"' in line
                 and 'pod="a"' in line and "_bytes_total" in line]
        cadvisor = {way: float(next(line for line in lines if f"network_{way}_bytes" in line)
                               .split("}")[1].split()[0]) for way in ("receive", "transmit")}
        return net["rxBytes"], net["txBytes"], cadvisor["receive"], cadvisor["transmit"]
    before = bytes_of()
    traffic(cluster, "sink", ip(pod), 4 * MEGABYTE)
    middle = bytes_of()
    traffic(cluster, "source", ip(pod), 4 * MEGABYTE)
    after = bytes_of()
    for to_pod, from_pod in ((0, 1), (2, 3)):
        assert middle[to_pod] - before[to_pod] > 4 * MEGABYTE
        assert middle[from_pod] - before[from_pod] < MEGABYTE
        assert after[from_pod] - middle[from_pod] > 4 * MEGABYTE
        assert after[to_pod] - middle[to_pod] < MEGABYTE
