"""Row 18: what the way through bridge, veth and redirect costs a guest, against the same guest on a
tap of its own without any of it, against it on a tap that is itself a port of the bridge, and
against a process in a namespace on that bridge (as a container is)."""
import contextlib
import os
import subprocess

from network import BOX_IP, BRIDGE, GATEWAY, TRAFFIC, box, traffic
from rig import NODE_NAME, ROOT, median, say
from spaces import NODE

ROUNDS = 5
BYTES = 16 << 20
PINGS = 2000
PLAIN_HOST, PLAIN_GUEST = "10.77.0.1", "10.77.0.2"
PEERS = {"tap": "the same guest on a plain tap", "port": "the same guest's tap on the bridge",
         "container": "a container on the bridge"}
MAC = {"plain0": "02:00:00:00:00:77", "bridged0": "02:00:00:00:00:78"}
BRIDGED_GUEST = "10.88.255.251"
READY_SECONDS = 60


@contextlib.contextmanager
def bare_guest(cluster, tap, join, address, gateway):
    """The unikernel of the Pod, with the agent's own QEMU line, on this tap, which the command
    joins to something. Yields the guest's address."""
    line = (f"main virtio_mmio.device=512@0xfeb00e00:12 netdev.ip={address}:{gateway}:::"
            " unikubelet.args=1 --")
    cluster.run(["sh", "-ec", f"ip tuntap add {tap} mode tap vnet_hdr; {join}; "
                              f"ip link set {tap} up"], NODE)
    process = cluster.popen(
        ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
         "-M", "microvm,acpi=off,auto-kernel-cmdline=off", "-accel",
         "tcg,thread=single,tb-size=32", "-cpu", "max,-apic", "-global",
         "virtio-mmio.force-legacy=false", "-m", "32", "-smp", "1", "-serial", "null",
         "-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no", "-device",
         f"virtio-net-device,netdev=n0,mac={MAC[tap]}", "-kernel",
         os.path.join(ROOT, "build", "guests", "hello"), "-append", line], NODE,
        stdin=subprocess.DEVNULL)
    try:
        yield address.split("/")[0]
    finally:
        process.kill()
        process.wait()
        cluster.run(["ip", "link", "del", tap], NODE)


@contextlib.contextmanager
def container(cluster):
    """traffic.py's own servers in a namespace on the Pods' bridge."""
    with box(cluster) as inside:
        process = cluster.popen([*inside, "python3", TRAFFIC, "serve"], NODE,
                                stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == "ready\n"
            yield BOX_IP
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def answers(cluster, ip):
    """Once it serves: a refused or lost connection is tried again by curl."""
    cluster.http(f"http://{ip}:8080/", "--retry", "60", "--retry-all-errors", "--retry-max-time",
                 str(READY_SECONDS), seconds=READY_SECONDS)


def measure_one(cluster, ip):
    to_guest = traffic(cluster, "sink", ip, BYTES)
    from_guest = traffic(cluster, "source", ip, BYTES)
    assert to_guest["same"] and from_guest["same"]
    return {"to": BYTES / to_guest["seconds"] / 1e6, "from": BYTES / from_guest["seconds"] / 1e6,
            "us": traffic(cluster, "latency", ip, PINGS)["median_us"]}


def run_net(rig, report, wanted):
    if 18 not in wanted:
        return
    say(f"a guest's traffic, {ROUNDS} rounds in turns with bare taps and a container")
    rig.start_agent(real=True, cgroup="")  # as the plain guest: no share of its own to keep to
    cluster, kube = rig.cluster, rig.cluster.kube
    kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "net"}, "spec": {
        "nodeName": NODE_NAME, "tolerations": [{"operator": "Exists"}], "containers": [
            {"name": "main", "image": "hello:v1", "imagePullPolicy": "IfNotPresent",
             "resources": {"limits": {"memory": "32Mi"}}}]}}, "default")
    pod = kube.wait("Pod", "net", lambda p: p["status"].get("phase") == "Running", "default", 60)
    plain = bare_guest(cluster, "plain0", f"ip addr add {PLAIN_HOST}/24 dev plain0",
                       f"{PLAIN_GUEST}/24", PLAIN_HOST)
    bridged = bare_guest(cluster, "bridged0", f"ip link set bridged0 master {BRIDGE}",
                         f"{BRIDGED_GUEST}/16", GATEWAY)
    with plain as tap, bridged as port, container(cluster) as peer:
        ips = {"pod": pod["status"]["podIP"], "tap": tap, "port": port, "container": peer}
        found = {name: [] for name in ips}
        for name in ("pod", "tap", "port"):
            answers(cluster, ips[name])
        for _ in range(ROUNDS):
            for name, ip in ips.items():
                found[name].append(measure_one(cluster, ip))
    for key, what, unit in (("to", "TCP host to guest", "MB/s"),
                            ("from", "TCP guest to host", "MB/s"),
                            ("us", "UDP round trip, p50", "us")):
        values = {name: median([f[key] for f in rounds]) for name, rounds in found.items()}
        for name, words in PEERS.items():
            report.add(18, what, values["pod"], unit, words, values[name])
    kube.delete("Pod", "net", "default", 0)
    kube.wait_gone("Pod", "net", "default", None, 60)
