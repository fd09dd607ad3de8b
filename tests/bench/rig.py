"""What the bench measures with: one cluster, the agent in the configuration under test, apibench in
the control plane's namespace, and the kernel's own counters of a process. Rows are elsewhere.
"""
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

from harness import NODE_NAME, ROOT, Agent, Cluster, Node, node_ready  # noqa: E402
from spaces import CONTROL_IP, NODE  # noqa: E402

CLUSTER = os.path.join(ROOT, "tests", "cluster", "cluster")
SERVER = f"https://{CONTROL_IP}:6443"
IMAGE = "hello:v1"
PODS_MAX = 4000
APIBENCH_SECONDS = 300
QUIET_SECONDS = 2.0  # what belongs to the work before: events still being posted, a trim, ...


def say(text):
    print(f"bench: {time.strftime('%H:%M:%S')}  {text}", flush=True)


def percentile(values, part):
    """The smallest value that at least this part of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * part // 100) - 1)]


def median(values):
    return statistics.median(values)


class Process:
    """Counters of a running process, threads that ended included where the kernel keeps them."""

    def __init__(self, pid):
        self.pid = pid

    def cpu_s(self):
        """User and system time of all threads, in ns resolution (CPUCLOCK_SCHED of the process)."""
        return time.clock_gettime(~self.pid << 3 | 2)

    def memory_kib(self):
        """(private dirty, resident)"""
        found = {}
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                words = line.split()
                found[words[0]] = int(words[1]) if words[1].isdigit() else 0
        return found["Private_Dirty:"], found["Rss:"]

    def wakes(self):
        """Voluntary context switches of all threads that live."""
        total = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/status", encoding="ascii") as file:
                for line in file:
                    if line.startswith("voluntary_ctxt_switches:"):
                        total += int(line.split()[1])
        return total


class Rig:
    """The cluster and what every row needs of it."""

    def __init__(self, directory):
        self.layouts = os.path.join(ROOT, "build", "images")
        self.apibench_path = os.path.join(ROOT, "build", "apibench")
        say("building the guests and apibench")
        subprocess.run([os.path.join(ROOT, "tests", "guests", "pack"), self.layouts], check=True)
        subprocess.run(["go", "build", "-o", self.apibench_path, "."],
                       cwd=os.path.join(HERE, "apibench"), check=True)
        say("starting the control plane")
        self.cluster = Cluster.up(directory)
        self.cluster.open()
        subprocess.run([CLUSTER, "identity", self.cluster.dir, NODE_NAME], check=True,
                       stdout=subprocess.DEVNULL)
        self.node = Node(self.cluster)
        self.agent = None
        self.names = 0
        self.cluster.kube.wait("ServiceAccount", "default", lambda _: True, "default", 30)
        self.apibench("null-node")

    def close(self):
        if self.agent and self.agent.running():
            self.agent.stop()
        self.cluster.close()
        self.cluster.down()

    # --- the agent -----------------------------------------------------------------------------

    def make_agent(self, real=False, **more):
        """Fake machines without network or cgroups measure the agent alone; real ones are QEMU
        with TCG, a CNI network and cgroups, as in production. The rest is the product's default."""
        path = self.cluster.spaces.path
        config = {
            "kubeconfig": path(f"{NODE_NAME}.kubeconfig"), "bootstrapKubeconfig": "",
            "tlsCertFile": path(f"{NODE_NAME}-serving.crt"),
            "tlsPrivateKeyFile": path(f"{NODE_NAME}-serving.key"),
            "imageLayouts": [os.path.join(self.layouts, "hello")], "maxPods": PODS_MAX,
            "nodeStatusUpdateMilliseconds": 10000, "logLevel": "warn", **more}
        if not real:
            config = {"vmm": "fake", "network": "none", "cgroup": "", **config}
        self.agent = Agent(self.cluster, **config)
        return self.agent

    def start_agent(self, real=False, **more):
        if self.agent and self.agent.running():
            self.agent.stop()
        self.make_agent(real, **more).start()
        time.sleep(QUIET_SECONDS)
        return Process(self.agent.process.pid)

    def agent_argv(self):
        """As apibench starts it."""
        self.agent.write_config()
        return self.cluster.spaces.prefix(NODE) + [
            os.path.join(self.agent.build, "unikubelet"), f"--config={self.agent.config_path}"]

    # --- apibench ------------------------------------------------------------------------------

    def apibench_argv(self, command, *arguments, **flags):
        pki = self.cluster.spaces.path("pki", "")
        flags = {"server": SERVER, "ca": f"{pki}ca.crt", "cert": f"{pki}admin.crt",
                 "key": f"{pki}admin.key", "node": NODE_NAME, "image": IMAGE, **flags}
        return [self.apibench_path, *[f"-{k}={v}" for k, v in flags.items()], command, *arguments]

    def apibench(self, command, *arguments, **flags):
        done = self.cluster.run(self.apibench_argv(command, *arguments, **flags),
                                seconds=APIBENCH_SECONDS)
        return json.loads(done.stdout)

    def prefix(self):
        self.names += 1
        return f"b{os.getpid()}-{self.names}"

    def burst(self, count):
        """Binds so many Pods at once; (prefix, Pods/s to Running)."""
        prefix = self.prefix()
        return prefix, self.apibench("burst", n=count, prefix=prefix)["pods_per_s"]

    def remove(self, prefix, count):
        self.apibench("remove", n=count, prefix=prefix)

    def shims(self):
        return [p for p, c in self.node.machines().items() if "unikubelet-shim" in c.split()[0]]

    def vmms(self):
        """pid -> start time: a process with both is the same process."""
        found = {}
        for pid in self.node.vmms():
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                found[pid] = stat.read().rpartition(")")[2].split()[19]
        return found


__all__ = ["IMAGE", "NODE", "NODE_NAME", "ROOT", "Process", "Rig", "median", "node_ready",
           "percentile", "say"]
