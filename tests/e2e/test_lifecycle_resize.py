"""Resizing a running Pod with kubectl: CPU in place, memory by another start of its container where
its resizePolicy allows one, and a sentence where neither can be."""
import glob
import json
import os
import re

from pods import restarts, running


def container(**more):
    requests = {"cpu": "100m", "memory": "32Mi"}
    return {"resources": {"requests": requests, "limits": {"cpu": "500m", "memory": "32Mi"}}, **more}


def resize(space, name, limits=None, requests=None):
    resources = {k: v for k, v in (("limits", limits), ("requests", requests)) if v}
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    space.kubectl("patch", "pod", name, "--subresource", "resize", "--patch", json.dumps(patch))


def status(pod):
    return pod["status"]["containerStatuses"][0]


def conditions(pod):
    return {c["type"]: c for c in pod["status"].get("conditions", [])
            if c["type"].startswith("PodResize")}


def has(**limits):
    """Runs with these limits, and nothing of a resize is left to be done."""
    return lambda p: running(p) and not conditions(p) and \
        all(status(p)["resources"]["limits"][k] == v for k, v in limits.items())


def pending(reason):
    return lambda p: conditions(p).get("PodResizePending", {}).get("reason") == reason


def quota(cluster, pod):
    """The machine's share of the CPU in thousandths of one, as the kernel has it."""
    group = os.path.join(cluster.spaces.cgroup, status(pod)["containerID"].split("//")[1])
    for path in glob.glob(f"/sys/fs/cgroup/*/{group}/cpu.cfs_quota_us") + \
            glob.glob(f"/sys/fs/cgroup/{group}/cpu.max"):
        with open(path, encoding="utf-8") as file:
            return int(file.read().split()[0]) // 100
    raise AssertionError(f"no CPU controller has {group}")


def memory(node, pod):
    lines = [line for line in node.vmms().values() if pod["metadata"]["uid"] in line]
    assert len(lines) == 1, lines
    return re.search(r" -m (\S+)", lines[0]).group(1)


def told(space, name, reason):
    return [e["message"] for e in space.events(name, reason)]


def test_cpu_changes_in_place_and_what_cannot_be_says_why(space, agent, cluster):
    for name in ("live", "wide", "large"):
        space.pod(name, container=container())
    before = {name: space.ready(name) for name in ("live", "wide", "large")}
    assert quota(cluster, before["live"]) == 500
    assert status(before["live"])["allocatedResources"] == {"cpu": "100m", "memory": "32Mi"}

    resize(space, "live", limits={"cpu": "900m"}, requests={"cpu": "200m"})
    resize(space, "wide", limits={"cpu": "1500m"})
    resize(space, "large", limits={"memory": "64Mi"})
    pod = space.wait("live", has(cpu="900m"))
    assert quota(cluster, pod) == 900
    assert status(pod)["allocatedResources"]["cpu"] == "200m"
    assert status(pod)["containerID"] == status(before["live"])["containerID"]
    assert pod["status"]["observedGeneration"] == pod["metadata"]["generation"] == 2
    text = space.wait_event("live", "ResizeCompleted", "Pod resize completed: ")
    said = json.loads(text.split(": ", 1)[1])
    assert said == {"generation": 2, "containers": [{"name": "main", "resources": {
        "limits": {"cpu": "900m", "memory": "32Mi"},
        "requests": {"cpu": "200m", "memory": "32Mi"}}}]}
    assert space.wait_event("live", "ResizeStarted", "Pod resize started: ")

    why = {"wide": "a limit of 1500m needs 2 CPUs and the running unikraft guest has 1, which is "
                   "fixed at its start",
           "large": "the memory of a running unikraft guest cannot be changed from 32 to 64 MiB"}
    for name, sentence in why.items():
        pod = space.wait(name, pending("Infeasible"))
        assert sentence in conditions(pod)["PodResizePending"]["message"]
        assert conditions(pod)["PodResizePending"]["observedGeneration"] == 2
        assert status(pod)["resources"]["limits"] == {"cpu": "500m", "memory": "32Mi"}
        assert sentence in space.wait_event(name, "ResizeInfeasible", "Pod resize Infeasible: ")
        assert "hello from" in space.http(pod)

    # An agent that comes later says and does nothing again, and hears what is taken back.
    agent.kill9()
    agent.start()
    resize(space, "wide", limits={"cpu": "500m"})
    resize(space, "live", limits={"cpu": "300m"})
    space.wait("wide", has(cpu="500m"))
    pod = space.wait("live", has(cpu="300m"))
    assert quota(cluster, pod) == 300
    assert pending("Infeasible")(space.get("large"))
    for name in ("live", "wide", "large"):
        pod = space.get(name)
        assert restarts(pod) == 0
        assert status(pod)["containerID"] == status(before[name])["containerID"]
    assert len(told(space, "wide", "ResizeInfeasible")) == 1
    assert len(told(space, "large", "ResizeInfeasible")) == 1
    assert not told(space, "wide", "ResizeStarted")


def test_memory_changes_by_another_start(space, node, agent):
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    for name in ("grows", "shrinks"):
        size = {"cpu": "100m", "memory": "64Mi"}
        space.pod(name, restartPolicy="OnFailure" if name == "grows" else "Always",
                  container=container(resizePolicy=policy, resources={
                      "requests": size, "limits": {"memory": "64Mi"}}))
    first = space.ready("grows")
    space.ready("shrinks")
    assert memory(node, first) == "64"
    resize(space, "grows", limits={"memory": "96Mi"}, requests={"memory": "96Mi"})
    agent.kill9()  # wherever it is
    agent.start()
    resize(space, "shrinks", limits={"memory": "32Mi"}, requests={"memory": "32Mi"})
    for name, mib in (("grows", 96), ("shrinks", 32)):
        pod = space.wait(name, lambda p: has(memory=f"{mib}Mi")(p) and restarts(p) == 1)  # pylint: disable=cell-var-from-loop
        assert memory(node, pod) == str(mib)
        assert "hello from" in space.http(pod)
        assert "terminated" in status(pod)["lastState"]
    assert space.wait_event("shrinks", "Killing") == "Container main resize requires restart"
    space.wait_event("shrinks", "ResizeCompleted")


def test_a_resize_waits_for_room(space):
    size = {"requests": {"cpu": "900m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}}
    space.pod("holder", container={"resources": size})
    space.pod("wants")
    space.ready("holder")
    space.ready("wants")
    resize(space, "wants", requests={"cpu": "1500m"})
    pod = space.wait("wants", pending("Deferred"))
    assert "Node didn't have enough resource: cpu, requested: 15" in \
        conditions(pod)["PodResizePending"]["message"]
    assert status(pod)["allocatedResources"]["cpu"] == "10m"
    space.wait_event("wants", "ResizeDeferred", "Pod resize Deferred: ")
    space.delete_pod("holder")
    pod = space.wait("wants", lambda p: not conditions(p) and
                     status(p)["allocatedResources"]["cpu"] == "1500m")
    assert restarts(pod) == 0
