"""Two hundred Pods come and go, and the node is as it was."""
import json

from pods import bound_body

ROUNDS, EACH = 8, 25


def connections(cluster):
    """Tracked connections with Pods that would stay: an established one is kept for five days. What
    clients began and did not end goes by the kernel's own timers, two minutes at most."""
    text = cluster.run(["sh", "-c", "cat /proc/net/nf_conntrack 2>/dev/null || "
                                    "conntrack -L 2>/dev/null || true"], "node").stdout
    assert "src=" in text, "connection tracking shows nothing here: this test cannot judge it"
    return sorted(line for line in text.splitlines() if "10.88." in line and "ESTABLISHED" in line)


def snapshot(cluster):
    run = cluster.run
    links = json.loads(run(["ip", "-j", "link"], "node").stdout)
    return {
        "links": sorted(i["ifname"] for i in links),
        "netns": run(["ip", "netns"], "node").stdout,
        "addresses": run(["ip", "-o", "addr"], "node").stdout.count("inet"),
        "neighbours of links that are gone": run(["ip", "neigh", "show", "nud", "permanent"],
                                                 "node").stdout,
        "bridge": run(["bridge", "link"], "node").stdout,
        "qdiscs": run(["tc", "qdisc"], "node").stdout,
        "iptables": sorted(r for r in run(["iptables-save", "-t", "nat"], "node").stdout.split("\n")
                           if "CNI-" in r and not r.startswith(":")),
        "nft": sorted(line for line in run(["nft", "list", "ruleset"], "node").stdout.split("\n")
                      if "CNI-" in line and "chain" in line),
    }


def test_two_hundred_pods_leave_nothing(cluster, space, node):
    image = space.guests["hello"]
    port = {"ports": [{"containerPort": 8080, "hostPort": 18090}]}
    space.create_body(bound_body("first", image, container=port))  # makes the bridge, CNI's chains
    space.ready("first")
    space.delete_pod("first", 0)
    space.gone("first")
    node.check()
    before = snapshot(cluster)
    for i in range(ROUNDS):
        names = [f"pod-{i}-{k}" for k in range(EACH)]
        for k, name in enumerate(names):
            extra = {"container": {"ports": [{"containerPort": 8080, "hostPort": 18100 + k}]}} \
                if k % 5 == 0 else {}
            space.create_body(bound_body(name, image, **extra))
        for pod in space.wait_pods(EACH, seconds=120):
            if pod["metadata"]["name"].endswith("-0"):
                space.http(pod, seconds=60)
                assert "hello" in cluster.http("http://10.89.0.2:18100/", where="control")
        for k, name in enumerate(names):
            # Of one deleted by force the object goes before the machine: few, for the next round
            # is admitted beside them.
            space.delete_pod(name, 0 if k % 8 == 0 else 1)
        cluster.kube.wait_all("Pod", space.ns, lambda pods: not pods, seconds=120)
    node.check(seconds=120)
    after = snapshot(cluster)
    for what, value in before.items():
        assert after[what] == value, f"{what}:\nbefore: {value}\nafter:  {after[what]}"
    assert not connections(cluster)
