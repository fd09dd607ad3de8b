"""Where images come from: a registry, one that wants tokens, a directory on the node."""
import shutil
import urllib.parse
import urllib.parse

import pytest

from harness import TOKEN_REGISTRY, container_state


def test_image_through_the_bearer_token_flow(space):
    space.cluster.push(f"{space.guests['layout:hello']}:v1", "public/hello:v1")
    space.pod("public", f"{TOKEN_REGISTRY}/public/hello:v1")
    assert "hello from" in space.http(space.ready("public"))
    with open(space.cluster.spaces.path("registry", "tokens.log"), encoding="utf-8") as log:
        assert "repository:public/hello:pull" in urllib.parse.unquote(log.read())


def test_image_that_the_registry_keeps_private(space):
    space.pod("private", f"{TOKEN_REGISTRY}/hello:v1")
    space.wait("private", lambda p: container_state(p, "waiting").get("reason") in (
        "ErrImagePull", "ImagePullBackOff"))
    message = space.wait_event("private", "Failed", "Failed to pull image")
    words = ("denied", "unauthorized", "401", "403")
    assert any(word in message.lower() for word in words), message


def test_image_from_a_layout_on_the_node(space):
    """For hosts without a network: the registry in the name does not even exist."""
    layout = space.cluster.spaces.path("layouts", "offline")
    shutil.copytree(space.guests["layout:hello"], layout, dirs_exist_ok=True)
    space.pod("offline", "registry.invalid/offline:v2")
    answer = space.http(space.ready("offline"))
    assert "env: IMAGE=hello-v2" in answer


@pytest.mark.parametrize("tag,code", [("exit0", 0), ("exit3", 3)])
def test_arguments_of_the_image_itself(space, tag, code):
    space.pod("once", space.guests[f"hello:{tag}"], restartPolicy="Never")
    pod = space.wait("once", lambda p: container_state(p, "terminated"))
    assert container_state(pod, "terminated")["exitCode"] == code


def test_second_pod_of_an_image_does_not_pull_again(space):
    space.pod("one")
    space.ready("one")
    space.pod("two")
    space.ready("two")
    assert "already present" in space.wait_event("two", "Pulled")
