"""The main job: a Pod becomes a machine, and kubectl sees what it expects of a Pod."""
import json
import re

from harness import NODE_NAME, container_state
from kube import collection
from pods import bound_body, deployment_body, pod_body, restarts


def condition(node, kind):
    return next(c for c in node["status"]["conditions"] if c["type"] == kind)


def test_node_is_registered_as_a_kubelet_does(cluster, agent):
    del agent
    node = cluster.kube.get("Node", NODE_NAME)
    labels = node["metadata"]["labels"]
    assert labels["type"] == "virtual-kubelet"
    assert labels["unikubelet.dev/runtime"] == "true"
    assert labels["kubernetes.io/os"] == "linux"
    assert labels["kubernetes.io/hostname"] == NODE_NAME
    assert {"key": "virtual-kubelet.io/provider", "value": "unikubelet",
            "effect": "NoSchedule"} in node["spec"]["taints"]
    status = node["status"]
    assert {"type": "InternalIP", "address": "10.89.0.2"} in status["addresses"]
    assert status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250
    for resource in ("cpu", "memory", "pods"):
        assert resource in status["capacity"] and resource in status["allocatable"]
    assert status["nodeInfo"]["containerRuntimeVersion"].startswith("unikernel://")
    assert re.match(r"v\d+\.\d+\.\d+", status["nodeInfo"]["kubeletVersion"])
    assert condition(node, "Ready")["reason"] == "KubeletReady"
    for pressure in ("MemoryPressure", "DiskPressure", "PIDPressure"):
        assert condition(node, pressure)["status"] == "False"
    wide = cluster.kubectl("get", "nodes", "-o", "wide")
    assert re.search(rf"{NODE_NAME}\s+Ready", wide)


def test_lease_is_held_by_the_node(cluster, agent):
    del agent
    node = cluster.kube.get("Node", NODE_NAME)
    lease = cluster.kube.get("Lease", NODE_NAME, "kube-node-lease")
    assert lease["spec"]["holderIdentity"] == NODE_NAME
    assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
    first = lease["spec"]["renewTime"]
    cluster.kube.wait("Lease", NODE_NAME, lambda o: o["spec"]["renewTime"] != first,
                      "kube-node-lease", seconds=20)


