"""The rows that fake machines measure: what the agent itself costs. Each function takes the rig and
adds to the report; the order in bench.py is the order of the agent's growth.
"""
import collections
import contextlib
import json
import os
import select
import signal
import subprocess
import time

from rig import NODE_NAME, Process, median, percentile, say
from spaces import CONTROL_IP, NODE, NODE_IP

STARTS = 7
LATENCY_PODS = 300
BURST_PODS = 1000
BURST_ROUNDS = 2
SHIMS_MAX = 50        # looked at, of those that run
IDLE_SECONDS = 60
IDLE_PODS = 1000
SCRAPES = 15
COALESCE_MS = 100     # a start that takes longer is reported on the way: one patch more
KIB = 1024


def startup(rig, report):
    """Row 12. apibench starts the agent and watches its Node; once the Node exists already, once it
    does not."""
    rig.make_agent()
    results = {True: [], False: []}
    for i in range(2 * STARTS):
        exists = i % 2 == 1
        if not exists and i:
            rig.cluster.kube.delete("Node", NODE_NAME)
        env = {k: v for k, v in rig.cluster.env.items() if k != "KUBECONFIG"}
        env["AGENT_LOG"] = rig.agent.log_path
        argv = rig.apibench_argv("startup", *rig.agent_argv())
        with rig.cluster.popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
            answer = json.loads(process.communicate()[0])
        results[exists].append(answer["ms"])
        stop(answer["pid"])
    for exists, what in ((True, "Node exists"), (False, "Node is new")):
        report.add(12, f"agent's start to Node Ready seen, p50 of {STARTS}, {what}",
                   median(results[exists]), "ms", target=100)


def stop(pid):
    """Ends an agent that is not our child, and waits for it by its pidfd."""
    fd = os.pidfd_open(pid)
    signal.pidfd_send_signal(fd, signal.SIGTERM)
    select.select([fd], [], [], 10)
    os.close(fd)


def latency(rig, report, wanted):
    """Rows 1 and 9, and 7 for one Pod at a time: whole lives, in turns with the null kubelet."""
    process = Process(rig.agent.process.pid)
    prefix = rig.prefix()
    audit_at = os.path.getsize(rig.cluster.spaces.path("audit.log"))
    cpu = process.cpu_s()
    found = rig.apibench("latency", n=LATENCY_PODS, prefix=prefix)
    time.sleep(2)  # the last events are posted behind
    cpu = process.cpu_s() - cpu
    null, agent = found["null_ms"], found["agent_ms"]
    if 1 in wanted:
        for part, most in ((50, 1.15), (99, 1.5)):
            ours, floor = percentile(agent, part), percentile(null, part)
            report.add(1, f"Pod bound to Running seen, p{part} of {LATENCY_PODS}", ours, "ms",
                       "null kubelet", floor, target=f"<= {most}x", met=ours <= most * floor)
        report.add(1, f"Pod bound to Running seen, minimum of {LATENCY_PODS}", min(agent), "ms",
                   "null kubelet", min(null))
    if 7 in wanted:
        report.add(7, f"agent CPU for a Pod's life, one at a time ({LATENCY_PODS})",
                   cpu * 1000 / LATENCY_PODS, "ms", target=0.25)
    if 9 in wanted:
        calls(rig, report, audit_at, prefix, agent)


def calls(rig, report, audit_at, prefix, agent_ms):
    """Row 9, from the API server's own audit log."""
    pods = collections.Counter()
    other = collections.Counter()
    with open(rig.cluster.spaces.path("audit.log"), encoding="utf-8") as file:
        file.seek(audit_at)
        for line in file:
            entry = json.loads(line)
            if entry["user"].get("username") != f"system:node:{NODE_NAME}":
                continue
            ref = entry.get("objectRef", {})
            what = f"{entry['verb']} {ref.get('resource')}"
            if ref.get("subresource"):
                what += f"/{ref['subresource']}"
            if ref.get("resource") == "pods" and ref.get("name", "").startswith(f"{prefix}-"):
                pods[what] += 1
            else:
                other[what] += 1
    count = LATENCY_PODS
    say(f"calls about Pods: {dict(pods)}; others: {dict(other)}")
    slow = sum(1 for ms in agent_ms if ms >= COALESCE_MS)
    report.add(9, f"patch pods/status, for a Pod's life ({slow} of {count} took over "
               f"{COALESCE_MS} ms to start)", pods.pop("patch pods/status", 0) / count, "calls",
               target=2 + slow / count)
    for what, target in (("delete pods", 1), ("get pods", 0)):
        report.add(9, f"{what}, for a Pod's life", pods.pop(what, 0) / count, "calls",
                   target=target)
    report.add(9, "any other call about a Pod, for a Pod's life", sum(pods.values()) / count,
               "calls", target=0)
    events = sum(n for what, n in other.items() if what.endswith("events"))
    report.add(9, "events, for a Pod's life (behind the status, on the same connection)",
               events / count, "calls")
    report.add(9, "lists of Pods and watches begun meanwhile",
               sum(n for what, n in other.items() if what in ("list pods", "watch pods")), "calls",
               target=0)
    report.add(9, "connections to the API server", connections(rig), "", target=1)


def connections(rig):
    """Established ones of the agent's process, by the inodes of its sockets."""
    pid = rig.agent.process.pid
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    address = "".join(f"{int(b):02X}" for b in reversed(CONTROL_IP.split("."))) + ":192B"  # 6443
    lines = rig.cluster.run(["cat", "/proc/net/tcp"], NODE).stdout.splitlines()[1:]
    return sum(1 for line in lines
               if (w := line.split())[2] == address and w[3] == "01" and w[9] in inodes)


