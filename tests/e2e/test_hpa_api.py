"""external.metrics.k8s.io as the API server and its users see it."""
import pytest

from scaler import API, Scaler, available, until, value


@pytest.fixture(scope="module")
def scaler(cluster):
    scaler = Scaler(cluster)
    scaler.start()
    available(cluster)
    yield scaler
    assert scaler.stop() == 0
    print(scaler.log())


def test_discovery_says_available(cluster, scaler):
    assert scaler.get("/readyz") == "ok\n"
    resources = cluster.kube.call("GET", API)["resources"]
    assert [r["name"] for r in resources] == ["externalmetrics"]


def test_only_who_may_reads(cluster, scaler):  # pylint: disable=unused-argument
    path = f"{API}/namespaces/default/unikubelet_open_connections"
    out = cluster.kubectl("get", "--raw", path, "--as=system:serviceaccount:default:nobody",
                          check=False)
    assert out == ""
    out = cluster.kubectl("get", "--raw", path,
                          "--as=system:serviceaccount:kube-system:horizontal-pod-autoscaler")
    assert '"items":[]' in out
    # Without the aggregator's certificate its headers are worth nothing.
    direct = cluster.run(["curl", "-sk", "-H", "X-Remote-User: admin", "-H",
                          "X-Remote-Group: system:masters", "-o", "/dev/null", "-w", "%{http_code}",
                          f"https://10.89.0.2:7443{path}"], "node").stdout
    assert direct == "401"


def test_unknown_metric_is_told(cluster, scaler):  # pylint: disable=unused-argument
    out = cluster.run(["kubectl", "get", "--raw", f"{API}/namespaces/default/requests"],
                      check=False)
    assert "there is no metric" in out.stderr


def test_service_at_zero_is_known_and_pending(cluster, scaler, space):
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                         "runtimeClassName": "unikernel",
                         "containers": [{"name": "main", "image": "x"}]}}}}
    space.create_body(body)
    space.create_body({"apiVersion": "v1", "kind": "Service",
                       "metadata": {"name": "web",
                                    "labels": {"unikubelet.dev/scale": "metrics"}},
                       "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})
    until(lambda: value(cluster, space.ns, "unikubelet_open_connections", "web"),
          lambda v: v == 0, describe=scaler.log)
    assert value(cluster, space.ns, "unikubelet_pending_connections", "web") == 0
    assert value(cluster, space.ns, "unikubelet_active", "web") == 0
