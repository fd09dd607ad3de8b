"""Bad input: every wrong thing ends as an event and a waiting reason that say what to do, and other
Pods never notice.
"""
import os

import pytest

from harness import REGISTRY_ADDRESS, container_state, waits_for
from images import Layout, kernel_layout, plain_layout
from pods import bound_body, pod_body, restarts

PULL_WAITS = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")


def waits_for_pull(pod):
    return container_state(pod, "waiting").get("reason") in PULL_WAITS


@pytest.fixture
def neighbour(space):
    """A Pod that must go on untouched beside the wrong one."""
    space.pod("neighbour")
    before = space.ready("neighbour")
    space.http(before)
    yield before
    after = space.get("neighbour")
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    assert "hello from" in space.http(after)


def test_image_that_does_not_exist(space, neighbour):
    del neighbour
    image = f"{REGISTRY_ADDRESS}/no-such-image:v1"
    space.pod("wrong", image)
    space.wait("wrong", waits_for_pull)
    message = space.wait_event("wrong", "Failed", "no-such-image")
    assert f'Failed to pull image "{image}"' in message
    space.wait("wrong", waits_for("ImagePullBackOff"))
    space.wait_event("wrong", "BackOff", "Back-off pulling image")
    # What a user does next: correct the name. The Pod needs no deletion.
    space.kube.patch("Pod", "wrong", {"spec": {"containers": [
        {**space.get("wrong")["spec"]["containers"][0], "image": space.guests["hello"]}]}},
        space.ns)
    assert "hello from" in space.http(space.ready("wrong"))


def test_image_name_that_is_none(space):
    space.pod("unnamed", "Not A Name")
    pod = space.wait("unnamed", waits_for("InvalidImageName"))
    assert container_state(pod, "waiting")["message"]


def test_image_that_must_be_there_already(space):
    space.pod("never", f"{REGISTRY_ADDRESS}/hello:never-pulled",
              container={"imagePullPolicy": "Never"})
    space.wait("never", waits_for("ErrImageNeverPull"))


def test_registry_that_is_not_there(space, neighbour):
    del neighbour
    space.pod("nowhere", "10.89.0.2:5999/hello:v1")
    space.wait("nowhere", waits_for_pull)
    space.wait_event("nowhere", "Failed", "10.89.0.2:5999")


def test_corrupt_blob_is_never_run(space, neighbour, tmp_path):
    del neighbour
    digest = kernel_layout(tmp_path, b"\x7fELF" + os.urandom(4000))[0]
    image = space.cluster.push(tmp_path, f"corrupt:{space.ns[-6:]}")
    with open(space.cluster.blob_path(digest), "r+b") as blob:
        blob.seek(700)
        byte = blob.read(1)
        blob.seek(700)
        blob.write(bytes([byte[0] ^ 1]))
    space.pod("corrupt", image)
    space.wait("corrupt", waits_for_pull)
    message = space.wait_event("corrupt", "Failed", "Failed to pull image")
    assert "digest" in message, message


def test_image_without_a_kernel(space, neighbour, tmp_path):
    del neighbour
    plain_layout(tmp_path)
    space.pod("container", space.cluster.push(tmp_path, "plain:v1"))
    pod = space.wait("container", lambda p: container_state(p, "waiting").get("message"))
    waiting = container_state(pod, "waiting")
    assert "kernel" in waiting["message"], waiting
    assert "kernel" in space.wait_event("container", "Failed", "kernel")


def test_image_for_another_machine(space, tmp_path):
    name = "/unikraft/bin/kernel"
    Layout(tmp_path).write([({name: b"\x7fELF"}, {"org.unikraft.kernel.image": name})],
                           platform=("arm64", "qemu"))
    space.pod("foreign", space.cluster.push(tmp_path, "foreign:v1"))
    pod = space.wait("foreign", lambda p: container_state(p, "waiting").get("message"))
    assert "x86_64" in container_state(pod, "waiting")["message"]


def test_kernel_that_is_no_kernel(space, neighbour, tmp_path):
    del neighbour
    kernel_layout(tmp_path, b"this is not a kernel " * 500)
    space.pod("text", space.cluster.push(tmp_path, "text:v1"))
    space.wait("text", lambda p: container_state(p, "waiting").get("reason") in (
        "CrashLoopBackOff", "CreateContainerError", "RunContainerError"))
    space.wait_event("text", "Failed" if not restarts(space.get("text")) else "BackOff")


def test_guest_that_crashes_at_boot(space, neighbour):
    del neighbour
    space.pod("crash", container={"args": ["--crash"]})
    pod = space.wait("crash", waits_for("CrashLoopBackOff"))
    assert pod["status"]["phase"] == "Running"
    last = pod["status"]["containerStatuses"][0]["lastState"].get("terminated") \
        or container_state(pod, "terminated")
    assert last["exitCode"] != 0 and "crash" in last["message"]
    assert "CRIT: crashed: asked to" in space.logs("crash", "--previous" if restarts(pod) else
                                                   "--tail=-1")
    space.wait_event("crash", "BackOff", "Back-off restarting failed container")
    assert restarts(space.wait("crash", lambda p: restarts(p) >= 2)) >= 2


UNSUPPORTED = {
    "second-container": ({"containers": [{"name": "a", "image": "x:1"},
                                         {"name": "b", "image": "y:1"}]}, "containers"),
    "sidecar": ({"initContainers": [{"name": "i", "image": "x:1", "restartPolicy": "Always"}]},
                "initContainers"),
    "host-network": ({"hostNetwork": True}, "hostNetwork"),
    "image-volume": ({"volumes": [{"name": "v", "image": {"reference": "x:1"}}]}, "volumes"),
    "probe": ({"container": {"readinessProbe": {"exec": {"command": ["true"]}}}}, "readinessProbe"),
    "privileged": ({"container": {"securityContext": {"privileged": True}}}, "privileged"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_unsupported_field_is_refused_by_its_name(space, case):
    spec, field = UNSUPPORTED[case]
    body = bound_body("refused", space.guests["hello"], **spec)
    body["spec"].pop("runtimeClassName")
    space.create_body(body)
    pod = space.wait("refused", lambda p: field in (
        container_state(p, "waiting").get("message") or p["status"].get("message") or ""))
    assert "spec." in (container_state(pod, "waiting").get("message")
                       or pod["status"].get("message"))
    space.wait_event("refused", None, field)
    assert all(e["type"] == "Warning" for e in space.events("refused") if field in e["message"])


def test_class_of_another_runtime_is_refused(space):
    space.kube.call("POST", "/apis/node.k8s.io/v1/runtimeclasses", {
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
        "metadata": {"name": space.ns[:60]}, "handler": "runc"})
    try:
        body = bound_body("other", space.guests["hello"])
        body["spec"]["runtimeClassName"] = space.ns[:60]
        space.create_body(body)
        space.wait("other", lambda p: "runtimeClassName" in (
            container_state(p, "waiting").get("message") or p["status"].get("message") or ""))
    finally:
        space.kube.call("DELETE", f"/apis/node.k8s.io/v1/runtimeclasses/{space.ns[:60]}")


def test_too_many_words_for_the_guest(space):
    """A limit that is broken is an event before launch, never a guest without its address."""
    space.create_body(pod_body("long", space.guests["hello"],
                               container={"args": [f"--w{i}" for i in range(80)]}))
    pod = space.wait("long", lambda p: container_state(p, "waiting").get("message"))
    assert "60" in container_state(pod, "waiting")["message"]
    space.wait_event("long", "Failed", "Error: ")
