"""`unikubelet image` beside a running agent: what it imports and pulls Pods run, what it shows is
what runs."""
import json
import os
import subprocess

from harness import NODE, container_state


def image(space, agent, *args, check=True, **options):
    done = space.cluster.run([os.path.join(agent.build, "unikubelet"), "image", *args,
                              f"--config={agent.config_path}"], NODE, check=False, **options)
    assert not check or done.returncode == 0, done.stderr
    return done


def vmm_argv(name):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                argv = file.read().decode().split("\0")[:-1]
        except OSError:
            continue
        if name in argv and "-kernel" in argv and "qemu" in argv[0]:
            return argv
    raise AssertionError(f"no machine {name}")


def test_imported_image_runs_without_a_registry(space, agent, tmp_path):
    name = f"air.gapped/{space.ns}:v1"
    space.pod("early", image=name, container={"imagePullPolicy": "Never"})
    space.wait("early", lambda p: container_state(p, "waiting").get("reason")
               == "ErrImageNeverPull")
    tar = tmp_path / "hello.tar"
    subprocess.run(["skopeo", "copy", "-q", "--all", f"oci:{space.guests['layout:hello']}:v1",
                    f"oci-archive:{tar}:anything"], check=True)
    out = image(space, agent, "import", str(tar), name).stdout
    assert out.startswith(f"air.gapped/{space.ns}@sha256:")
    space.pod("late", image=name, container={"imagePullPolicy": "Never"})
    pod = space.ready("late")
    assert pod["status"]["containerStatuses"][0]["imageID"] == out.split()[0]
    assert f"air.gapped/{space.ns} " in image(space, agent, "ls").stdout
    image(space, agent, "rm", name)
    assert f"air.gapped/{space.ns} " not in image(space, agent, "ls").stdout
    space.pod("after", image=name, container={"imagePullPolicy": "Never"})
    space.wait("after", lambda p: container_state(p, "waiting").get("reason")
               == "ErrImageNeverPull")
    assert "is not on this node" in image(space, agent, "rm", name, check=False).stderr


def test_inspect_shows_what_runs(space, agent, tmp_path):
    """Byte by byte, but for what is the Pod's network's."""
    pod = space.pod("shown", container={"args": ["-v", "a b"],
                                        "env": [{"name": "A", "value": "$(B) \"q\""}]})
    space.ready("shown")
    argv = vmm_argv(f"unik-{pod['metadata']['uid']}")
    manifest = tmp_path / "pod.yaml"
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shown"},
            "spec": {"enableServiceLinks": False, "containers": [
                {k: v for k, v in pod["spec"]["containers"][0].items()
                 if k in ("name", "image", "args", "env", "resources")}]}}
    manifest.write_text(json.dumps(body))
    out = image(space, agent, "inspect", space.guests["hello"], str(manifest)).stdout
    shown = [line[2:] for line in out.split("without the Pod's network:\n")[1].splitlines()]
    for flag in ("-kernel", "-M", "-m", "-smp", "-accel", "-sandbox"):
        assert shown[shown.index(flag) + 1] == argv[argv.index(flag) + 1]
    want = argv[argv.index("-append") + 1]
    assert shown[-2] == "-append"
    assert shown[-1].split(" -- ")[1] == want.split(" -- ")[1] == "-v 'a b'"
    for word in shown[-1].split(" -- ")[0].split():
        assert word in want


def test_pull_by_hand(space, agent):
    wanted = space.guests["hello:v2"]
    done = image(space, agent, "pull", wanted)
    digest = done.stdout.split()[0]
    assert digest.startswith(wanted.rsplit(":", 1)[0] + "@sha256:")
    space.pod("pulled", image=wanted, container={"imagePullPolicy": "Never"})
    assert space.ready("pulled")["status"]["containerStatuses"][0]["imageID"] == digest
    for args, text in (
            (("pull", wanted + "-none"), "not found"),
            (("pull", "Not A Name"), "invalid reference format"),
            (("import", "/nowhere"), "No such file or directory"),
            (("inspect", "never.heard/of:it"), "is not on this node")):
        bad = image(space, agent, *args, check=False)
        assert bad.returncode == 1 and text in bad.stderr, bad.stderr
    for args in ((), ("fly",), ("pull",), ("ls", "x")):
        assert image(space, agent, *args, check=False).returncode == 2
