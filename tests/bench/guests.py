"""Row 3, real guests against the same launch by hand, and row 13, machines whose agent is killed."""
import contextlib
import datetime
import json
import os
import re
import subprocess
import time

from rig import ROOT, median, percentile, say
from spaces import NODE

LATENCY_ROUNDS = 6
LATENCY_BLOCK = 8      # Pods, null Pods and bare launches of a round
FAKE_GUESTS = 500
REAL_GUESTS = 40
SETTLE_SECONDS = 10    # flaps that come late are flaps as well
BRIDGE = {"cniVersion": "1.0.0", "name": "unikubelet", "type": "bridge", "bridge": "unik0",
          "isGateway": True, "ipMasq": True, "hairpinMode": True}
HOST_LOCAL = {"type": "host-local", "dataDir": "/var/lib/unikubelet/ipam",
              "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}


class Bare:
    """The same argv, launched by tests/bench/bare.c with the same CNI plugin."""

    def __init__(self, rig):
        self.rig = rig
        self.program = os.path.join(ROOT, "build", "bench-bare")
        source = os.path.join(ROOT, "tests", "bench", "bare.c")
        subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", self.program, source],
                       check=True)
        self.argv = self._argv_of_a_pod()
        self.plugins = next(d for d in ("/opt/cni/bin", "/usr/lib/cni")
                            if os.path.exists(os.path.join(d, "bridge")))
        self.config = json.dumps({**BRIDGE, "ipam": HOST_LOCAL})

    def _argv_of_a_pod(self):
        prefix, _ = self.rig.burst(1)
        (pid, _), = self.rig.vmms().items()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            argv = file.read().decode().split("\0")[:-1]
        self.rig.remove(prefix, 1)
        return argv

    def launch_ms(self):
        return float(self.rig.cluster.run(
            [self.program, "/run/netns/bench-bare", os.path.join(self.plugins, "bridge"),
             self.plugins, self.config, *self.argv], NODE).stdout)


def real_latency(rig, report):
    """Row 3."""
    rig.start_agent(real=True)
    bare = Bare(rig)
    null, agent, by_hand = [], [], []
    for _ in range(LATENCY_ROUNDS):
        found = rig.apibench("latency", n=LATENCY_BLOCK, prefix=rig.prefix())
        null += found["null_ms"]
        agent += found["agent_ms"]
        by_hand += [bare.launch_ms() for _ in range(LATENCY_BLOCK)]
    count = len(agent)
    say(f"medians of {count}: Pod {median(agent):.1f} ms, null kubelet {median(null):.1f} ms, "
        f"bare launch {median(by_hand):.1f} ms")
    peer = "bare launch (netns, tap, the same CNI ADD, the same QEMU argv) + null kubelet"
    for part, most in ((50, 1), (99, 5)):
        floor = percentile(by_hand, part) + percentile(null, part)
        ours = percentile(agent, part)
        report.add(3, f"Pod bound to Ready seen, QEMU (TCG) and CNI, p{part} of {count}", ours, "ms",
                   peer, floor)
        report.add(3, f"of that added by the agent, p{part}", ours - floor, "ms", target=most)


def log_time(line):
    text = re.search(r"\bts=(\S+)Z", line).group(1)
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc).timestamp()


@contextlib.contextmanager
def follow(path):
    """Lines that are appended to a file from now on."""
    with open(path, "ab"):
        pass
    with subprocess.Popen(["tail", "-n0", "-F", path], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as tail:
        try:
            yield tail.stdout
        finally:
            tail.kill()


def adopted_ms(rig):
    """Starts the agent again; ms from before its exec to its word that all is taken over."""
    with follow(rig.agent.log_path) as lines:
        begin = time.time()
        rig.agent.start(ready=False)
        for line in lines:
            if "ev=adopted" in line:
                return (log_time(line) - begin) * 1000, int(re.search(r'msg="(\d+)', line).group(1))
    raise AssertionError("the agent's log ended")


def killed(rig, report, count, what):
    """Row 13: Pods run, the agent dies, a new one comes; a watcher looks on."""
    prefix, _ = rig.burst(count)
    time.sleep(SETTLE_SECONDS)
    before = rig.vmms()
    watcher = rig.cluster.popen(rig.apibench_argv("flaps"), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
    assert watcher.stdout.readline() == "watching\n"
    rig.agent.kill9()
    took_ms, adopted = adopted_ms(rig)
    rig.agent.wait_ready()
    time.sleep(SETTLE_SECONDS)
    flaps = json.loads(watcher.communicate("")[0])
    after = rig.vmms()
    kept = sum(1 for pid, start in before.items() if after.get(pid) == start)
    say(f"kill -9 with {count} {what}: {kept} of {len(before)} machines are the same, {adopted} "
        f"adopted, {flaps}")
    head = f"kill -9 with {count} {what}"
    report.add(13, f"{head}: guests lost or doubled",
               len(before) - kept + len(after) - kept + abs(len(before) - count), "", target=0)
    report.add(13, f"{head}: new agent's start to all taken over", took_ms, "ms", target=300)
    report.add(13, f"{head}: status changes that a watcher saw",
               flaps["modified"] + flaps["deleted"], "", target=0)
    rig.remove(prefix, count)


def run_guests(rig, report, wanted):
    if 13 in wanted:
        say(f"row 13: kill -9 with {FAKE_GUESTS} fake guests")
        rig.start_agent(logLevel="info")
        killed(rig, report, FAKE_GUESTS, "fake guests")
    if 3 in wanted:
        say("row 3: real guests, one at a time")
        real_latency(rig, report)
    if 13 in wanted:
        say(f"row 13: kill -9 with {REAL_GUESTS} real guests")
        rig.start_agent(real=True, logLevel="info")
        killed(rig, report, REAL_GUESTS, "real guests")
