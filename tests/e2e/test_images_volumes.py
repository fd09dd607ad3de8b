"""Volumes: files in a guest's initrd, shares that are updated while it runs, and what cannot be."""
import pytest

from harness import waits_for
from pods import deployment_body, pod_body, restarts, running
from test_images_volumes_env import config_map, from_secret, secret

SHARED = {"unikubelet.dev/shared-files": "9p"}
BIG = {"limits": {"memory": "256Mi"}, "requests": {"memory": "256Mi", "cpu": "10m"}}


def mount(name, path, **more):
    return {"name": name, "mountPath": path, **more}


def file(space, pod, path):
    return space.http(pod, f"/files/{path}")


def waiting_message(pod):
    state = pod["status"]["containerStatuses"][0]["state"]
    return state.get("waiting", {}).get("message", "")


def test_deployment_serves_a_config_map_a_secret_and_its_name(space):
    config_map(space, "page", {"index.html": "<h1>hello</h1>", "other": "x"})
    secret(space, "login", {"password": "hunter2"})
    template = pod_body("web", space.guests["hello:initrd"], labels={"app": "web"}, container={
        "env": [{"name": "PASSWORD", "valueFrom": from_secret("login", "password")},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumeMounts": [mount("page", "/etc/app"), mount("key", "/keys/k", subPath="password"),
                         mount("me", "/me"), mount("scratch", "/scratch")]},
        hostname="named", subdomain="sub", hostAliases=[{"ip": "10.1.2.3", "hostnames": ["db"]}],
        volumes=[{"name": "page", "configMap": {"name": "page", "items": [
                     {"key": "index.html", "path": "www/index.html"}]}},
                 {"name": "key", "secret": {"secretName": "login"}},
                 {"name": "scratch", "emptyDir": {}},
                 {"name": "me", "downwardAPI": {"items": [
                     {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}])
    space.create_body(deployment_body("web", 2, template))
    for pod in space.wait_pods(2, "app=web"):
        answer = space.http(pod)
        assert "env: PASSWORD=hunter2" in answer
        assert f"env: POD={pod['metadata']['name']}" in answer
        assert file(space, pod, "etc/app/www/index.html") == "<h1>hello</h1>"
        assert file(space, pod, "keys/k") == "hunter2"
        assert 'app="web"' in file(space, pod, "me/labels")
        # What was mounted over is hidden, what was not is there: one archive, merged.
        assert file(space, pod, "etc/app/default") == "no such file\n"
        assert file(space, pod, "etc/kept") == "kept\n"
        ip = pod["status"]["podIP"]
        hosts = file(space, pod, "etc/hosts")
        assert f"{ip}\tnamed.sub.{space.ns}.svc.cluster.local\tnamed\n" in hosts
        assert "10.1.2.3\tdb\n" in hosts
        mounts = pod["status"]["containerStatuses"][0].get("volumeMounts", [])
        assert {"name": "page", "mountPath": "/etc/app"} in [
            {k: m[k] for k in ("name", "mountPath")} for m in mounts]


def test_missing_volumes_are_told_and_appear(space):
    volumes = [{"name": "v", "configMap": {"name": "late"}}]
    space.pod("late", space.guests["hello:initrd"], volumes=volumes,
              container={"volumeMounts": [mount("v", "/v")]})
    space.pod("optional", space.guests["hello:initrd"],
              volumes=[{"name": "v", "configMap": {"name": "never", "optional": True}}],
              container={"volumeMounts": [mount("v", "/v")]})
    text = 'MountVolume.SetUp failed for volume "v" : configmap "late" not found'
    assert space.wait_event("late", "FailedMount") == text
    space.wait("late", waits_for("ContainerCreating"))
    space.ready("optional")
    config_map(space, "late", {"k": "now"})
    assert file(space, space.ready("late"), "v/k") == "now"


def test_what_cannot_reach_a_guest_is_refused(space):
    volume = [{"name": "h", "hostPath": {"path": "/etc"}}]
    space.pod("host", space.guests["hello:initrd"], volumes=volume,
              container={"volumeMounts": [mount("h", "/h", readOnly=True)]})
    config_map(space, "m", {"k": "v"})
    space.pod("bare", space.guests["hello"], volumes=[{"name": "v", "configMap": {"name": "m"}}],
              container={"volumeMounts": [mount("v", "/v")]})
    pod = space.wait("host", waits_for("CreateContainerConfigError"))
    assert "hostPathPrefixes" in waiting_message(pod)
    pod = space.wait("bare", waits_for("CreateContainerConfigError"))
    assert 'volume "v" cannot reach the guest: the image has no initrd' in waiting_message(pod)
    space.wait_event("bare", "Failed", "cannot reach the guest")


def shared_pod(space, name, **more):
    body = pod_body(name, space.guests["linux9p"], container={
        "resources": BIG, "volumeMounts": [
            mount("map", "/shared/map"), mount("tok", "/shared/tok"), mount("data", "/shared/data"),
            mount("host", "/shared/host", readOnly=True)]},
        volumes=[{"name": "map", "configMap": {"name": "live"}},
                 {"name": "data", "emptyDir": {}},
                 {"name": "host", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                 {"name": "tok", "projected": {"sources": [{"serviceAccountToken": {
                     "path": "token", "expirationSeconds": 600, "audience": "tests"}}]}}], **more)
    body["metadata"]["annotations"] = SHARED
    return space.create_body(body)


def cat(space, pod, path):
    return space.http(pod, f"/cgi-bin/cat?{path}")


def until(space, pod, path, good):
    """The share is read again whenever the API moved; there is no event from within the guest."""
    for _ in space.kube.watch("Lease", "kube-node-lease", seconds=90):
        text = cat(space, pod, path)
        if good(text):
            return text
    raise AssertionError(f"{path} did not change: {text}")


def test_shares_follow_their_sources(space, agent, node):
    config_map(space, "live", {"k": "old"})
    shared_pod(space, "live")
    pod = space.ready("live", seconds=120)
    space.wait_log("live", "listening on port", seconds=150)  # a whole kernel, and modules
    assert cat(space, pod, "shared/map/k") == "old"
    token = cat(space, pod, "shared/tok/token")
    assert token.count(".") == 2
    assert "done" in space.http(pod, "/cgi-bin/touch?shared/data/mine")
    space.kube.patch("ConfigMap", "live", {"data": {"k": "new"}}, space.ns)
    until(space, pod, "shared/map/k", lambda text: text == "new")
    # An agent that was killed goes on where it was: other values, and a token of its own.
    agent.kill9()
    space.kube.patch("ConfigMap", "live", {"data": {"k": "newer"}}, space.ns)
    agent.start()
    until(space, pod, "shared/map/k", lambda text: text == "newer")
    until(space, pod, "shared/tok/token", lambda text: text != token and text.count(".") == 2)
    assert token not in agent.log()
    # emptyDir survives a restart of the container.
    space.tell(pod, "/cgi-bin/exit?code=1")
    pod = space.wait("live", lambda p: restarts(p) == 1 and running(p), seconds=120)
    space.wait_log("live", "listening on port", seconds=150)
    assert cat(space, pod, "shared/data/mine") == ""
    assert len(node.vmms()) == 1


@pytest.mark.parametrize("guest", ["hello:initrd"])
def test_agent_killed_while_volumes_are_prepared(space, agent, node, guest):
    """Nothing of a Pod that went meanwhile stays."""
    config_map(space, "m", {"k": "v"})
    for i in range(3):
        space.pod(f"p{i}", space.guests[guest], volumes=[
            {"name": "v", "configMap": {"name": "m"}}, {"name": "e", "emptyDir": {}}],
            container={"volumeMounts": [mount("v", "/v"), mount("e", "/e")]})
    space.wait("p0", lambda p: p.get("status", {}).get("containerStatuses"))
    agent.kill9()
    for i in range(3):
        space.delete_pod(f"p{i}", grace=0)
    agent.start()
    for i in range(3):
        space.gone(f"p{i}")
    node.check()
