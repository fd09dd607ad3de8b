"""Deletion: graceful, forced, while pulling, while backing off, and a name that is used again."""
import time

from harness import REGISTRY_ADDRESS, container_state, waits_for
from pods import pod_body


def test_graceful_delete_does_not_wait_for_a_guest_that_cannot_hear(space):
    space.pod("deaf", terminationGracePeriodSeconds=60)
    space.ready("deaf")
    begin = time.monotonic()
    space.kubectl("delete", "pod", "deaf", "--wait=true", "--timeout=30s")
    assert time.monotonic() - begin < 20
    space.wait_event("deaf", "Killing")
    space.wait_event("deaf", "NoGracefulStop")


def test_graceful_delete_asks_a_guest_that_can_hear(space, node):
    memory = {"memory": "128Mi"}
    space.pod("polite", space.guests["linux"], terminationGracePeriodSeconds=40,
              container={"resources": {"limits": memory, "requests": memory}})
    pod = space.ready("polite")
    space.http(pod, seconds=60)
    follow = space.cluster.popen(["kubectl", "-n", space.ns, "logs", "-f", "polite"], stdout=-1,
                                 text=True)
    assert follow.stdout.readline()  # it follows: the Pod is there until the guest has ended
    space.delete_pod("polite")
    text, _ = follow.communicate(timeout=60)
    assert "power button" in text
    space.gone("polite")
    node.check()


def test_force_delete_leaves_nothing(space, node):
    for i in range(3):
        space.pod(f"force-{i}")
    space.wait_pods(3)
    space.kubectl("delete", "pod", "--all", "--force", "--grace-period=0")
    for i in range(3):
        space.gone(f"force-{i}")
    node.check()


def test_delete_before_anything_runs(space, node):
    space.pod("early")
    space.delete_pod("early")
    space.gone("early")
    node.check()


def test_delete_while_the_image_cannot_be_pulled(space, node):
    space.pod("stuck", f"{REGISTRY_ADDRESS}/no-such-image:v2")
    space.wait("stuck", waits_for("ImagePullBackOff"))
    space.delete_pod("stuck")
    space.gone("stuck", seconds=20)
    node.check()


def test_delete_while_crash_looping(space, node):
    space.pod("loop", container={"args": ["--crash"]})
    space.wait("loop", waits_for("CrashLoopBackOff"))
    space.delete_pod("loop")
    space.gone("loop", seconds=20)
    node.check()


def test_terminal_pod_keeps_its_log_until_deleted(space, node):
    space.pod("done", restartPolicy="Never", container={"args": ["--print=kept", "--exit=0"]})
    space.wait("done", lambda p: p["status"].get("phase") == "Succeeded")
    assert "kept" in space.logs("done")
    assert not node.vmms()
    space.delete_pod("done")
    space.gone("done")
    node.check()


def test_same_name_recreated(space):
    """The new Pod is another machine; the old one's end is not reported as the new one's."""
    space.pod("twin", container={"env": [{"name": "WHO", "value": "first"}]})
    first = space.ready("twin")
    assert "env: WHO=first" in space.http(first)
    space.kubectl("delete", "pod", "twin", "--force", "--grace-period=0")
    space.gone("twin", first["metadata"]["uid"])
    space.pod("twin", container={"env": [{"name": "WHO", "value": "second"}]})
    second = space.ready("twin")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert "env: WHO=second" in space.http(second)
    assert second["status"]["containerStatuses"][0]["restartCount"] == 0
    assert not container_state(second, "terminated")


def test_same_name_recreated_many_times(space, node):
    for turn in range(5):
        body = pod_body("again", space.guests["hello"], container={
            "env": [{"name": "TURN", "value": str(turn)}]})
        space.create_body(body)
        pod = space.ready("again")
        if turn % 2:
            space.delete_pod("again", grace=0)
        else:
            space.delete_pod("again")
        space.gone("again", pod["metadata"]["uid"])
    node.check()
