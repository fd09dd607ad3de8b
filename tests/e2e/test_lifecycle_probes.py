"""Probes and hooks of real guests: a slow starter, readiness that gates traffic and a rolling update,
liveness that restarts, and hooks."""

import pytest

from harness import container_state, pod_ready
from pods import deployment_body, pod_body, restarts


def probe(path="/", **more):
    return {"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, **more}


def status(pod):
    return (pod.get("status", {}).get("containerStatuses") or [{}])[0]


def test_slow_starter_with_a_startup_probe(space):
    """Liveness would have killed it long before; the startup probe keeps it waiting."""
    space.pod("slow", container={
        "args": ["--listen-after=4000"],
        "ports": [{"name": "web", "containerPort": 8080}],
        "startupProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1,
                         "failureThreshold": 60},
        "livenessProbe": probe(failureThreshold=1),
        "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1}})
    early = space.wait("slow", lambda p: container_state(p, "running"))
    assert status(early)["started"] is False and status(early)["ready"] is False
    pod = space.ready("slow")
    assert status(pod)["started"] is True
    assert restarts(pod) == 0
    assert "connection refused" in space.wait_event("slow", "Unhealthy", "Startup probe failed: ")


def test_readiness_follows_the_guest(space):
    space.pod("moody", container={"readinessProbe": probe("/healthz", failureThreshold=2)})
    pod = space.ready("moody")
    space.http(pod, "/health?code=503")
    space.wait("moody", lambda p: not pod_ready(p))
    space.wait_event("moody", "Unhealthy", "Readiness probe failed: HTTP probe failed with "
                                           "statuscode: 503")
    space.http(pod, "/health?code=200")
    assert restarts(space.ready("moody")) == 0


def test_liveness_restarts(space):
    space.pod("sick", container={
        "livenessProbe": probe("/healthz", failureThreshold=2, initialDelaySeconds=1)})
    pod = space.ready("sick")
    space.http(pod, "/health?code=500")
    pod = space.wait("sick", lambda p: restarts(p) == 1 and pod_ready(p))
    assert container_state(pod, "terminated", last=True)["exitCode"] != 0
    space.wait_event("sick", "Killing", "Container main failed liveness probe, will be restarted")
    space.wait_event("sick", "Unhealthy", "Liveness probe failed: HTTP probe failed with "
                                          "statuscode: 500")


def test_ready_is_kept_over_an_agent_restart(space, agent):
    """The record says so: another agent does not take it back until a probe does."""
    space.pod("kept", container={"readinessProbe": probe("/healthz", periodSeconds=60)})
    before = space.ready("kept")
    agent.kill9()
    agent.start()
    space.pod("after")
    space.ready("after")
    pod = space.get("kept")
    ready = [c for c in pod["status"]["conditions"] if c["type"] == "Ready"][0]
    was = [c for c in before["status"]["conditions"] if c["type"] == "Ready"][0]
    assert ready["status"] == "True" and \
        ready["lastTransitionTime"] == was["lastTransitionTime"]


def test_rolling_update_waits_for_readiness(space):
    """The new Pods are never ready: the old ones stay."""
    good = pod_body("web", space.guests["hello"],
                    container={"readinessProbe": probe("/healthz")})
    body = deployment_body("web", 2, good)
    body["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    space.create_body(body)
    old = {p["metadata"]["uid"] for p in space.wait_pods(2, "app=web")}
    patch = ('{"spec":{"template":{"spec":{"containers":[{"name":"main","args":["--health=503"]}]}}'
             '}}')
    space.kubectl("patch", "deployment", "web", "-p", patch)
    pods = space.wait_pods(3, "app=web", good=lambda p: container_state(p, "running"))
    new = next(p for p in pods if p["metadata"]["uid"] not in old)
    space.wait_event(new["metadata"]["name"], "Unhealthy", "Readiness probe failed")
    left = {p["metadata"]["uid"] for p in space.pods("app=web") if pod_ready(p)}
    assert left == old
    patch = ('{"spec":{"template":{"spec":{"containers":[{"name":"main","args":["--health=200"]}]}}'
             '}}')
    space.kubectl("patch", "deployment", "web", "-p", patch)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    pods = space.wait_pods(2, "app=web")
    assert not old & {p["metadata"]["uid"] for p in pods}


def test_hooks(space):
    """postStart goes before started; preStop is heard by the guest before its machine ends."""
    lifecycle = {"postStart": {"httpGet": {"path": "/print?text=post-start-ran", "port": 8080}},
                 "preStop": {"httpGet": {"path": "/print?text=pre-stop-ran", "port": 8080}}}
    space.pod("hooked", terminationGracePeriodSeconds=20, container={"lifecycle": lifecycle})
    space.ready("hooked")
    follow = space.cluster.popen(["timeout", "60", "kubectl", "-n", space.ns, "logs", "-f",
                                  "hooked"], stdout=-1, text=True)
    try:
        assert any("post-start-ran" in line for line in follow.stdout)
        space.delete_pod("hooked")
        assert any("pre-stop-ran" in line for line in follow.stdout)
    finally:
        follow.kill()
        follow.wait()
        follow.stdout.close()
    space.gone("hooked")


def test_failing_hooks(space):
    nobody = {"httpGet": {"path": "/", "port": 1}}
    space.pod("post", restartPolicy="Never", container={"lifecycle": {"postStart": nobody}})
    space.pod("pre", container={"lifecycle": {"preStop": nobody}})
    space.wait("post", lambda p: p["status"].get("phase") == "Failed")
    space.wait_event("post", "FailedPostStartHook", "PostStartHook failed")
    space.ready("pre")
    space.delete_pod("pre")
    space.wait_event("pre", "FailedPreStopHook", "PreStopHook failed")
    space.gone("pre")


@pytest.mark.parametrize("field", ["livenessProbe", "lifecycle"])
def test_exec_is_refused(space, field):
    handler = {"exec": {"command": ["true"]}}
    name = field.lower()
    space.pod(name, container={field: {"preStop": handler} if field == "lifecycle" else handler})
    message = space.wait_event(name, "Failed", "no second process")
    assert field in message


def test_metrics(space, cluster, agent):
    space.pod("counted", container={"readinessProbe": probe(), "livenessProbe": probe()})
    uid = space.ready("counted")["metadata"]["uid"]
    page = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{agent.name}/proxy/metrics/probes")
    line = next(l for l in page.splitlines() if uid in l and '"Readiness"' in l)
    assert line.startswith("prober_probe_total{") and 'result="successful"' in line
