"""What the controllers make of our Pods: Jobs by their exit codes, DaemonSets, StatefulSets, and
rolling updates."""
from harness import NODE_NAME, pod_ready
from pods import TOLERATION, deployment_body, pod_body


def job_body(space, name, args, container=None, pod=None, **spec):
    template = pod_body(name, space.guests["hello"], container={"args": args, **(container or {})},
                        restartPolicy="Never", **(pod or {}))
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"metadata": template["metadata"],
                                                     "spec": template["spec"]}, **spec}}


def job_condition(space, name, kind, seconds=60):
    def has(job):
        return any(c["type"] == kind and c["status"] == "True"
                   for c in job.get("status", {}).get("conditions", []))
    job = space.kube.wait("Job", name, has, space.ns, seconds)
    return job, next(c for c in job["status"]["conditions"] if c["type"] == kind)


def test_jobs_end_by_what_main_returns(space):
    space.create_body(job_body(space, "good", ["--exit=0"]))
    space.create_body(job_body(space, "bad", ["--exit=1"]))
    space.create_body(job_body(space, "crash", ["--crash"]))
    space.create_body(job_body(space, "policy", ["--exit=42"], backoffLimit=6, podFailurePolicy={
        "rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]}))
    space.create_body(job_body(space, "ignored", ["--exit=3"], backoffLimit=0, podFailurePolicy={
        "rules": [{"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [3]}}]}))
    space.create_body(job_body(space, "late", ["--hang"], activeDeadlineSeconds=2))
    job, _ = job_condition(space, "good", "Complete")
    assert job["status"]["succeeded"] == 1
    for name, reason in (("bad", "BackoffLimitExceeded"), ("crash", "BackoffLimitExceeded"),
                         ("policy", "PodFailurePolicy"), ("ignored", "BackoffLimitExceeded"),
                         ("late", "DeadlineExceeded")):
        _, why = job_condition(space, name, "Failed")
        assert why["reason"] == reason, f"{name}: {why}"
        if name == "policy":
            assert "exit code 42" in why["message"]


def test_job_tries_again_up_to_its_limit(space):
    space.create_body(job_body(space, "twice", ["--exit=1"], backoffLimit=1))
    job, why = job_condition(space, "twice", "Failed", seconds=90)
    assert why["reason"] == "BackoffLimitExceeded" and job["status"]["failed"] == 2


def test_daemon_set_runs_here(space):
    template = pod_body("d", space.guests["hello"], tolerations=[TOLERATION])
    space.create_body({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"},
                       "spec": {"selector": {"matchLabels": {"app": "d"}},
                                "template": {"metadata": template["metadata"],
                                             "spec": template["spec"]}}})
    pod, = space.wait_pods(1, "app=d")
    assert pod["spec"]["nodeName"] == NODE_NAME
    space.kubectl("rollout", "status", "daemonset/d", "--timeout=30s")


def test_stateful_set_in_order_and_updated(space):
    template = pod_body("s", space.guests["hello"])
    space.create_body({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"},
                       "spec": {"serviceName": "s", "replicas": 2,
                                "selector": {"matchLabels": {"app": "s"}},
                                "template": {"metadata": template["metadata"],
                                             "spec": template["spec"]}}})
    before = {p["metadata"]["name"]: p for p in space.wait_pods(2, "app=s")}
    assert set(before) == {"s-0", "s-1"}
    started = [before[name]["status"]["startTime"] for name in ("s-0", "s-1")]
    assert started[0] <= started[1]
    space.kubectl("set", "image", "statefulset/s", f"main={space.guests['hello:v2']}")
    space.kubectl("rollout", "status", "statefulset/s", "--timeout=60s", seconds=70)
    after = {p["metadata"]["name"]: p for p in space.wait_pods(2, "app=s")}
    for name, pod in after.items():
        assert pod["metadata"]["uid"] != before[name]["metadata"]["uid"]
        assert pod["spec"]["containers"][0]["image"] == space.guests["hello:v2"]
        assert "hello from" in space.http(pod)


def test_rolling_update_of_a_deployment(space):
    space.create_body(deployment_body("roll", 3, pod_body("x", space.guests["hello"])))
    old = {p["metadata"]["uid"] for p in space.wait_pods(3, "app=roll")}
    space.kubectl("set", "image", "deployment/roll", f"main={space.guests['hello:v2']}")
    space.kubectl("rollout", "status", "deployment/roll", "--timeout=60s", seconds=70)
    new = space.wait_pods(3, "app=roll", good=lambda p: pod_ready(p)
                          and p["metadata"]["uid"] not in old)
    assert all(p["spec"]["containers"][0]["image"] == space.guests["hello:v2"] for p in new)
    space.kubectl("rollout", "undo", "deployment/roll")
    space.kubectl("rollout", "status", "deployment/roll", "--timeout=60s", seconds=70)
