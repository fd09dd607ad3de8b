"""unikubelet-host, the container's first process: from a mount namespace of its own, as a container
has it, to the host's. "The host" is a process 1 that the test makes; nothing of this machine is
touched."""
import os
import subprocess

import pytest

from harness import ROOT

HOST = os.path.join(ROOT, "build", "unikubelet-host")
CGROUP = f"unikubelet-test-{os.getpid()}"
AGENT = """#!/bin/sh
echo "args $*"
echo "mounts $(readlink /proc/self/ns/mnt) $(readlink /proc/1/ns/mnt)"
echo "groups $(grep -c ':/{cgroup}-agent$' /proc/self/cgroup) $(wc -l </proc/self/cgroup)"
for arg; do
    case $arg in
    --service-account-dir=*) cat "${{arg#*=}}/token" ;;
    esac
done
trap 'echo terminated; exit 9' TERM
[ -z "$HOLD" ] || {{ echo holding; sleep 60 & wait; }}
exit 7
"""


@pytest.fixture
def host(tmp_path):
    """Runs a script as a container's process on a host whose process 1 is ours."""
    for part in ("opt", "payload/bin", "account"):
        os.makedirs(tmp_path / part)
    (tmp_path / "payload" / "id").write_text("v1-abc\n")
    agent = tmp_path / "payload" / "bin" / "unikubelet"
    agent.write_text(AGENT.format(cgroup=CGROUP))
    agent.chmod(0o755)
    (tmp_path / "account" / "token").write_text("secret-of-the-pod\n")
    outer = """set -e
mount --make-rprivate /
mount --bind "$1/opt" /opt
unshare --mount sh -c "$2" container "$1"
"""
    # The container has an /opt of its own; the Pod's ServiceAccount is only in its mounts.
    inner = """set -e
mount -t tmpfs none /opt
mount -t tmpfs none /var/run
mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
cp "$1/account/token" /var/run/secrets/kubernetes.io/serviceaccount
"""

    def run(script, **options):
        argv = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                outer, "host", str(tmp_path), inner + script]
        return subprocess.run(argv, text=True, capture_output=True, timeout=60, check=False,
                              **options)
    yield run
    for root in ["/sys/fs/cgroup"] + [f"/sys/fs/cgroup/{n}" for n in os.listdir("/sys/fs/cgroup")]:
        assert not os.path.exists(f"{root}/{CGROUP}")
        if os.path.isdir(f"{root}/{CGROUP}-agent"):
            os.rmdir(f"{root}/{CGROUP}-agent")


def command(mode, tmp_path, *rest):
    return (f"{HOST} {mode} --payload {tmp_path}/payload --cgroup {CGROUP} "
            f"--state-dir {tmp_path}/state --run-dir {tmp_path}/run --netns-dir {tmp_path}/netns "
            f"--bridge none0 {' '.join(rest)}")


def test_runs_on_the_host(host, tmp_path):
    """In process 1's mounts, in cgroups of its own in every hierarchy, from the installed copy,
    with the Pod's ServiceAccount still in reach; ends with the agent's status."""
    done = host("set +e\n" + command("run", tmp_path, "-- --node-name=n") + "; echo status $?")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("--node-name=n")
    assert "--qemu-binary=/opt/unikubelet/v1-abc/bin/qemu-system-x86_64" in lines[0]
    words = lines[1].split()
    assert words[1] == words[2]
    groups, all_groups = lines[2].split()[1:]
    assert groups == all_groups
    assert "secret-of-the-pod" in lines
    assert lines[-1] == "status 7"
    assert os.listdir(tmp_path / "opt" / "unikubelet") == ["v1-abc"]


def test_other_versions_go_when_nothing_runs_from_them(host, tmp_path):
    os.makedirs(tmp_path / "opt" / "unikubelet" / "v0-old" / "bin")
    os.makedirs(tmp_path / "opt" / "unikubelet" / "v2.new" / "half")
    os.makedirs(tmp_path / "opt" / "unikubelet" / "v0-used" / "bin")
    sleeper = tmp_path / "opt" / "unikubelet" / "v0-used" / "bin" / "sleep"
    sleeper.write_bytes(open("/bin/sleep", "rb").read())
    sleeper.chmod(0o755)
    done = host(f"nsenter -t 1 -m /opt/unikubelet/v0-used/bin/sleep 50 & p=$!\n"
                f"until readlink /proc/$p/exe | grep -q v0-used; do :; done\n"
                f"set +e; {command('run', tmp_path)}; echo status $?")
    assert "status 7" in done.stdout, done.stderr
    assert sorted(os.listdir(tmp_path / "opt" / "unikubelet")) == ["v0-used", "v1-abc"]


def test_stops_and_dies_with_the_container(host, tmp_path):
    run = "HOLD=1 " + command("run", tmp_path)
    done = host(f"set +e; {run} >{tmp_path}/out & p=$!\n"
                f"until grep -q holding {tmp_path}/out; do :; done\n"
                "kill -TERM $p; wait $p; echo status $?")
    assert "status 9" in done.stdout, done.stderr
    done = host(f"set +e; {run} >{tmp_path}/out & p=$!\n"
                f"until grep -q holding {tmp_path}/out; do :; done\n"
                f"child=$(pgrep -P $p)\nkill -KILL $p; wait $p 2>/dev/null\n"
                "while kill -0 $child 2>/dev/null; do :; done; echo gone")
    assert "gone" in done.stdout, done.stderr


def test_remove(host, tmp_path):
    for part in ("opt/unikubelet/v1-abc/bin", "state/pods", "run/i", "run/v", "netns"):
        os.makedirs(tmp_path / part, exist_ok=True)
    (tmp_path / "netns" / "unik-1").write_text("")
    (tmp_path / "netns" / "other").write_text("")
    (tmp_path / "netns.unikubelet.lock").write_text("")
    group = f"/sys/fs/cgroup/pids/{CGROUP}"
    # As the agent and a Pod's memory volume leave them on the host.
    done = host(f"nsenter --target 1 --mount sh -c 'mount -t tmpfs tmpfs {tmp_path}/run/v && "
                f"mkdir {tmp_path}/run/v/p && mount -t tmpfs tmpfs {tmp_path}/run/v/p'\n"
                f"if [ -d /sys/fs/cgroup/pids ]; then mkdir -p {group}/m; sleep 60 & "
                f"echo $! >{group}/m/cgroup.procs; fi\n" + command("remove", tmp_path) +
                f"; ! [ -d {group} ]; echo removed")
    assert "removed" in done.stdout, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["account", "netns", "opt", "payload"]
    assert os.listdir(tmp_path / "netns") == ["other"]
    assert os.listdir(tmp_path / "opt") == []


def test_says_what_is_missing(host, tmp_path):
    """Without hostPID process 1 is the container's own."""
    done = subprocess.run(["unshare", "--pid", "--mount", "--fork", "--mount-proc", HOST, "run"],
                          text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "the Pod needs hostPID: true" in done.stderr
    done = host("set +e; setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "
                + command("run", tmp_path) + "; echo status $?")
    assert "status 1" in done.stdout
    assert "SYS_ADMIN" in done.stderr
    done = host("set +e; " + command("run", tmp_path).replace("/payload ", "/nothing ")
                + "; echo status $?")
    assert "is not in the image" in done.stderr
