"""Services of unikernels through the real kube-proxy, in both of its modes, and their names through
the real CoreDNS: from the node, from a container-like namespace, and from other unikernels."""
import json

import pytest

from network import (BOX_IP, GATEWAY, box, coredns, linux_pod, proxy_mode, service_body, shell,
                     traffic)
from pods import pod_body

MODES = ("iptables", "nftables")


def stateful_body(name, image, dns, replicas):
    labels = {"app": name}
    template = pod_body(name, image, dnsPolicy="None", dnsConfig={"nameservers": [dns]})
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
            "spec": {"replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel",
                     "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": template["spec"]}}}


@pytest.fixture(scope="module")
def shop(request, cluster, session_agent, guests):
    """A StatefulSet of two unikernels with a headless Service and an ordinary one, CoreDNS, and a
    Linux guest that resolves by it."""
    del session_agent
    from pods import Space  # pylint: disable=import-outside-toplevel
    space = Space(cluster, guests, "network-services")
    space.create()
    kube = cluster.kube

    def end():
        space.kubectl("delete", "statefulset", "shop", "--wait=false", check=False)
        kube.wait_all("Pod", space.ns, lambda pods: all(p["metadata"].get("deletionTimestamp")
                      for p in pods if p["metadata"].get("ownerReferences")), seconds=180)
        space.delete()
    request.addfinalizer(end)
    kube.create(service_body("shop", {"app": "shop"}, clusterIP="None", port=8080), space.ns)
    web = kube.create(service_body("web", {"app": "shop"}), space.ns)
    sticky = kube.create(service_body("sticky", {"app": "shop"}, sessionAffinity="ClientIP"),
                         space.ns)
    body = stateful_body("shop", space.guests["hello"], GATEWAY, 2)
    space.kubectl("apply", "-f", "-", text=json.dumps(body))
    linux_pod(space, "client", dnsPolicy="None", dnsConfig={"nameservers": [GATEWAY]})
    pods = {p["metadata"]["name"]: p for p in space.wait_pods(3, seconds=180)}
    space.http(pods["client"], seconds=180)
    for name in ("shop-0", "shop-1"):
        space.http(pods[name])
    return {"space": space, "pods": pods, "web": web["spec"]["clusterIP"],
            "sticky": sticky["spec"]["clusterIP"]}


def reach(cluster, argv, url):
    """The service's rules may come a moment after its endpoints."""
    return cluster.run([*argv, "curl", "-sS", "--fail", "--max-time", "60", "--retry", "30",
                        "--retry-delay", "1", "--retry-all-errors", "--connect-timeout", "2", url],
                       "node", seconds=90).stdout


def who(text):
    """The guest that answered, by the address on its command line."""
    assert "netdev.ip=" in text, text
    return text.split("netdev.ip=")[1].split("/")[0]


def lookup(space, pod, name):
    """One question a call: busybox takes the numbers of its questions from the clock, and a guest's
    may not have moved between two, so that it takes the second answer for the first one's again."""
    return shell(space, pod, f"cat /etc/resolv.conf; nslookup -type=a {name}")


@pytest.mark.parametrize("mode", MODES)
def test_services_from_everywhere(cluster, shop, mode):
    ips = {shop["pods"][n]["status"]["podIP"] for n in ("shop-0", "shop-1")}
    url, space = f"http://{shop['web']}/", shop["space"]
    with proxy_mode(cluster, mode), box(cluster) as inside:
        found = set()
        for _ in range(40):
            found.add(who(reach(cluster, [], url)))
            if found == ips:
                break
        assert found == ips, f"{mode}: not both of {ips} from the node"
        assert who(reach(cluster, inside, url)) in ips
        text = shell(space, shop["pods"]["client"], f"wget -qO- {url}")
        assert who(text) in ips
        for pod in ("shop-0", "shop-1"):  # one of the answers may be its own: hairpin
            for _ in range(3):
                got = traffic(cluster, "fetch", shop["pods"][pod]["status"]["podIP"], shop["web"],
                              80, "/")["text"]
                assert who(got) in ips
        sticky = {who(reach(cluster, inside, f"http://{shop['sticky']}/")) for _ in range(6)}
        assert len(sticky) == 1, f"{mode}: affinity of {BOX_IP} is not kept: {sticky}"
        rules = cluster.run(["iptables-save", "-t", "nat"], "node").stdout
        tables = cluster.run(["nft", "list", "tables"], "node").stdout
        assert ("KUBE-SVC-" in rules) == (mode == "iptables")
        assert ("kube-proxy" in tables) == (mode == "nftables")


def test_names_through_coredns(cluster, shop):
    space, pods = shop["space"], shop["pods"]
    with coredns(cluster):
        domain = f"{space.ns}.svc.cluster.local"
        for name in ("shop-0", "shop-1"):
            own = pods[name]["status"]["podIP"]
            text = lookup(space, pods["client"], f"{name}.shop.{domain}")
            assert f"Address: {own}\n" in text, text
            other = pods["shop-1" if name == "shop-0" else "shop-0"]["status"]["podIP"]
            got = traffic(cluster, "fetch", other, f"{name}.shop.{domain}", 8080, "/")["text"]
            assert who(got) == own
        looked = lookup(space, pods["client"], f"shop.{domain}")
        for name in ("shop-0", "shop-1"):
            assert pods[name]["status"]["podIP"] in looked
        assert shop["web"] in lookup(space, pods["client"], f"web.{domain}")
        got = traffic(cluster, "fetch", pods["shop-0"]["status"]["podIP"], f"web.{domain}", 80, "/")
        assert "hello from main" in got["text"]
        got = traffic(cluster, "fetch", pods["shop-0"]["status"]["podIP"], f"no.{domain}", 80, "/")
        assert got["text"] == "error: no such name\n"
