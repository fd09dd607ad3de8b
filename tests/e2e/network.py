"""What the tests of the network act through: traffic.py in a namespace, a container-like one on the
Pods' bridge, CoreDNS, and kube-proxy in either mode."""
import contextlib
import json
import os
import subprocess

from harness import NODE, ROOT
from pki import SERVICE_IP

TRAFFIC = os.path.join(os.path.dirname(os.path.realpath(__file__)), "traffic.py")
DNS_BUILD = os.path.join(ROOT, "tests", "cluster", "dns", "build")
BRIDGE = "unik0"
BOX_IP = "10.88.255.250"  # host-local hands out from the range's beginning
GATEWAY = "10.88.0.1"
USUAL_MODE = "iptables"
LINUX_MEMORY = {"limits": {"memory": "128Mi"}, "requests": {"memory": "128Mi", "cpu": "10m"}}


def traffic(cluster, *args, within=(), seconds=180):
    """One command of traffic.py in the node's namespace; within: a prefix that goes further."""
    argv = [*within, "python3", TRAFFIC, *map(str, args)]
    return json.loads(cluster.run(argv, NODE, seconds=seconds).stdout)


@contextlib.contextmanager
def listening(cluster, *args, within=()):
    """traffic.py, once it says it is ready; a function that ends it and has its answer."""
    process = cluster.popen([*within, "python3", TRAFFIC, *map(str, args)], NODE,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"

    def answer():
        process.stdin.close()
        return json.loads(process.stdout.readline())
    try:
        yield answer
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def in_pod(pod):
    """A prefix into the network namespace of a Pod, from the node's."""
    return ["nsenter", f"--net=/run/netns/unik-{pod['metadata']['uid']}"]


def linux_pod(space, name, **more):
    return space.pod(name, space.guests["linux"], container={"resources": LINUX_MEMORY}, **more)


def shell(space, pod, script, seconds=60):
    """The output of a script in a Linux guest."""
    return space.cluster.run(
        ["curl", "-sS", "--fail", "--max-time", str(seconds), "--data-binary", "@-",
         "--retry", "5", "--retry-connrefused",
         f"http://{pod['status']['podIP']}:8080/cgi-bin/run"], NODE, input=script,
        seconds=seconds + 30).stdout


@contextlib.contextmanager
def box(cluster):
    """A namespace as a container has it: a veth on the Pods' bridge. Yields the prefix into it."""
    cluster.run(["sh", "-ec", f"""
        ip netns add box
        ip link add box0 type veth peer name eth0 netns box
        ip link set box0 master {BRIDGE} up
        ip -n box addr add {BOX_IP}/16 dev eth0
        ip -n box link set eth0 up
        ip -n box route add default via {GATEWAY}"""], NODE)
    try:
        yield ["nsenter", "--net=/run/netns/box"]
    finally:
        cluster.run(["ip", "link", "del", "box0"], NODE)
        cluster.run(["ip", "netns", "del", "box"], NODE)


def service_body(name, selector=None, port=80, target=8080, **spec):
    selector = {"selector": selector} if selector else {}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"name": "web", "port": port, "targetPort": target,
                                "protocol": "TCP"}], **selector, **spec}}


def restart_proxy(cluster):
    """Returns once the rules of the Services that exist are there. The other mode's are gone
    before: they would answer for the new ones, until kube-proxy takes them away; and a guest's SYN
    that finds no rule then is tracked as it is, so that all its repetitions find none either."""
    cluster.command("stop", "kube-proxy")
    cluster.run(["kube-proxy", "--cleanup"], NODE)
    cluster.command("start", "kube-proxy")
    cluster.run(["curl", "-sSk", "-o", "/dev/null", "--connect-timeout", "1", "--retry", "120",
                 "--retry-delay", "1", "--retry-all-errors", f"https://{SERVICE_IP}/readyz"], NODE,
                seconds=180)


@contextlib.contextmanager
def proxy_mode(cluster, mode):
    """kube-proxy in this mode; afterwards in the usual one."""
    if mode == USUAL_MODE:
        yield
        return
    os.environ["PROXY_MODE"] = mode
    try:
        restart_proxy(cluster)
        yield
    finally:
        del os.environ["PROXY_MODE"]
        restart_proxy(cluster)


@contextlib.contextmanager
def coredns(cluster):
    """CoreDNS on the node, as a host-network Pod of it would be. Yields its address."""
    binary = subprocess.run([DNS_BUILD], check=True, stdout=subprocess.PIPE, text=True)
    path = cluster.spaces.path("Corefile")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f""".:53 {{
    bind {GATEWAY}
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local {{
        kubeconfig {cluster.spaces.path('admin.kubeconfig')}
        endpoint_pod_names
        pods disabled
        ttl 0
    }}
}}
""")
    with open(cluster.spaces.path("logs", "coredns.log"), "ab") as log:
        argv = [binary.stdout.strip(), "-conf", path]
        process = cluster.popen(argv, NODE, stdout=log, stderr=log)
    try:
        cluster.run(["curl", "-sS", "--fail", "--retry", "60", "--retry-all-errors",
                     "--retry-delay", "1", "http://127.0.0.1:8181/ready"], NODE, seconds=120)
        yield GATEWAY
    finally:
        process.kill()
        process.wait()
        os.unlink(path)
