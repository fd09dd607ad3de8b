"""What the end-to-end tests act through: the cluster, the agent under test, and a look at the node
that finds anything a Pod left behind. Used by conftest.py, demo and bench; asserts nothing of its
own but leaks.
"""
import contextlib
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "cluster"))

from kube import ApiError, Kube, NotFound  # noqa: E402
from spaces import CONTROL, NODE, NODE_IP, Spaces  # noqa: E402

CLUSTER = os.path.join(ROOT, "tests", "cluster", "cluster")
REGISTRY = os.path.join(ROOT, "tests", "cluster", "registry")
NODE_NAME = "uk-0"
REGISTRY_ADDRESS = f"{NODE_IP}:5000"
TOKEN_REGISTRY = f"{NODE_IP}:5001"  # the same images, with bearer tokens
SERVING = "kubernetes.io/kubelet-serving"
SETTLE_SECONDS = 15      # after a Pod's object is gone, until nothing of it is left on the node
SETTLE_STEP_SECONDS = 0.05
# Records of Pods, CNI results, leases of addresses, unfinished downloads.
POD_FILES = re.compile(r"unikubelet/pods/|unikubelet/net/(?!plugins$)|/\d+\.\d+\.\d+\.\d+$"
                       r"|/ipam/[^/]+/[0-9a-f]*:[0-9a-f:]+$|/tmp/")
MACHINES = re.compile(r"unikubelet-shim|unikubelet-fakevmm|qemu-system")


