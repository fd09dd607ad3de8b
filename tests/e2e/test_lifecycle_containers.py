"""A Pod's containers as the kubelet lives them: init containers, restart rules, readiness gates,
termination messages, and what kubectl shows of a Pod that crashes again and again."""
import glob
import json
import os
import re
import signal

import pytest

from harness import container_state


def init(name, *args, **more):
    return {"name": name, "args": list(args), **more}


def inits(space, *containers):
    """Init containers of the hello guest."""
    common = {"image": space.guests["hello"], "imagePullPolicy": "IfNotPresent",
              "resources": {"limits": {"memory": "32Mi"}}}
    return [{**common, **c} for c in containers]


def init_status(pod, name):
    return next((c for c in pod["status"].get("initContainerStatuses", []) if c["name"] == name),
                {"state": {}, "restartCount": 0})


def condition(pod, kind):
    return next((c for c in pod["status"].get("conditions", []) if c["type"] == kind), {})


def shown(space, name):
    """The STATUS column of kubectl get."""
    return space.kubectl("get", "pod", name, "--no-headers").split()[2]


def waits_for_gate(pod):
    return condition(pod, "Ready").get("reason") == "ReadinessGatesNotReady"


class Group:
    """The memory that the kernel counts for a machine, and its limit."""

    def __init__(self, cluster, pod):
        name = pod["status"]["containerStatuses"][0]["containerID"].split("//")[1]
        found = glob.glob(f"/sys/fs/cgroup/memory/{cluster.spaces.cgroup}/{name}") + \
            glob.glob(f"/sys/fs/cgroup/{cluster.spaces.cgroup}/{name}/memory.max")
        if not found:
            pytest.skip("this host lets nobody make memory cgroups: see test_oom in "
                        "tests/unit/test_cgroup.c")
        self.v2 = found[0].endswith("memory.max")
        self.path = os.path.dirname(found[0]) if self.v2 else found[0]

    def _file(self, v1, v2):
        return os.path.join(self.path, v2 if self.v2 else v1)

    def usage(self):
        with open(self._file("memory.usage_in_bytes", "memory.current"), encoding="utf-8") as file:
            return int(file.read())

    def limit(self, amount):
        with open(self._file("memory.limit_in_bytes", "memory.max"), "w", encoding="utf-8") as file:
            file.write(str(amount))


def test_machine_out_of_memory(space, cluster):
    """The kernel kills the VMM, as it does a container's process: the limit is lowered to what is
    in use, and then the guest touches more of its memory."""
    space.pod("greedy", restartPolicy="Never",
              container={"resources": {"limits": {"memory": "64Mi"}}})
    pod = space.ready("greedy")
    group = Group(cluster, pod)
    group.limit(group.usage() + (1 << 20))
    space.tell(pod, "/mem?mb=40")
    pod = space.wait("greedy", lambda p: p["status"].get("phase") == "Failed")
    ended = container_state(pod, "terminated")
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert shown(space, "greedy") == "OOMKilled"


def test_init_containers_run_one_after_the_other(space, agent):
    space.pod("steps", initContainers=inits(
        space, init("first", "--print=one", "--exit=0"), init("second", "--print=two")))
    pod = space.wait("steps", lambda p: "running" in init_status(p, "second")["state"])
    first = init_status(pod, "first")
    assert first["ready"] and first["state"]["terminated"]["reason"] == "Completed"
    assert pod["status"]["phase"] == "Pending"
    assert condition(pod, "Initialized")["message"] == "containers with incomplete status: [second]"
    assert container_state(pod, "waiting")["reason"] == "PodInitializing"
    assert shown(space, "steps") == "Init:1/2"
    assert space.wait_event("steps", "Started")
    fields = {e["involvedObject"].get("fieldPath") for e in space.events("steps", "Started")}
    assert "spec.initContainers{first}" in fields
    # An agent that comes later repeats nothing and loses nothing.
    agent.kill9()
    agent.start()
    assert "hello from" in space.http(pod)
    space.tell(pod, "/exit?code=0")
    pod = space.ready("steps")
    second = init_status(pod, "second")
    assert init_status(pod, "first") == first
    assert second["restartCount"] == 0 and second["state"]["terminated"]["exitCode"] == 0
    assert condition(pod, "Initialized")["status"] == "True"
    main = pod["status"]["containerStatuses"][0]
    ids = {first["state"]["terminated"]["containerID"], second["containerID"], main["containerID"]}
    assert len(ids) == 3
    # One address for all of them, one log for each.
    for name, text in (("first", "one"), ("second", "two")):
        log = space.logs("steps", "-c", name)
        assert f"{text}\n" in log and "main returned 0" in log
    assert f"address {pod['status']['podIP']}" in space.logs("steps", "-c", "second")
    assert "hello from" in space.http(pod)


