"""Node pressure: thresholds set so that they hold on this host, conditions and taints follow, and
Pods go in the kubelet's order, with its reason, message and condition.
"""
import os

import pytest

from harness import NODE, NODE_NAME
from pods import bound_body

LOW = {"evictionHard": ["memory.available<99%"], "evictionPressureTransitionSeconds": 1,
       "reservedMemory": "0"}


def condition(obj, kind):
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def evicted(pod):
    return pod["status"].get("reason") == "Evicted"


def class_of(space, name, value):
    space.kube.call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name}, "value": value})


def test_least_important_pod_goes_first(space, reconfigure):
    """"greedy" uses more than it asks for and has a low priority, "dear" too but a high one,
    "modest" asks for all that it uses."""
    name = f"dear-{space.ns[-6:]}"
    class_of(space, name, 1000)
    hello = space.guests["hello"]
    tiny = {"limits": {"memory": "32Mi"}, "requests": {"memory": "1Mi"}}
    ample = {"limits": {"memory": "128Mi"}, "requests": {"memory": "128Mi"}}
    try:
        for pod, resources, spec in (("dear", tiny, {"priorityClassName": name}),
                                     ("greedy", tiny, {}), ("modest", ample, {})):
            body = bound_body(pod, hello, container={"resources": resources}, **spec)
            body["spec"].pop("runtimeClassName")  # whose overhead counts as asked for
            space.create_body(body)
        for pod in ("dear", "greedy", "modest"):
            space.ready(pod)
        reconfigure(**LOW)
        first = space.kube.wait_all("Pod", space.ns, lambda all: any(map(evicted, all)))
        assert [p["metadata"]["name"] for p in first if evicted(p)] == ["greedy"]
        gone = [space.wait(pod, evicted) for pod in ("greedy", "dear", "modest")]
        times = [condition(pod, "DisruptionTarget")["lastTransitionTime"] for pod in gone]
        assert times == sorted(times)
        for pod in gone:
            assert pod["status"]["phase"] == "Failed"
            assert pod["status"]["message"].startswith(
                "The node was low on resource: memory. Threshold quantity: ")
            target = condition(pod, "DisruptionTarget")
            assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
            assert target["message"] == pod["status"]["message"]
            assert "terminated" in pod["status"]["containerStatuses"][0]["state"]
            space.wait_event(pod["metadata"]["name"], "Evicted", "low on resource: memory")
        assert "Container main was using" in gone[0]["status"]["message"]
        assert "request is 1Mi, has larger consumption of memory" in gone[0]["status"]["message"]
        assert "Container main" not in gone[2]["status"]["message"]

        node = space.kube.wait("Node", NODE_NAME, lambda n: any(
            t["key"] == "node.kubernetes.io/memory-pressure" for t in n["spec"].get("taints", [])))
        pressure = condition(node, "MemoryPressure")
        assert (pressure["status"], pressure["reason"]) == ("True", "KubeletHasInsufficientMemory")
        late = bound_body("late", hello, container={"resources": {}})
        space.create_body(late)
        pod = space.wait("late", evicted)
        assert pod["status"]["message"] == \
            "Pod was rejected: The node had condition: [MemoryPressure]. "
        assert not pod["status"].get("containerStatuses")

        reconfigure()
        space.kube.wait("Node", NODE_NAME, lambda n: condition(n, "MemoryPressure").get(
            "status") == "False" and not any("pressure" in t["key"] for t in n["spec"]["taints"]))
        space.pod("after")
        space.ready("after")
    finally:
        space.kube.call("DELETE", f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}")


# Of the small disk: below so much the node is short.
LEAST = 8 << 20
DISK = "/var/lib/small-disk"


class Disk:
    """A file system of the node's own, as its state directory."""

    def __init__(self, cluster):
        self.run = lambda *argv: cluster.run(list(argv), NODE).stdout
        self.run("mkdir", "-p", DISK)
        self.run("mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", DISK)

    def available(self):
        return int(self.run("stat", "-f", "-c", "%a", DISK)) * 4096

    def leave(self, amount):
        """Fills the disk so far."""
        size = self.available() + self.filled() - amount
        self.run("fallocate", "-l", str(size), f"{DISK}/filler")

    def filled(self):
        return int(self.run("sh", "-c", f"stat -c %s {DISK}/filler 2>/dev/null || echo 0"))

    def empty(self):
        self.run("rm", "-f", f"{DISK}/filler")

    def close(self):
        self.run("umount", DISK)
        self.run("rmdir", DISK)