def test_pod_is_scheduled_through_the_runtime_class(space):
    space.pod("web", container={"args": ["--print=up-and-running"], "env": [
        {"name": "GREETING", "value": "good morning"},
        {"name": "MY_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]})
    pod = space.ready("web")
    assert pod["spec"]["nodeName"] == NODE_NAME
    assert pod["spec"]["overhead"]["memory"] == "32Mi"
    status = pod["status"]
    assert status["phase"] == "Running" and status["hostIP"] == "10.89.0.2"
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    state = status["containerStatuses"][0]
    assert state["containerID"].startswith("unikernel://") and state["restartCount"] == 0
    assert "@sha256:" in state["imageID"]
    answer = space.http(pod)
    assert "hello from" in answer
    assert "arg: --print=up-and-running" in answer
    assert "env: GREETING=good morning" in answer
    assert f"env: MY_IP={status['podIP']}" in answer
    for reason in ("Pulled", "Created", "Started"):
        space.wait_event("web", reason)


def test_pod_is_bound_by_node_name(space):
    body = bound_body("bound", space.guests["hello"])
    del body["spec"]["runtimeClassName"]
    space.create_body(body)
    pod = space.ready("bound")
    assert any(c["type"] == "PodScheduled" and c["status"] == "True"
               for c in pod["status"]["conditions"])
    assert "hello from" in space.http(pod)


def test_linux_guest_runs_too(space):
    memory = {"memory": "128Mi"}
    space.pod("linux", space.guests["linux"],
              container={"resources": {"limits": memory, "requests": memory},
                         "env": [{"name": "COLOUR", "value": "blue"}]})
    pod = space.ready("linux")
    assert "hello from linux" in space.http(pod, seconds=60)


def test_exit_code_becomes_phase_and_state(space):
    for name, code in (("good", 0), ("bad", 7)):
        space.pod(name, restartPolicy="Never", container={"args": [f"--exit={code}"]})
    done = space.wait("good", lambda p: p["status"].get("phase") == "Succeeded")
    state = container_state(done, "terminated")
    assert state["exitCode"] == 0 and state["reason"] == "Completed"
    failed = space.wait("bad", lambda p: p["status"].get("phase") == "Failed")
    state = container_state(failed, "terminated")
    assert state["exitCode"] == 7 and state["reason"] == "Error"
    assert state["startedAt"] and state["finishedAt"] and state["containerID"]
    assert "main returned 7" in space.logs("bad")


def test_restart_policy_on_failure_restarts(space):
    space.pod("again", restartPolicy="OnFailure", container={"args": ["--exit=2", "--after=200"]})
    pod = space.wait("again", lambda p: restarts(p) >= 1)
    last = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 2
    assert pod["status"]["phase"] == "Running"
    assert "main returned 2" in space.logs("again", "--previous")


def test_logs(space):
    space.pod("talk", container={"args": ["--lines=20", "--print=the-end"]})
    pod = space.ready("talk")
    space.wait_log("talk", "address ")
    text = space.logs("talk")
    assert "line 1 of 20\n" in text and "line 20 of 20\n" in text and "the-end\n" in text
    assert len(space.logs("talk", "--tail=3").splitlines()) == 3
    assert space.logs("talk", "--tail=0") == ""
    for line in space.logs("talk", "--timestamps", "--tail=2").splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", line)
    assert len(space.logs("talk", "--limit-bytes=10")) == 10
    refused = space.cluster.run(["kubectl", "-n", space.ns, "logs", "talk", "--previous"],
                                check=False)
    assert refused.returncode != 0 and "previous terminated container" in refused.stderr
    assert space.http(pod, "/print?text=said-later") == "printed\n"
    assert space.wait_log("talk", "said-later") == "said-later"


def test_logs_follow_until_the_guest_ends(space):
    space.pod("story", restartPolicy="Never")
    pod = space.ready("story")
    space.wait_log("story", "address ")
    follow = space.cluster.popen(["kubectl", "-n", space.ns, "logs", "-f", "story"],
                                 stdout=-1, text=True)
    assert "booted" in follow.stdout.readline()
    space.http(pod, "/print?text=one")
    space.tell(pod, "/exit?code=4")
    rest, _ = follow.communicate(timeout=30)
    assert "one\n" in rest and rest.rstrip().endswith("main returned 4")
    assert follow.returncode == 0


def test_exec_is_refused_with_a_sentence(space):
    space.pod("closed")
    space.ready("closed")
    done = space.cluster.run(["kubectl", "-n", space.ns, "exec", "closed", "--", "ls"], check=False)
    assert done.returncode != 0
    assert "unikernel" in done.stderr and "process" in done.stderr


def test_deployment_scales_up_and_down(space):
    template = pod_body("x", space.guests["hello"])
    space.create_body(deployment_body("web", 3, template))
    addresses = {p["status"]["podIP"] for p in space.wait_pods(3, "app=web")}
    assert len(addresses) == 3
    space.kubectl("scale", "deployment/web", "--replicas=5")
    pods = space.wait_pods(5, "app=web")
    assert len({p["status"]["podIP"] for p in pods}) == 5
    for pod in pods:
        assert "hello from" in space.http(pod)
    space.kubectl("scale", "deployment/web", "--replicas=1")
    space.wait_pods(1, "app=web")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=30s")


def test_service_reaches_the_guests(space):
    space.create_body(deployment_body("svc", 2, pod_body("x", space.guests["hello"])))
    for pod in space.wait_pods(2, "app=svc"):
        space.http(pod)
    service = space.create_body({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc"},
        "spec": {"selector": {"app": "svc"}, "ports": [{"port": 80, "targetPort": 8080}]}})
    url = f"http://{service['spec']['clusterIP']}/"
    assert "hello from" in space.cluster.http(url, "--retry", "20", "--retry-all-errors",
                                              "--retry-max-time", "20", seconds=20)


def test_host_port_reaches_the_guest(space):
    space.pod("port", container={"ports": [{"containerPort": 8080, "hostPort": 18080}]})
    pod = space.ready("port")
    space.http(pod)
    assert "hello from" in space.cluster.http("http://10.89.0.2:18080/", where="control")


def test_server_wants_credentials(cluster, agent):
    del agent
    url = "https://10.89.0.2:10250"
    head = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"]
    assert cluster.run(head + [f"{url}/pods"]).stdout == "401"
    token = cluster.kubectl("create", "token", "default").strip()
    assert cluster.run(head + ["-H", f"Authorization: Bearer {token}",
                               f"{url}/pods"]).stdout == "403"
    assert cluster.run(head + ["-H", "Authorization: Bearer nonsense",
                               f"{url}/pods"]).stdout == "401"
    assert cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE_NAME}/proxy/healthz") == "ok"


def test_status_is_posted_sparingly(space):
    """From binding to Ready: a kubelet posts three or four times, the tests allow two."""
    space.pod("quiet")
    pod = space.ready("quiet")
    created = pod["metadata"]["creationTimestamp"].rstrip("Z")
    path = f"{collection('Pod', space.ns)}/quiet/status"
    patches = []
    with open(space.cluster.spaces.path("audit.log"), encoding="utf-8") as log:
        for entry in (json.loads(line) for line in log if path in line):
            if entry["verb"] == "patch" and entry["requestReceivedTimestamp"] >= created \
                    and entry["user"]["username"].startswith("system:node:"):
                patches.append(entry["requestReceivedTimestamp"])
    assert 1 <= len(patches) <= 2, patches
