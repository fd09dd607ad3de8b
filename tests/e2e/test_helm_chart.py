"""The chart as text: lint, schema, what it renders to, and what the real API server says to it."""
import difflib
import os
import subprocess

import pytest
import yaml

from harness import ROOT
from worker import CHART, helm_binary

GOLDEN = os.path.join(ROOT, "tests", "e2e", "golden")
RENDER = os.path.join(ROOT, "manifests", "helm", "render")
ALL = ("scaler.enabled=true", "serviceMonitor.enabled=true", "dashboard.enabled=true",
       "upgrade.machines=remove")


@pytest.fixture(scope="module")
def helm():
    path = helm_binary()

    def run(*args, check=True):
        done = subprocess.run([path, *args], text=True, capture_output=True, check=False)
        assert not check or done.returncode == 0, f"helm {args}: {done.stdout}{done.stderr}"
        return done
    return run


def settings(*values):
    return [word for value in values for word in ("--set", value)]


def same(got, name):
    """Compares with a golden file; UPDATE_GOLDEN=1 writes it."""
    path = os.path.join(GOLDEN, name)
    if os.environ.get("UPDATE_GOLDEN"):
        os.makedirs(GOLDEN, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(got)
    with open(path, encoding="utf-8") as file:
        want = file.read()
    diff = "".join(difflib.unified_diff(want.splitlines(True), got.splitlines(True), name, "now"))
    assert got == want, f"UPDATE_GOLDEN=1 takes it over:\n{diff}"


@pytest.mark.parametrize("values", [(), ALL])
def test_lint(helm, values):
    done = helm("lint", "--strict", CHART, *settings(*values))
    assert "0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("name,values", [
    ("default", ()),
    ("all", ALL),
    ("custom", ("image.repository=registry.example.com/u", "image.tag=v9",
                "agent.privileged=true", "agent.flags.max-pods=500",
                "agent.flags.insecure-registries={a:1,b:2}", "uninstall.machines=keep",
                "rbac.approveClientCertificates=false", "runtimeClass.create=false"))])
def test_template(helm, name, values):
    done = helm("template", "unikubelet", CHART, "-n", "unikubelet", *settings(*values))
    assert all(yaml.safe_load_all(done.stdout))
    same(done.stdout, f"helm-{name}.yaml")


@pytest.mark.parametrize("value,words", [
    ("agent.port=0", "minimum"), ("uninstall.machines=perhaps", "remove"),
    ("agent.installDir=opt", "pattern"), ("agent.flags.Max=1", "Max"),
    ("agnet.port=1", "agnet"), ("image.digest=abc", "digest")])
def test_schema_refuses(helm, value, words):
    done = helm("template", "unikubelet", CHART, *settings(value), check=False)
    assert done.returncode != 0
    assert words in done.stderr


def test_rendered_manifest_is_up_to_date(helm):
    done = subprocess.run([RENDER, helm_binary()], text=True, capture_output=True, check=True)
    with open(os.path.join(ROOT, "manifests", "unikubelet.yaml"), encoding="utf-8") as file:
        assert done.stdout == file.read(), "manifests/helm/render >manifests/unikubelet.yaml"


def test_api_server_accepts(cluster, helm):
    """Server-side dry run: unknown fields, wrong types and what validation refuses fail. The
    namespace has to exist for that; kinds of Prometheus' operator are not known here, and a Pod is
    not admitted before its ServiceAccount exists (`helm test` runs it)."""
    cluster.kubectl("create", "namespace", "unikubelet")
    try:
        done = helm("template", "unikubelet", CHART, "-n", "unikubelet", *settings(*ALL))
        kept = [d for d in yaml.safe_load_all(done.stdout)
                if d and d["kind"] not in ("ServiceMonitor", "Pod")]
        kinds = {d["kind"] for d in kept}
        assert {"DaemonSet", "Deployment", "APIService", "PodDisruptionBudget", "Job"} <= kinds
        out = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-",
                              text=yaml.safe_dump_all(kept))
        assert out.count("(server dry run)") == len(kept)
        out = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f",
                              os.path.join(ROOT, "manifests", "unikubelet.yaml"))
        assert "daemonset.apps/unikubelet" in out
    finally:
        cluster.kubectl("delete", "namespace", "unikubelet", "--wait=false")
