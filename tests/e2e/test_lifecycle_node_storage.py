"""Local storage limits: who writes more than its limit says is evicted, in the kubelet's words."""
import os

from pods import pod_body
from test_images_volumes import BIG, SHARED, mount


def evicted(pod):
    return pod["status"].get("reason") == "Evicted"


def test_log_over_the_containers_limit(space):
    space.pod("quiet", container={"resources": {"limits": {"ephemeral-storage": "64Ki"}}})
    space.pod("loud", container={"args": ["--lines=5000"], "resources": {
        "limits": {"ephemeral-storage": "64Ki"}}})
    pod = space.wait("loud", evicted)
    assert pod["status"]["phase"] == "Failed"
    assert pod["status"]["message"] == (
        "Pod ephemeral local storage usage exceeds the total limit of containers 64Ki. ")
    condition = next(c for c in pod["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert (condition["status"], condition["reason"]) == ("True", "TerminationByKubelet")
    space.wait_event("loud", "Evicted", "exceeds the total limit of containers 64Ki")
    assert space.ready("quiet")["status"]["phase"] == "Running"


def test_empty_dir_over_its_size(space, node):
    body = pod_body("full", space.guests["linux9p"], container={
        "resources": BIG, "volumeMounts": [mount("data", "/shared/data")]},
        volumes=[{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}])
    body["metadata"]["annotations"] = SHARED
    uid = space.create_body(body)["metadata"]["uid"]
    space.wait("full", lambda p: p["status"].get("phase") == "Running")
    # As the guest would; how it does is test_images_volumes.py's.
    path = node.path("node", "var", "lib", "unikubelet", "volumes", uid, "data", "large")
    with open(path, "wb") as file:
        file.write(os.urandom(2 << 20))
    pod = space.wait("full", evicted)
    assert pod["status"]["message"] == 'Usage of EmptyDir volume "data" exceeds the limit "1Mi". '
