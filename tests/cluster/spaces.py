"""The namespaces and processes of one test cluster.

A cluster in DIR owns two network namespaces (the control plane's and the node's), joined by a veth
pair, and one mount namespace for the node, in which /run, /sys, /var/lib and /var/log are its own.
So nothing that an agent, a CNI plugin or kube-proxy does reaches the host, and clusters run side by
side with the same addresses. Processes are found again by the namespaces they live in, and
signalled through pidfds: never by name, never a recycled pid. Used by cluster, registry and e2e.
"""
import contextlib
import ctypes
import fcntl
import glob
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import time

CONTROL, NODE = "control", "node"
CONTROL_IP, NODE_IP, PREFIX = "10.89.0.1", "10.89.0.2", 24
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
KILL_ROUNDS_MAX = 20  # a process may start another one while we end them
NODE_DIRS = ("run", "var/lib", "var/log")
LOG_FILES = ("logs", "audit*.log")
OUR_FILES = LOG_FILES + ("bin", "etcd", "node", "ns", "pids", "pki", "registry", "worker", "ca.crt",
                         "api.sock", "layouts", "certs.d", "audit-policy.yaml", "agent-*.yaml*",
                         "*.kubeconfig",
                         "*-client.crt", "*-client.key", "*-serving.crt", "*-serving.key")

_libc = ctypes.CDLL(None, use_errno=True)


class ClusterError(Exception):
    """A failure that the user should read as one line."""


def run(*argv, check=True, text=None):
    """Runs a short command; its output is shown only if it fails."""
    done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
    if check and done.returncode != 0:
        detail = (done.stderr or done.stdout).strip()
        raise ClusterError(f"{' '.join(argv)}: exit status {done.returncode}: {detail}")
    return done


