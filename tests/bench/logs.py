"""Row 10, the log path: what a guest prints, into a CRI log file, by the shim and by conmon; and out of
it again through `kubectl logs`. Both write what the same program prints, in turns.
"""
import datetime
import glob
import os
import resource
import stat
import subprocess
import sys
import tempfile

from rig import ROOT, Process, median, say

sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

from pods import bound_body  # noqa: E402
from programs import debian_program  # noqa: E402

FLOOD_KIB = 32 * 1024
FLOOD = f"fake.flood={FLOOD_KIB}"
LINES = FLOOD_KIB * 16
MIB = 1 << 20
PAYLOAD_MIB = LINES * 64 / MIB
ROUNDS = 3

# What conmon takes for its OCI runtime: "create" starts the program with conmon's own pipes.
RUNTIME = """#!/bin/sh
command=create
while [ $# -gt 0 ]; do
    case $1 in
    create | start | delete | kill) command=$1 ;;
    --pid-file) shift; pid_file=$1 ;;
    esac
    shift
done
[ "$command" = create ] || exit 0
%s "--cmdline=%s fake.after=0" &
echo $! > "$pid_file"
"""


def stamps(lines):
    """Seconds between the stamps of two lines of a CRI log."""
    parsed = [datetime.datetime.fromisoformat(line.split(" ")[0][:26]) for line in lines]
    return (parsed[1] - parsed[0]).total_seconds()


def first_and_last(paths):
    """Of a log and the files rotated away from it, in the order of time."""
    ends = []
    for path in paths:
        with open(path, "rb") as file:
            first = file.readline().decode()
            file.seek(max(0, os.path.getsize(path) - 4096))
            ends.append((first, file.read().decode(errors="replace").splitlines()[-1]))
    ends.sort()
    return ends[0][0], ends[-1][1]


def by_conmon(directory, number):
    """(MiB/s, CPU ms for a MiB)"""
    runtime = os.path.join(directory, "runtime")
    with open(runtime, "w", encoding="utf-8") as file:
        file.write(RUNTIME % (os.path.join(ROOT, "build", "unikubelet-fakevmm"), FLOOD))
    os.chmod(runtime, stat.S_IRWXU)
    log = os.path.join(directory, f"conmon-{number}.log")
    argv = [debian_program("conmon", "conmon"), "-c", f"c{number}", "-u", f"c{number}",
            "-r", runtime, "-b", directory, "-p", os.path.join(directory, f"pid-{number}"),
            "-l", f"k8s-file:{log}", "--sync", "--socket-dir-path", directory]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
    return PAYLOAD_MIB / stamps(first_and_last([log])), cpu * 1000 / PAYLOAD_MIB


def by_shim(rig, number):
    """(MiB/s, CPU ms for a MiB, the Pod's name)"""
    name = f"flood-{os.getpid()}-{number}"
    kube = rig.cluster.kube
    kube.create(bound_body(name, "hello:v1", restartPolicy="Never",
                           container={"args": [FLOOD, "fake.print=flood-is-over"]}), "default")
    pod = kube.wait("Pod", name, lambda p: p["status"]["phase"] == "Running", "default", 60)
    with rig.cluster.popen(["timeout", "120", "kubectl", "logs", "-f", name], text=True,
                           stdout=subprocess.PIPE) as follow:
        # A guest that runs on: kubectl would wait for its next line, not see that nobody reads.
        assert any("flood-is-over" in line for line in follow.stdout), "the flood did not end"
        follow.terminate()
    shim = next(pid for pid in rig.shims())
    top = rig.cluster.spaces.path("node", "var", "log", "pods",
                                  f"default_{name}_{pod['metadata']['uid']}", "main")
    speed = PAYLOAD_MIB / stamps(first_and_last(glob.glob(os.path.join(top, "0.log*"))))
    return speed, Process(shim).cpu_s() * 1000 / PAYLOAD_MIB, name


def read_back(rig, name):
    """(MiB/s, the agent's CPU ms for a MiB) of `kubectl logs` of all that is kept."""
    process = Process(rig.agent.process.pid)
    cpu = process.cpu_s()
    done = rig.cluster.run(["sh", "-c", f"begin=$(date +%s%N); kubectl logs {name} | wc -c; "
                                        "echo $(($(date +%s%N) - begin))"], seconds=120)
    size, took_ns = map(int, done.stdout.split())
    return size / MIB / (took_ns / 1e9), (process.cpu_s() - cpu) * 1000 / (size / MIB)


def run_logs(rig, report, wanted):
    if 10 not in wanted:
        return
    say(f"row 10: {PAYLOAD_MIB:.0f} MiB of console, by the shim and by conmon")
    ours, theirs, back = [], [], []
    rig.start_agent(containerLogMaxSize="64Mi")
    rig.cluster.kubectl("apply", "-f", os.path.join(ROOT, "manifests", "runtimeclass.yaml"))
    with tempfile.TemporaryDirectory() as directory:
        for i in range(ROUNDS):
            theirs.append(by_conmon(directory, i))
            speed, cpu, name = by_shim(rig, i)
            ours.append((speed, cpu))
            back.append(read_back(rig, name))
            rig.cluster.kube.delete("Pod", name, "default")
            rig.cluster.kube.wait_gone("Pod", name, "default", None, 60)
    report.add(10, f"console to CRI log file, median of {ROUNDS}", median(o[0] for o in ours),
               "MiB/s", "conmon", median(t[0] for t in theirs), target=">= 2x",
               met=median(o[0] for o in ours) >= 2 * median(t[0] for t in theirs))
    report.add(10, "CPU for a MiB of console", median(o[1] for o in ours), "ms", "conmon",
               median(t[1] for t in theirs))
    report.add(10, "`kubectl logs` of it, through the API server", median(b[0] for b in back),
               "MiB/s")
    report.add(10, "agent CPU for a MiB of `kubectl logs`", median(b[1] for b in back), "ms")
