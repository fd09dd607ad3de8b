"""Row 14: what the way through veth, bridge and redirect costs a guest, against the same guest on a
tap of its own without any of it, and against a process in a namespace on the same bridge (as a
container is)."""
import contextlib
import os
import subprocess

from network import BOX_IP, TRAFFIC, box, traffic
from rig import NODE_NAME, ROOT, median, say
from spaces import NODE

ROUNDS = 5
BYTES = 16 << 20
PINGS = 2000
PLAIN_HOST, PLAIN_GUEST = "10.77.0.1", "10.77.0.2"
READY_SECONDS = 60


@contextlib.contextmanager
def plain_guest(cluster):
    """The unikernel of the Pod, with the agent's own QEMU line, on a tap and nothing else."""
    line = (f"main virtio_mmio.device=512@0xfeb00e00:12 netdev.ip={PLAIN_GUEST}/24:{PLAIN_HOST}:::"
            " unikubelet.args=1 --")
    cluster.run(["sh", "-ec", f"ip tuntap add plain0 mode tap vnet_hdr; ip link set plain0 up; "
                              f"ip addr add {PLAIN_HOST}/24 dev plain0"], NODE)
    process = cluster.popen(
        ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
         "-M", "microvm,acpi=off,auto-kernel-cmdline=off", "-accel",
         "tcg,thread=single,tb-size=32", "-cpu", "max,-apic", "-global",
         "virtio-mmio.force-legacy=false", "-m", "32", "-smp", "1", "-serial", "null",
         "-netdev", "tap,id=n0,ifname=plain0,script=no,downscript=no", "-device",
         "virtio-net-device,netdev=n0,mac=02:00:00:00:00:77", "-kernel",
         os.path.join(ROOT, "build", "guests", "hello"), "-append", line], NODE,
        stdin=subprocess.DEVNULL)
    try:
        yield PLAIN_GUEST
    finally:
        process.kill()
        process.wait()
        cluster.run(["ip", "link", "del", "plain0"], NODE)


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
    if 14 not in wanted:
        return
    say(f"a guest's traffic, {ROUNDS} rounds in turns with a plain tap and a container")
    rig.start_agent(real=True)
    cluster, kube = rig.cluster, rig.cluster.kube
    kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "net"}, "spec": {
        "nodeName": NODE_NAME, "tolerations": [{"operator": "Exists"}], "containers": [
            {"name": "main", "image": "hello:v1", "imagePullPolicy": "IfNotPresent",
             "resources": {"limits": {"memory": "32Mi"}}}]}}, "default")
    pod = kube.wait("Pod", "net", lambda p: p["status"].get("phase") == "Running", "default", 60)
    found = {"pod": [], "tap": [], "container": []}
    with plain_guest(cluster) as tap, container(cluster) as peer:
        ips = {"pod": pod["status"]["podIP"], "tap": tap, "container": peer}
        answers(cluster, ips["pod"])
        answers(cluster, ips["tap"])
        for _ in range(ROUNDS):
            for name, ip in ips.items():
                found[name].append(measure_one(cluster, ip))
    for key, what, unit in (("to", "TCP host to guest", "MB/s"),
                            ("from", "TCP guest to host", "MB/s"),
                            ("us", "UDP round trip, p50", "us")):
        values = {name: median([f[key] for f in rounds]) for name, rounds in found.items()}
        most = values["tap"] * (1.25 if key == "us" else 0.8)
        met = values["pod"] <= most if key == "us" else values["pod"] >= most
        report.add(14, what, values["pod"], unit, "the same guest on a plain tap", values["tap"],
                   target="<= 1.25x" if key == "us" else ">= 0.8x", met=met)
        report.add(14, what, values["pod"], unit, "a container on the bridge", values["container"])
    kube.delete("Pod", "net", "default", 0)
    kube.wait_gone("Pod", "net", "default", None, 60)