def memory(rig, report, pods):
    dirty, rss = Process(rig.agent.process.pid).memory_kib()
    report.add(5, f"private dirty memory with {pods} Pods", dirty / KIB, "MiB",
               target=4 + pods * 4 / KIB)
    report.add(5, f"resident memory with {pods} Pods", rss / KIB, "MiB",
               target=20 if pods == 2000 else None)


def shim(rig, report):
    """Row 6."""
    dirty, rss = [], []
    for pid in rig.shims()[:SHIMS_MAX]:
        one = Process(pid).memory_kib()
        dirty.append(one[0])
        rss.append(one[1])
    report.add(6, f"shim, private dirty memory, largest of {len(dirty)}", max(dirty), "KiB",
               target=256)
    report.add(6, f"shim, resident memory, largest of {len(rss)}", max(rss), "KiB")


def idle(rig, report):
    """Row 8."""
    process = Process(rig.agent.process.pid)
    say(f"{IDLE_SECONDS} s of nothing with {IDLE_PODS} Pods")
    cpu, wakes = process.cpu_s(), process.wakes()
    time.sleep(IDLE_SECONDS)
    cpu, wakes = process.cpu_s() - cpu, process.wakes() - wakes
    report.add(8, f"idle CPU with {IDLE_PODS} Pods, of a core", 100 * cpu / IDLE_SECONDS, "%",
               target=0.05)
    report.add(8, f"wake-ups with {IDLE_PODS} idle Pods", wakes / IDLE_SECONDS, "/s", target=1)


def resource_metrics(rig, report):
    """Row 11, over one connection that stands already: the API server's own way to ask."""
    process = Process(rig.agent.process.pid)
    pki = rig.cluster.spaces.path("pki", "apiserver-kubelet-client")
    url = f"https://{NODE_IP}:10250/metrics/resource"
    argv = ["curl", "-sk", "--cert", f"{pki}.crt", "--key", f"{pki}.key", "-w", "%{time_total}\\n"]
    for _ in range(SCRAPES + 1):
        argv += ["-o", "/dev/null", url]
    cpu = process.cpu_s()
    times = [float(t) * 1000 for t in rig.cluster.run(argv).stdout.split()][1:]
    cpu = process.cpu_s() - cpu
    report.add(11, f"/metrics/resource with {IDLE_PODS} Pods, p50 of {SCRAPES}", median(times),
               "ms", target=5)
    report.add(11, "agent CPU for it", cpu * 1000 / (SCRAPES + 1), "ms", target=5)


def growth(rig, report, wanted):
    """Rows 5, 6, 8 and 11: a fresh agent that is given more and more."""
    bursts = []
    process = rig.start_agent()
    if 5 in wanted:
        memory(rig, report, 0)
    have = 0
    for pods in (100, 1000, 2000):
        prefix, _ = rig.burst(pods - have)
        bursts.append((prefix, pods - have))
        have = pods
        time.sleep(12)  # events, and the trim of the heap
        if 5 in wanted:
            memory(rig, report, pods)
        if pods == IDLE_PODS and 6 in wanted:
            shim(rig, report)
        if pods == IDLE_PODS and 11 in wanted:
            resource_metrics(rig, report)
        if pods == IDLE_PODS and 8 in wanted:
            idle(rig, report)
        if pods == IDLE_PODS and 5 not in wanted:
            break
    for prefix, count in bursts:
        rig.remove(prefix, count)
    if 5 in wanted:
        time.sleep(12)
        report.add(5, "private dirty memory when 2000 Pods came and went",
                   process.memory_kib()[0] / KIB, "MiB")


def burst(rig, report, wanted):
    """Rows 2 and 7."""
    ours, floor = [], []
    cpu = 0
    for _ in range(BURST_ROUNDS):
        prefix = rig.prefix()
        floor.append(rig.apibench("burst-null", n=BURST_PODS, prefix=prefix)["pods_per_s"])
        rig.apibench("remove-null", n=BURST_PODS, prefix=prefix)
        before = Process(rig.agent.process.pid).cpu_s()
        prefix, rate = rig.burst(BURST_PODS)
        ours.append(rate)
        rig.remove(prefix, BURST_PODS)
        cpu += Process(rig.agent.process.pid).cpu_s() - before
        say(f"{BURST_PODS} Pods at once: null {floor[-1]:.0f}/s, agent {ours[-1]:.0f}/s")
    if 2 in wanted:
        report.add(2, f"{BURST_PODS} Pods bound at once to Running, best of {BURST_ROUNDS}",
                   max(ours), "Pods/s", "null kubelet, 8 connections", max(floor),
                   target=">= 0.9x", met=max(ours) >= 0.9 * max(floor))
    if 7 in wanted:
        report.add(7, f"agent CPU for a Pod's life, {BURST_PODS} at once",
                   cpu * 1000 / (BURST_ROUNDS * BURST_PODS), "ms", target=0.25)


def run_fake(rig, report, wanted):
    if 12 in wanted:
        say("row 12: starts")
        startup(rig, report)
    if wanted & {1, 9, 7}:
        say("rows 1, 7, 9: lives, one at a time")
        rig.start_agent()
        latency(rig, report, wanted)
    if wanted & {2, 7}:
        say("rows 2, 7: bursts")
        if not rig.agent or not rig.agent.running():
            rig.start_agent()
        burst(rig, report, wanted)
    if wanted & {5, 6, 8, 11}:
        say("rows 5, 6, 8, 11: growth")
        growth(rig, report, wanted)