def setns(path, kind):
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, kind) != 0:
            raise ClusterError(f"setns {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


def mounted(path):
    """os.path.ismount() misses a directory that is bound onto itself."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        # Field 5, with blanks and backslashes in octal.
        escaped = path.replace("\\", r"\134").replace(" ", r"\040")
        return any(line.split()[4] == escaped for line in table)


def start_time(pid):
    """The start time of a process in clock ticks (field 22 of proc(5) stat), None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def wait_pidfds(fds, seconds):
    """Waits until every pidfd says that its process ended; closes them; False at the deadline."""
    deadline = time.monotonic() + seconds
    left = set(fds)
    poll = select.poll()
    for fd in left:
        poll.register(fd, select.POLLIN)
    while left and (now := time.monotonic()) < deadline:
        for fd, _ in poll.poll((deadline - now) * 1000):
            poll.unregister(fd)
            left.discard(fd)
    for fd in fds:
        os.close(fd)
    return not left


class Spaces:
    """The namespaces of the cluster in one directory, and the processes in them."""

    def __init__(self, directory):
        self.dir = os.path.realpath(directory)
        self.key = hashlib.sha256(self.dir.encode()).hexdigest()[:8]
        self.names = {CONTROL: f"uk-{self.key}-control", NODE: f"uk-{self.key}-node"}
        self.pin_dir = os.path.join(self.dir, "ns")
        self.mnt = os.path.join(self.pin_dir, "mnt")
        self.lock_file = f"/run/lock/unikubelet-cluster-{self.key}"
        self.cgroup = f"unikubelet-{self.key}"  # the name an agent of this cluster must use

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def net(self, where):
        return f"/run/netns/{self.names[where]}"

    def exist(self):
        return mounted(self.mnt) and all(os.path.exists(self.net(w)) for w in self.names)

    @contextlib.contextmanager
    def lock(self):
        """One up, down or restart of a cluster at a time. The lock file lives outside DIR."""
        while True:
            with open(self.lock_file, "w", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                try:
                    if os.stat(self.lock_file).st_ino != os.fstat(file.fileno()).st_ino:
                        continue  # its last owner removed it while we waited
                except FileNotFoundError:
                    continue
                yield
                return

    def remove_lock(self):
        """Only by who holds it."""
        os.unlink(self.lock_file)

    # --- making and entering -------------------------------------------------------------------

    def create(self):
        for where in self.names:
            run("ip", "netns", "add", self.names[where])
        control, node = self.names[CONTROL], self.names[NODE]
        run("ip", "-n", control, "-batch", "-", text=f"""link set lo up
link add eth0 type veth peer name eth0 netns {node}
addr add {CONTROL_IP}/{PREFIX} dev eth0
link set eth0 up
""")
        run("ip", "-n", node, "-batch", "-", text=f"""link set lo up
addr add {NODE_IP}/{PREFIX} dev eth0
link set eth0 up
route add default via {CONTROL_IP}
""")
        # Pod and Service addresses are behind the node; the control plane itself forwards nothing,
        # so an address that nobody has cannot circle between the two.
        run("ip", "-n", control, "route", "add", "default", "via", NODE_IP)
        for where, value in ((CONTROL, "0"), (NODE, "1")):
            run("nsenter", f"--net={self.net(where)}", "sh", "-c",
                f"echo {value} >/proc/sys/net/ipv4/ip_forward")
        self._create_mounts()

    def _create_mounts(self):
        """The node's own /run, /sys, /var/lib and /var/log; kept by a bind mount in DIR/ns."""
        for part in NODE_DIRS:
            os.makedirs(self.path("node", part), exist_ok=True)
        for part in ("run/lock", "run/netns", "sys"):
            os.makedirs(self.path("node", part), exist_ok=True)
        os.makedirs(self.pin_dir, exist_ok=True)
        run("mount", "--bind", self.pin_dir, self.pin_dir)
        run("mount", "--make-private", self.pin_dir)
        with open(self.mnt, "w", encoding="utf-8"):
            pass
        # Names of other network namespaces must not be kept alive by our copy of their mounts.
        script = """set -e
        while umount -l -R /run/netns 2>/dev/null; do :; done
        mount -t sysfs sysfs "$1/sys"
        mount --rbind /sys/fs/cgroup "$1/sys/fs/cgroup"
        mount --rbind "$1/sys" /sys
        for part in run var/lib var/log; do mount --bind "$1/$part" "/$part"; done"""
        run("nsenter", f"--net={self.net(NODE)}", "unshare", f"--mount={self.mnt}",
            "--propagation", "private", "sh", "-c", script, "sh", self.path("node"))

    def enter(self, where, mounts=True):
        """Moves the calling process there; it must have one thread. Without the node's mounts it
        can still find the namespaces, so start() works."""
        if not self.exist():
            raise ClusterError(f"no cluster is up in {self.dir}")
        cwd = os.getcwd()
        setns(self.net(where), CLONE_NEWNET)
        if where == NODE and mounts:
            setns(self.mnt, CLONE_NEWNS)
            os.chdir(cwd)

    def prefix(self, where):
        """An argv prefix that enters a namespace: for callers who start many short commands."""
        argv = ["nsenter", f"--net={self.net(where)}"]
        if where == NODE:
            argv += [f"--mount={self.mnt}", f"--wdns={self.dir}"]
        return argv

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        env["PATH"] = f"{self.path('bin')}:{env.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
        env["KUBECONFIG"] = self.path("admin.kubeconfig")
        env["UNIKUBELET_CLUSTER"] = self.dir
        return env

    # --- processes -----------------------------------------------------------------------------

    def start(self, name, argv, where=CONTROL):
        """Starts a process in a session of its own; its output is appended to logs/NAME.log."""
        if self.alive(name):
            raise ClusterError(f"{name} is already running")
        for part in ("logs", "pids"):
            os.makedirs(self.path(part), exist_ok=True)
        with open(self.path("logs", f"{name}.log"), "ab") as log:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                env=self.environment(), start_new_session=True,
                preexec_fn=lambda: self.enter(where))
        record = {"pid": child.pid, "start": start_time(child.pid)}
        with open(self.path("pids", name), "w", encoding="utf-8") as file:
            json.dump(record, file)
        return child

    def open_pid(self, name):
        """A pidfd of the process that start() made under this name, None if it has ended."""
        try:
            with open(self.path("pids", name), encoding="utf-8") as file:
                record = json.load(file)
            fd = os.pidfd_open(record["pid"])
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        if start_time(record["pid"]) != record["start"]:
            os.close(fd)
            return None
        return fd

    def pid(self, name):
        with open(self.path("pids", name), encoding="utf-8") as file:
            return json.load(file)["pid"]

    def alive(self, name):
        fd = self.open_pid(name)
        if fd is not None:
            os.close(fd)
        return fd is not None

    def stop(self, name, number=signal.SIGTERM, seconds=5):
        """Ends one process and those in its session; SIGKILL after `seconds`."""
        fd = self.open_pid(name)
        if fd is None:
            return False
        session = self._session_fds(self.pid(name))
        for other in session:
            _signal(other, number)
        _signal(fd, number)
        if not wait_pidfds([os.dup(fd)] + [os.dup(o) for o in session], seconds):
            for other in [fd] + session:
                _signal(other, signal.SIGKILL)
        wait_pidfds([fd] + session, 5)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("pids", name))
        return True

    @staticmethod
    def _session_fds(leader):
        fds = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with contextlib.suppress(ProcessLookupError, OSError):
                if pid != leader and os.getsid(pid) == leader:
                    fds.append(os.pidfd_open(pid))
        return fds

    def members(self):
        """The pids of all processes in our namespaces, this one and its ancestors left out."""
        wanted = set()
        for file in (self.mnt, self.net(CONTROL), self.net(NODE)):
            with contextlib.suppress(FileNotFoundError):
                stat = os.stat(file)
                wanted.add((stat.st_dev, stat.st_ino))
        pids = map(int, filter(str.isdigit, os.listdir("/proc")))
        return [p for p in pids if self._inside(p, wanted) and p not in _ancestors()]

    @staticmethod
    def _inside(pid, wanted):
        for kind in ("mnt", "net"):
            with contextlib.suppress(OSError):
                stat = os.stat(f"/proc/{pid}/ns/{kind}")
                if (stat.st_dev, stat.st_ino) in wanted:
                    return True
        return False

    def kill_all(self):
        for _ in range(KILL_ROUNDS_MAX):
            fds = []
            for pid in self.members():
                with contextlib.suppress(ProcessLookupError):
                    fds.append(os.pidfd_open(pid))
            # Membership again, now that the pidfds hold the pids: only then may they be signalled.
            if not fds or not (still := set(self.members())):
                for fd in fds:
                    os.close(fd)
                return
            for fd in fds:
                if _pid_of(fd) in still:
                    _signal(fd, signal.SIGKILL)
            wait_pidfds(fds, 5)
        raise ClusterError(f"processes of the cluster would not end: {self.members()}")

    # --- taking down ---------------------------------------------------------------------------

    def destroy(self):
        """Ends every process and removes every namespace, mount and cgroup. Idempotent."""
        self.kill_all()
        for target in (self.mnt, self.pin_dir):
            while mounted(target):
                run("umount", "-l", target)
        for where in self.names:
            if os.path.exists(self.net(where)):
                run("ip", "netns", "delete", self.names[where])
        for root in ("/sys/fs/cgroup", *_subdirectories("/sys/fs/cgroup")):
            remove_cgroups(os.path.join(root, self.cgroup))

    def remove_files(self, keep_logs):
        """Removes what we made in DIR, and DIR if nothing else is in it."""
        kept = LOG_FILES if keep_logs else ()
        for pattern in OUR_FILES:
            for full in glob.glob(self.path(pattern)) if pattern not in kept else ():
                if os.path.isdir(full) and not os.path.islink(full):
                    shutil.rmtree(full)
                else:
                    os.unlink(full)
        with contextlib.suppress(OSError):
            os.rmdir(self.dir)


def _signal(fd, number):
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, number)


def _pid_of(fd):
    with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8") as info:
        for line in info:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    return -1


def _ancestors():
    pids, pid = set(), os.getpid()
    while pid > 1:
        pids.add(pid)
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            pid = int(stat.read().rpartition(")")[2].split()[1])
    return pids


def _subdirectories(path):
    with contextlib.suppress(OSError):
        return [os.path.join(path, n) for n in os.listdir(path)
                if os.path.isdir(os.path.join(path, n))]
    return []


def remove_cgroups(top):
    """Removes a tree of empty control groups, the deepest first."""
    if os.path.isdir(top):
        for path, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