def test_init_container_that_fails(space):
    failing = inits(space, init("bad", "--print=no-luck", "--exit=3"), init("never"))
    space.pod("once", restartPolicy="Never", initContainers=failing)
    space.pod("again", initContainers=failing)
    pod = space.wait("once", lambda p: p["status"].get("phase") == "Failed")
    assert init_status(pod, "bad")["state"]["terminated"]["exitCode"] == 3
    assert container_state(pod, "waiting")["reason"] == "PodInitializing"
    assert condition(pod, "Ready")["reason"] == "PodFailed"
    assert shown(space, "once") == "Init:Error"
    pod = space.wait("again", lambda p: init_status(p, "bad")["state"].get("waiting", {})
                     .get("reason") == "CrashLoopBackOff")
    bad = init_status(pod, "bad")
    assert pod["status"]["phase"] == "Pending" and bad["restartCount"] >= 1
    assert bad["lastState"]["terminated"]["exitCode"] == 3
    assert "restarting failed container=bad pod=again_" in bad["state"]["waiting"]["message"]
    assert shown(space, "again") == "Init:CrashLoopBackOff"
    assert "no-luck" in space.logs("again", "-c", "bad", "--previous")
    assert "container bad in pod again_" in space.wait_event("again", "BackOff")


def test_sidecar_is_refused_with_a_sentence(space):
    space.pod("side", initContainers=inits(space, init("log", restartPolicy="Always")))
    message = space.wait_event("side", "Failed", "sidecar")
    assert "spec.initContainers[0].restartPolicy (Always)" in message
    pod = space.wait("side", lambda p: container_state(p, "waiting"))
    assert container_state(pod, "waiting")["reason"] == "CreateContainerConfigError"


