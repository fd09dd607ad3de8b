"""Static Pods: run from files, shown as mirrors, gone with their files; a crash loses nothing."""
import json
import os
import re
import subprocess

import pytest

from harness import NODE_NAME, Agent
from pods import MEMORY, pod_ready, running

MIRROR = "kubernetes.io/config.mirror"


def manifest(name, image, ns, **container):
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": ns, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 5,
                     "containers": [{"name": "main", "image": image, "resources": MEMORY,
                                     "imagePullPolicy": "IfNotPresent", **container}]}}


class Manifests:
    """A directory of them, written as an editor does: beside, then renamed."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path, exist_ok=True)

    def write(self, name, text):
        if not isinstance(text, str):
            text = json.dumps(text, indent=1)
        hidden = os.path.join(self.path, f".{name}.new")
        with open(hidden, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(hidden, os.path.join(self.path, name))

    def remove(self, name):
        os.unlink(os.path.join(self.path, name))


@pytest.fixture
def manifests(agent, cluster):
    before = dict(agent.config)
    directory = Manifests(cluster.spaces.path("manifests"))
    assert agent.stop() == 0
    agent.config = {**before, "staticPodPath": directory.path}
    agent.start()
    yield directory
    for name in os.listdir(directory.path):
        directory.remove(name)
    if not agent.running():
        agent.start()
    cluster.kube.wait_all("Pod", None, lambda pods: not any(
        MIRROR in p["metadata"].get("annotations", {}) for p in pods), seconds=60)
    assert agent.stop() == 0
    agent.config = before
    agent.start()


def wait_log(path, pattern, seconds=30):
    """The first line of a growing log, from its beginning, that the pattern is in."""
    with subprocess.Popen(["timeout", str(seconds), "tail", "-n", "+1", "-F", path],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        try:
            for line in tail.stdout:
                if re.search(pattern, line):
                    return line
        finally:
            tail.kill()
    raise AssertionError(f"no line with {pattern} in {path}")


YAML = """\
apiVersion: v1
kind: Pod
metadata:
  name: yaml
  namespace: {ns}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: main
    image: {image}
    imagePullPolicy: IfNotPresent
    args: ["--hello"]
    resources:
      limits: {{memory: 32Mi}}
      requests: {{cpu: 0.01, memory: 32Mi}}
"""


def test_static_pods_live_by_their_files(space, agent, manifests):
    hello = space.guests["hello"]
    manifests.write("a.json", manifest("web", hello, space.ns))
    manifests.write("b.yaml", YAML.format(ns=space.ns, image=hello))
    web = space.wait(f"web-{NODE_NAME}", pod_ready)
    space.wait(f"yaml-{NODE_NAME}", pod_ready)
    notes = web["metadata"]["annotations"]
    assert notes[MIRROR] == notes["kubernetes.io/config.hash"]
    assert notes["kubernetes.io/config.source"] == "file" and notes["kubernetes.io/config.seen"]
    owner = web["metadata"]["ownerReferences"][0]
    node = space.kube.get("Node", NODE_NAME)
    assert (owner["kind"], owner["uid"], owner["controller"]) == (
        "Node", node["metadata"]["uid"], True)
    assert "hello from" in space.http(web)
    assert space.logs(f"web-{NODE_NAME}")

    # Deleting the mirror ends nothing: it is made again.
    space.kubectl("delete", "pod", f"web-{NODE_NAME}", "--wait=false")
    again = space.wait(f"web-{NODE_NAME}", lambda p: pod_ready(p)
                       and p["metadata"]["uid"] != web["metadata"]["uid"])
    assert again["status"]["containerStatuses"] == web["status"]["containerStatuses"]

    # A crash of the agent: the guest goes on, the mirror stays.
    agent.kill9()
    agent.start()
    manifests.write("c.json", manifest("later", hello, space.ns))
    space.wait(f"later-{NODE_NAME}", pod_ready)
    after = space.get(f"web-{NODE_NAME}")
    assert after["metadata"]["uid"] == again["metadata"]["uid"]
    assert after["status"]["containerStatuses"] == web["status"]["containerStatuses"]

    # A file that is wrong says where, and leaves its Pod alone; a good one replaces it.
    wrong = manifest("web", hello, space.ns, imagePullPolicyy="Never")
    manifests.write("a.json", wrong)
    wait_log(agent.log_path, r"a\.json:\d+: spec\.containers\[0\]\.imagePullPolicyy: unknown")
    assert running(space.get(f"web-{NODE_NAME}"))
    manifests.write("a.json", manifest("web", hello, space.ns, args=["--changed"]))
    changed = space.wait(f"web-{NODE_NAME}", lambda p: pod_ready(p)
                         and p["metadata"]["annotations"][MIRROR] != notes[MIRROR])
    assert changed["spec"]["containers"][0]["args"] == ["--changed"]

    # Gone while nobody looked.
    agent.kill9()
    manifests.remove("c.json")
    agent.start()
    space.gone(f"later-{NODE_NAME}")
    manifests.remove("b.yaml")
    space.gone(f"yaml-{NODE_NAME}")


def test_standalone(space, cluster, agent, node):
    """No API server: Pods from files, status in the log, over a crash of the agent."""
    assert agent.stop() == 0
    directory = Manifests(cluster.spaces.path("alone"))
    alone = Agent(cluster, name="alone")
    alone.config.pop("bootstrapKubeconfig")
    alone.config.update(standalone=directory.path)
    open(alone.log_path, "w", encoding="utf-8").close()
    directory.write("web.json", manifest("web", space.guests["hello"], "default"))
    directory.write("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: 12\n")
    try:
        alone.start(ready=False)
        line = wait_log(alone.log_path, r"default/web-alone .*Running, running, restarts 0, ")
        address = re.search(r"restarts 0, ([0-9.]+)", line).group(1)
        wait_log(alone.log_path, r"bad\.yaml:4: metadata\.name: must be text")
        assert "hello from" in cluster.http(f"http://{address}:8080/", "--retry", "20",
                                            "--retry-all-errors", seconds=30)
        machines = set(node.vmms())
        alone.kill9()
        assert machines <= set(node.vmms())
        open(alone.log_path, "w", encoding="utf-8").close()
        alone.start(ready=False)
        wait_log(alone.log_path, r"default/web-alone .*Running, running, restarts 0, ")
        assert machines <= set(node.vmms())
        directory.remove("web.json")
        wait_log(alone.log_path, r"its Pod default/web-alone is ended")
        node.check()
    finally:
        for name in os.listdir(directory.path):
            directory.remove(name)
        if alone.running():
            node.check()
            assert alone.stop() == 0
        agent.start()