@pytest.fixture
def disk(cluster):
    disk = Disk(cluster)
    yield disk
    disk.close()


def held_images(space):
    node = space.kube.get("Node", NODE_NAME)
    return " ".join(name for i in node["status"].get("images", []) for name in i["names"])


def disk_pressure(value):
    return lambda n: condition(n, "DiskPressure").get("status") == value


def test_disk_pressure_takes_images_first_and_then_pods(disk, space, reconfigure):
    """Numbers of a real file system that holds the node's state and images."""
    kube, big, hello = space.kube, space.guests["linux"], space.guests["hello"]
    # But for the images: those of a whole run are larger than this disk.
    disk.run("sh", "-c", "tar -C /var/lib/unikubelet --exclude=./images -c . | "
             f"tar -C {DISK} -x")
    reconfigure(stateDir=DISK, evictionHard=[f"imagefs.available<{LEAST}"],
                evictionPressureTransitionSeconds=1, imageGCHighThresholdPercent=100)
    space.pod("keeper")
    space.ready("keeper")
    before = disk.available()
    space.pod("once", image=big, restartPolicy="Never", terminationGracePeriodSeconds=0,
              container={"resources": {"limits": {"memory": "256Mi"}}})
    space.wait("once", lambda p: "running" in p["status"].get(
        "containerStatuses", [{"state": {}}])[0]["state"])
    size = before - disk.available()
    assert size > 4 << 20, "the image is too small to tell anything"
    space.delete_pod("once", 0)
    space.gone("once")
    name = big.rsplit("/", 1)[1].split(":")[0]
    kube.wait("Node", NODE_NAME, lambda n: f"/{name}" in held_images(space))

    disk.leave(LEAST - size // 4)
    kube.wait("Node", NODE_NAME, disk_pressure("True"))
    kube.wait("Node", NODE_NAME, disk_pressure("False"))
    assert disk.available() > LEAST
    kube.wait("Node", NODE_NAME, lambda n: f"/{name}" not in held_images(space))
    keeper = space.get("keeper")
    assert not evicted(keeper) and "hello from" in space.http(keeper)
    assert os.path.basename(hello).split(":")[0] in held_images(space)

    # Nothing is left to take but the Pod.
    disk.leave(LEAST - (1 << 20))
    pod = space.wait("keeper", evicted)
    assert pod["status"]["message"].startswith(
        "The node was low on resource: ephemeral-storage. Threshold quantity: 8Mi, available: ")
    assert condition(pod, "DisruptionTarget")["reason"] == "TerminationByKubelet"
    node = kube.wait("Node", NODE_NAME, lambda n: any(
        t["key"] == "node.kubernetes.io/disk-pressure" for t in n["spec"].get("taints", [])))
    assert condition(node, "DiskPressure")["reason"] == "KubeletHasDiskPressure"
    space.create_body(bound_body("late", hello))
    assert space.wait("late", evicted)["status"]["message"] == \
        "Pod was rejected: The node had condition: [DiskPressure]. "

    disk.empty()
    kube.wait("Node", NODE_NAME, lambda n: disk_pressure("False")(n) and not any(
        "pressure" in t["key"] for t in n["spec"].get("taints", [])))
    space.pod("after")
    space.ready("after")
    for name in ("keeper", "late", "after"):
        space.delete_pod(name)
        space.gone(name)


def test_no_more_pods_than_the_node_takes(space, reconfigure):
    reconfigure(maxPods=1)
    space.create_body(bound_body("first", space.guests["hello"]))
    space.ready("first")
    space.create_body(bound_body("second", space.guests["hello"]))
    pod = space.wait("second", lambda p: p["status"].get("phase") == "Failed")
    assert pod["status"]["reason"] == "OutOfpods"
    assert pod["status"]["message"] == "Pod was rejected: Node didn't have enough resource: " \
        "pods, requested: 1, used: 1, capacity: 1"
    space.wait_event("second", "OutOfpods")
    assert "hello from" in space.http(space.get("first"))