def test_restart_rules_of_a_container(space):
    rules = {"restartPolicy": "Never", "restartPolicyRules": [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}
    for name, code in (("match", 42), ("other", 7)):
        space.pod(name, restartPolicy="Never", container={"args": [f"--exit={code}"], **rules})
    pod = space.wait("match", lambda p: p["status"].get("containerStatuses", [{}])[0]
                     .get("restartCount", 0) >= 1)
    assert pod["status"]["phase"] == "Running"
    pod = space.wait("other", lambda p: p["status"].get("phase") == "Failed")
    assert container_state(pod, "terminated")["exitCode"] == 7
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_readiness_gate(space):
    space.pod("gate", readinessGates=[{"conditionType": "example.org/open"}])
    pod = space.wait("gate", waits_for_gate)
    assert condition(pod, "ContainersReady")["status"] == "True"
    assert condition(pod, "Ready")["message"] == \
        'corresponding condition of pod readiness gate "example.org/open" does not exist.'
    for value in ("False", "True"):
        patch = {"status": {"conditions": [{"type": "example.org/open", "status": value}]}}
        space.kubectl("patch", "pod", "gate", "--subresource=status", "-p", json.dumps(patch))
        if value == "False":
            text = 'the status of pod readiness gate "example.org/open" is not "True", but False'
            space.wait("gate", lambda p, t=text: condition(p, "Ready")["message"] == t)
    pod = space.ready("gate")
    assert condition(pod, "example.org/open")["status"] == "True"


def test_active_deadline(space):
    space.pod("short", activeDeadlineSeconds=3)
    space.pod("changed")
    space.ready("changed")
    space.kube.patch("Pod", "changed", {"spec": {"activeDeadlineSeconds": 1}}, space.ns)
    for name in ("short", "changed"):
        pod = space.wait(name, lambda p: p["status"].get("phase") == "Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"
        text = "Pod was active on the node longer than the specified deadline"
        assert pod["status"]["message"] == text
        assert space.wait_event(name, "DeadlineExceeded") == text
        assert container_state(pod, "terminated")


def test_machine_that_is_killed_or_lost(space, node):
    for name in ("killed", "lost"):
        space.pod(name, restartPolicy="Never")
    pods = {name: space.ready(name) for name in ("killed", "lost")}
    vmm = next(pid for pid, line in node.vmms().items()
               if pods["killed"]["metadata"]["uid"] in line)
    instance = pods["lost"]["status"]["containerStatuses"][0]["containerID"].split("//")[1]
    shim = next(pid for pid, line in node.machines().items()
                if "unikubelet-shim" in line.split()[0] and instance in line)
    os.kill(vmm, signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    for name, reason in (("killed", "Error"), ("lost", "ContainerStatusUnknown")):
        pod = space.wait(name, lambda p: p["status"].get("phase") == "Failed")
        state = container_state(pod, "terminated")
        assert (state["exitCode"], state["reason"]) == (137, reason)
    assert container_state(space.get("killed"), "terminated")["signal"] == 9


def test_termination_message_from_the_console(space):
    fall = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    cases = (("bad", 3, fall), ("good", 0, fall), ("file", 3, {}))
    for name, code, policy in cases:
        space.pod(name, restartPolicy="Never",
                  container={"args": ["--lines=100", f"--exit={code}"], **policy})
    ended = {name: container_state(space.wait(name, lambda p: container_state(p, "terminated")),
                                   "terminated") for name, _, _ in cases}
    lines = ended["bad"]["message"].splitlines()
    assert lines[-2:] == ["line 100 of 100", "main returned 3"]
    assert len(lines) == 80 and len(ended["bad"]["message"]) <= 2048
    assert "message" not in ended["good"] and "message" not in ended["file"]


def test_crash_looping_pod_reads_like_a_containers(space):
    space.pod("loop", container={"args": ["--exit=5"]})
    space.wait("loop", lambda p: container_state(p, "waiting").get("reason") == "CrashLoopBackOff"
               if container_state(p, "waiting") else False)
    space.wait_event("loop", "BackOff", "restarting failed")
    assert shown(space, "loop") == "CrashLoopBackOff"
    text = space.kubectl("describe", "pod", "loop")
    path = r"(spec\.containers\{main\}: )?"  # as newer versions of kubectl show it
    for line in (r"Status: +Running", r"    Container ID: +unikernel://[0-9a-f]{32}",
                 r"    Image ID: +\S+@sha256:[0-9a-f]{64}", r"    State: +Waiting",
                 r"      Reason: +CrashLoopBackOff", r"    Last State: +Terminated",
                 r"      Reason: +Error", r"      Exit Code: +5", r"      Started: +\w{3}, ",
                 r"      Finished: +\w{3}, ", r"    Ready: +False", r"    Restart Count: +[1-9]",
                 r"  Initialized +True", r"  Ready +False", r"  ContainersReady +False",
                 rf"  Normal +Pulled .*kubelet +{path}Container image .* already present",
                 rf"  Normal +Created .*kubelet +{path}Container created",
                 rf"  Normal +Started .*kubelet +{path}Container started",
                 rf"  Warning +BackOff .*kubelet +{path}Back-off restarting failed container main "
                 r"in pod loop_"):
        assert re.search(rf"^{line}", text, re.MULTILINE), f"no \"{line}\" in\n{text}"
