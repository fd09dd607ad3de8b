"""Variables from ConfigMaps, Secrets and Services: present, missing, optional, appearing later."""
import base64

from harness import waits_for
from pods import running


def config_map(space, name, data, **more):
    return space.create_body({"apiVersion": "v1", "kind": "ConfigMap",
                              "metadata": {"name": name}, "data": data, **more})


def secret(space, name, data):
    return space.create_body({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                              "data": {k: base64.b64encode(v.encode()).decode()
                                       for k, v in data.items()}})


def from_map(name, key, **more):
    return {"configMapKeyRef": {"name": name, "key": key, **more}}


def from_secret(name, key, **more):
    return {"secretKeyRef": {"name": name, "key": key, **more}}


def variables(space, pod):
    return [line.removeprefix("env: ") for line in space.http(pod).splitlines()
            if line.startswith("env: ")]


def test_values_from_everywhere(space):
    config_map(space, "map", {"a": "1", "b": "two words"}, immutable=True)
    secret(space, "secret", {"password": "hunter2", "user": "me"})
    service = space.create_body({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "my-db"},
        "spec": {"ports": [{"name": "sql", "port": 5432}]}})
    space.pod("all", container={
        "envFrom": [{"configMapRef": {"name": "map"}, "prefix": "M_"},
                    {"secretRef": {"name": "secret"}},
                    {"configMapRef": {"name": "nope", "optional": True}}],
        "env": [{"name": "B", "valueFrom": from_map("map", "b")},
                {"name": "P", "valueFrom": from_secret("secret", "password")},
                {"name": "NONE", "valueFrom": from_map("map", "zzz", optional=True)},
                {"name": "SUM", "value": "$(M_a)-$(P)-$(MY_DB_SERVICE_PORT)"}]})
    found = variables(space, space.ready("all"))
    ip = service["spec"]["clusterIP"]
    for want in ("M_a=1", "M_b=two words", "password=hunter2", "user=me", "B=two words",
                 "P=hunter2", "SUM=1-hunter2-5432", f"MY_DB_SERVICE_HOST={ip}",
                 f"MY_DB_PORT_5432_TCP=tcp://{ip}:5432", "KUBERNETES_SERVICE_PORT=443"):
        assert want in found, found
    assert not [v for v in found if v.startswith("NONE=")]


def test_missing_ones_are_told_and_start_the_pod_when_they_appear(space, agent):
    wants = {"map": ("later-map", from_map("later-map", "k"), 'configmap "later-map" not found'),
             "sec": ("later-sec", from_secret("later-sec", "k"), 'secret "later-sec" not found')}
    for name, (_, source, text) in wants.items():
        space.pod(name, container={"env": [{"name": "X", "valueFrom": source}]})
        pod = space.wait(name, waits_for("CreateContainerConfigError"))
        state = pod["status"]["containerStatuses"][0]["state"]["waiting"]
        assert state["message"] == text
        space.wait_event(name, "Failed", f"Error: {text}")
    config_map(space, "later-map", {"other": "1"})
    text = f"couldn't find key k in ConfigMap {space.ns}/later-map"
    space.wait("map", lambda p: p["status"]["containerStatuses"][0]["state"].get(
        "waiting", {}).get("message") == text)
    space.kube.patch("ConfigMap", "later-map", {"data": {"k": "now"}}, space.ns)
    secret(space, "later-sec", {"k": "s3cr3t-value"})
    assert "X=now" in variables(space, space.ready("map"))
    assert "X=s3cr3t-value" in variables(space, space.ready("sec"))
    assert "s3cr3t-value" not in agent.log()


def test_values_are_read_again_at_each_start(space, agent):
    """And by an agent that was killed meanwhile."""
    config_map(space, "map", {"k": "old"})
    space.pod("again", container={"env": [{"name": "X", "valueFrom": from_map("map", "k")}]})
    pod = space.ready("again")
    assert "X=old" in variables(space, pod)
    agent.kill9()
    agent.start()
    space.kube.patch("ConfigMap", "map", {"data": {"k": "new"}}, space.ns)
    assert "X=old" in variables(space, pod)
    space.tell(pod, "/exit?code=1")
    pod = space.wait("again", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1
                     and running(p))
    assert "X=new" in variables(space, pod)


def test_pod_that_waits_can_be_deleted(space):
    space.pod("stuck", container={"envFrom": [{"secretRef": {"name": "never"}}]})
    space.wait("stuck", waits_for("CreateContainerConfigError"))
    space.delete_pod("stuck")
    space.gone("stuck", seconds=20)