class Cluster:
    """A running cluster: commands in its namespaces, kubectl, the API."""

    def __init__(self, directory):
        self.spaces = Spaces(directory)
        self.dir = self.spaces.dir
        self.env = self.spaces.environment()
        self._proxy = None
        self.kube = None

    @classmethod
    def up(cls, directory):
        subprocess.run([CLUSTER, "up", directory], check=True)
        return cls(directory)

    def down(self):
        subprocess.run([CLUSTER, "down", self.dir], check=True)

    def command(self, action, component, *flags):
        """cluster start|stop|restart COMPONENT."""
        subprocess.run([CLUSTER, action, self.dir, component, *flags], check=True)

    def open(self):
        path = self.spaces.path("api.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with open(self.spaces.path("logs", "kubectl-proxy.log"), "ab") as log:
            self._proxy = self.popen(["kubectl", "proxy", f"--unix-socket={path}",
                                      "--accept-hosts=.*", "--reject-paths=^$"],
                                     stdout=subprocess.PIPE, stderr=log, text=True)
        self._proxy.stdout.readline()  # "Starting to serve on ...": it listens
        self.kube = Kube(path)

    def close(self):
        if self._proxy:
            self._proxy.kill()
            self._proxy.wait()
            self._proxy.stdout.close()

    def popen(self, argv, where=CONTROL, env=None, **options):
        return subprocess.Popen(self.spaces.prefix(where) + argv, env=env or self.env, **options)

    def run(self, argv, where=CONTROL, check=True, seconds=60, **options):
        done = subprocess.run(self.spaces.prefix(where) + argv, env=self.env, check=False,
                              text=True, capture_output=True, timeout=seconds, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(argv)}: status {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def kubectl(self, *args, check=True, seconds=60, text=None):
        return self.run(["kubectl", *args], check=check, seconds=seconds, input=text).stdout

    def http(self, url, *flags, where=NODE, seconds=10):
        """curl from the node: the body."""
        return self.run(["curl", "-sS", "--fail", "--max-time", str(seconds), *flags, url],
                        where).stdout

    def push(self, layout, name):
        done = subprocess.run([REGISTRY, "push", self.dir, str(layout), name], check=True,
                              stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def blob_path(self, digest):
        return subprocess.run([REGISTRY, "blob", self.dir, digest], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()


class Approver(threading.Thread):
    """Approves the agent's serving certificate requests, as a cluster's approver does."""

    def __init__(self, kube):
        super().__init__(daemon=True)
        self.kube = kube

    def run(self):
        while True:
            for what, csr in self.kube.watch("CertificateSigningRequest", seconds=600):
                if what == "DELETED" or csr["spec"]["signerName"] != SERVING:
                    continue
                if csr.get("status", {}).get("conditions"):
                    continue
                if not csr["spec"]["username"].startswith("system:node:"):
                    continue
                with contextlib.suppress(ApiError, NotFound):
                    self.approve(csr)

    def approve(self, csr):
        csr["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "Test",
                                         "message": "approved by the test"}]}
        name = csr["metadata"]["name"]
        self.kube.call("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/"
                              f"{name}/approval", csr)


class Agent:
    """build/unikubelet in the node's namespaces, with the node's own /run and /var/lib."""

    def __init__(self, cluster, build=None, name=NODE_NAME, **config):
        self.cluster = cluster
        self.name = name
        self.build = build or os.environ.get("UNIKUBELET_BUILD") or os.path.join(ROOT, "build")
        self.log_path = cluster.spaces.path("logs", f"agent-{name}.log")
        self.config_path = cluster.spaces.path(f"agent-{name}.yaml")
        self.process = None
        self.since = ""
        self.config = {
            "nodeName": name, "nodeIP": NODE_IP,
            "bootstrapKubeconfig": cluster.spaces.path("bootstrap.kubeconfig"),
            "insecureRegistries": [REGISTRY_ADDRESS, TOKEN_REGISTRY, f"{NODE_IP}:5002",
                                   f"{NODE_IP}:5999"],
            "imageLayouts": [cluster.spaces.path("layouts", "offline")],
            "registryConfigDir": cluster.spaces.path("certs.d"),
            "accel": os.environ.get("UNIKUBELET_ACCEL", "tcg"),
            "cgroup": cluster.spaces.cgroup, "cniConfDir": "/run/cni/net.d",
            "nodeStatusUpdateMilliseconds": 1000, "logLevel": "debug", **config}

    def write_config(self):
        with open(self.config_path, "w", encoding="utf-8") as file:
            for key, value in self.config.items():
                file.write(f"{key}: {json.dumps(value)}\n")

    def start(self, ready=True, seconds=30):
        assert self.process is None or self.process.poll() is not None, "the agent is running"
        self.write_config()
        begin = time.monotonic()
        self.since = datetime.datetime.utcnow().isoformat()  # as MicroTime compares
        with open(self.log_path, "ab") as log:
            env = {k: v for k, v in self.cluster.env.items() if k != "KUBECONFIG"}
            self.process = self.cluster.popen(
                [os.path.join(self.build, "unikubelet"), f"--config={self.config_path}"], NODE,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=env)
        if ready:
            self.wait_ready(seconds)
        return time.monotonic() - begin

    def wait_ready(self, seconds=30):
        """Until this agent, not only an earlier one, holds the Lease and the Node is Ready."""
        deadline = time.monotonic() + seconds
        kube = self.cluster.kube
        while True:
            try:
                kube.wait("Lease", self.name, lambda o: o["spec"]["renewTime"] > self.since,
                          "kube-node-lease", seconds=1)
                kube.wait("Node", self.name, node_ready, seconds=1)
                break
            except AssertionError as error:
                if time.monotonic() > deadline or not self.running():
                    text = f"{error}\nthe agent's log ends:\n{self.log(40)}"
                    raise AssertionError(text) from None
        assert self.running(), f"the agent ended by itself; its log ends:\n{self.log(40)}"

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=10):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def log(self, lines=0):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            text = log.readlines()
        return "".join(text[-lines:] if lines else text)


def node_ready(node):
    return any(c["type"] == "Ready" and c["status"] == "True"
               for c in node.get("status", {}).get("conditions", []))


class Node:
    """What is on the node's host. left() names everything that only a Pod can have made."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.path = cluster.spaces.path

    def machines(self):
        """pid -> command line of each shim and VMM."""
        found = {}
        for pid in self.cluster.spaces.members():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    line = file.read().replace(b"\0", b" ").decode(errors="replace")
                if MACHINES.search(line.split(" ", 1)[0]):
                    found[pid] = line
        return found

    def vmms(self):
        return {p: c for p, c in self.machines().items() if "unikubelet-shim" not in c.split()[0]}

    def _files(self, *parts, ignore=()):
        top = self.path("node", *parts)
        out = []
        for path, _, names in os.walk(top):
            out += [os.path.relpath(os.path.join(path, n), self.path("node")) for n in names
                    if n not in ignore]
        return out

    def _directories(self, *parts):
        top = self.path("node", *parts)
        with contextlib.suppress(FileNotFoundError):
            return [f"{'/'.join(parts)}/{n}" for n in os.listdir(top)]
        return []

    def left(self):
        out = [f"process {pid} {line[:150]}" for pid, line in self.machines().items()]
        links = json.loads(self.cluster.run(["ip", "-j", "link"], NODE).stdout)
        out += [f"link {i['ifname']}" for i in links
                if i["ifname"] not in ("lo", "eth0", self.bridge())]
        out += [f"netns {n}" for n in self._directories("run", "netns")]
        out += [f"instance {n}" for n in self._directories("run", "unikubelet", "i")]
        out += [f"volume {n}" for n in self._directories("run", "unikubelet", "v")
                + self._directories("var", "lib", "unikubelet", "volumes")]
        out += [f"log {n}" for n in self._directories("var", "log", "pods")]
        out += [f"file {n}" for n in self._files("var", "lib", ignore=("lock",))
                if POD_FILES.search(n)]
        mounts = self.cluster.run(["cat", "/proc/self/mountinfo"], NODE).stdout
        out += [f"mount {line.split()[4]}" for line in mounts.splitlines()
                if line.split()[4].startswith(("/run/netns/", "/run/unikubelet/",
                                               "/var/lib/unikubelet/"))
                and line.split()[4] != "/run/unikubelet/v"]  # the node's one, for Secrets
        out += [f"rule {r}" for r in self._rules()]
        out += [f"cgroup {c}" for c in self._cgroups()]
        return sorted(out)

    def _rules(self):
        rules = self.cluster.run(["iptables-save", "-t", "nat"], NODE).stdout
        return [r for r in rules.splitlines() if re.match(r"-A CNI-(?!HOSTPORT)", r)]

    def _cgroups(self):
        top, found = "/sys/fs/cgroup", []
        for root in [top] + [os.path.join(top, n) for n in os.listdir(top)]:
            parent = os.path.join(root, self.cluster.spaces.cgroup)
            if os.path.isdir(parent):
                found += [os.path.join(parent, n) for n in os.listdir(parent)
                          if n != "shims" and os.path.isdir(os.path.join(parent, n))]
        return found

    def bridge(self):
        return "unik0"

    def check(self, seconds=SETTLE_SECONDS):
        """Fails unless everything of every Pod goes away. There is no event for 'all is gone', so
        this looks again and again."""
        deadline = time.monotonic() + seconds
        while left := self.left():
            if time.monotonic() > deadline:
                raise AssertionError("left on the node:\n  " + "\n  ".join(left))
            time.sleep(SETTLE_STEP_SECONDS)


def pod_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True"
               for c in pod.get("status", {}).get("conditions", []))


def container_state(pod, kind, last=False):
    """The waiting, running or terminated state of the first container, {} if it is another one.
    last: of the attempt before."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return statuses[0].get("lastState" if last else "state", {}).get(kind) or {}


def waits_for(reason):
    return lambda pod: container_state(pod, "waiting").get("reason") == reason
