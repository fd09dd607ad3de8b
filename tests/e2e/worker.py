"""The chart on a real node: helm, the image, kubelet and containerd beside the control plane."""
import contextlib
import json
import os
import subprocess
import sys

from harness import ROOT, Cluster

NODE = os.path.join(ROOT, "tests", "cluster", "node")
TOOLS = os.path.join(ROOT, "tests", "cluster", "tools")
IMAGE = os.path.join(ROOT, "tests", "image", "build")
CHART = os.path.join(ROOT, "manifests", "helm", "unikubelet")
LOOP = os.path.join(ROOT, "tests", "e2e", "request_loop.py")
UNIKERNELS = "worker-unikernel"  # the Node that the chart's agent registers


def built(*argv):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def helm_binary():
    return os.path.join(built(TOOLS, "helm"), "helm")


class Worker:
    """A cluster of its own with a real node in it, and helm."""

    def __init__(self, directory):
        self.image = built(IMAGE)
        self.helm_path = helm_binary()
        self.cluster = Cluster.up(directory)
        self.kube = None

    def start(self):
        self.cluster.open()
        self.kube = self.cluster.kube
        subprocess.run([NODE, "up", self.cluster.dir], check=True)
        subprocess.run([NODE, "import", self.cluster.dir, self.image], check=True)

    def stop(self, keep=False):
        self.cluster.close()
        if not keep:
            subprocess.run([NODE, "down", self.cluster.dir], check=True)
            self.cluster.down()

    def helm(self, *args, seconds=400, check=True):
        """helm's standard output; what it keeps of its own goes to the cluster's directory."""
        env = dict(self.cluster.env)
        for name in ("CACHE", "CONFIG", "DATA"):
            env[f"HELM_{name}_HOME"] = self.cluster.spaces.path("worker", "helm")
        done = subprocess.run(self.cluster.spaces.prefix("control") + [self.helm_path, *args],
                              env=env, text=True, capture_output=True, timeout=seconds,
                              check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"helm {' '.join(args)}: status {done.returncode}\n"
                                 f"{done.stdout[-2000:]}{done.stderr[-4000:]}\n{self.describe()}")
        return done.stdout

    def on_node(self, *argv, check=True, seconds=60):
        done = subprocess.run([NODE, "exec", self.cluster.dir, *argv], text=True, timeout=seconds,
                              capture_output=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{argv}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def vmms(self):
        """pid -> instance of each QEMU, as the node counts its processes."""
        found = {}
        for line in self.on_node("ps", "-eww", "-o", "pid=,args=").splitlines():
            pid, _, args = line.strip().partition(" ")
            if "libexec/qemu-system" in args:
                found[int(pid)] = args.split("-name ", 1)[-1].split()[0]
        return found

    def agent_container(self):
        """The id of the running container of the agent's Pod, and its Pod."""
        for pod in self.kube.list("Pod", "unikubelet", "app.kubernetes.io/component=agent"):
            for status in pod.get("status", {}).get("containerStatuses") or []:
                if "running" in status["state"]:
                    return status["containerID"].rpartition("/")[2], pod
        raise AssertionError("no agent runs")

    def describe(self):
        lines = []
        with contextlib.suppress(AssertionError, OSError):
            lines.append(self.cluster.kubectl("get", "pods,nodes,jobs,ds,csr", "-A", "-o", "wide",
                                              check=False))
            for what in ("component=agent", "component=hook", "component=test",
                         "component=cleanup"):
                lines.append(self.cluster.kubectl(
                    "-n", "unikubelet", "logs", "--all-containers", "--tail=40", "-l",
                    f"app.kubernetes.io/{what}", check=False))
            lines.append(self.cluster.kubectl("get", "events", "-A", check=False)[-6000:])
        return "\n".join(lines)

    @contextlib.contextmanager
    def request_loop(self, addresses):
        """Requests to all addresses meanwhile; the dictionary is filled in at the end."""
        result = {}
        process = self.cluster.popen([sys.executable, LOOP, *addresses], "node",
                                     stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == "started\n"
            yield result
        finally:
            process.terminate()
            text = process.stdout.read()
            process.wait()
            process.stdout.close()
            if text:
                result.update(json.loads(text))
