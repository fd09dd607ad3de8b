"""Images exactly in their makers' layouts, pulled from a registry and run; and those that cannot."""
import base64
import gzip
import hashlib
import json
import os
import struct

import pytest

from harness import REGISTRY_ADDRESS, TOKEN_REGISTRY, container_state
from images import CONFIG, INDEX, MANIFEST, Layout, plain_layout, tar_of

BIG_MIB = int(os.environ.get("BIG_IMAGE_MIB", "256"))
RSS_RISE_MAX = 8 << 20
URUNC = "com.urunc.unikernel."


def hello(space):
    """The bytes of our unikernel, out of the layout that tests/guests/pack made."""
    root = space.guests["layout:hello"]
    for name in os.listdir(os.path.join(root, "blobs", "sha256")):
        with open(os.path.join(root, "blobs", "sha256", name), "rb") as file:
            data = file.read()
        if b"unikraft/bin/kernel" in data[:512]:
            size = int(data[124:135], 8)
            return data[512:512 + size]
    raise AssertionError("the layout has no kernel")


class Image(Layout):
    """A layout with one image of gzip layers, as container tools write them."""

    def pack(self, files, labels=None, cmd=(), platform=("amd64", "linux"), more=()):
        tar = tar_of(files)
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                 **self.blob(gzip.compress(tar, 1, mtime=0))}
        layers = [layer, *more]
        diff = "sha256:" + hashlib.sha256(tar).hexdigest()
        config = self.json_blob({"architecture": platform[0], "os": platform[1],
                                 "config": {"Cmd": list(cmd), "Labels": labels or {}},
                                 "rootfs": {"type": "layers", "diff_ids": [diff] * len(layers)}},
                                CONFIG)
        manifest = self.json_blob({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                                   "layers": layers}, MANIFEST)
        with open(os.path.join(self.path, "index.json"), "w", encoding="utf-8") as file:
            json.dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]}, file)
        with open(os.path.join(self.path, "oci-layout"), "w", encoding="utf-8") as file:
            json.dump({"imageLayoutVersion": "1.0.0"}, file)
        return manifest["digest"]


def coded(text):
    return base64.b64encode(text.encode()).decode()


def solo5_kernel(target):
    """An ELF64 with solo5's ABI note, as far as anybody looks before launch."""
    note = struct.pack("<III", 6, 16, 0x31494241) + b"Solo5\0\0\0" + struct.pack("<IIII", target, 1, 0, 0)
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(note), len(note), 4) + note


def test_images_of_urunc_by_labels_and_by_file(space, tmp_path):
    kernel = hello(space)
    labels = {URUNC + "unikernelType": "unikraft", URUNC + "hypervisor": "qemu",
              URUNC + "binary": "/unikernel/kernel", URUNC + "unikernelVersion": "0.17.0"}
    Image(tmp_path / "labels").pack({"/unikernel/kernel": kernel}, labels, ["by-labels"])
    by_file = {key: coded(value) for key, value in labels.items()}
    Image(tmp_path / "file").pack({"/unikernel/kernel": kernel,
                                   "/urunc.json": json.dumps(by_file).encode()}, {}, ["by-file"])
    for name in ("labels", "file"):
        space.pod(name, space.cluster.push(tmp_path / name, f"urunc-{name}:v1"))
    for name in ("labels", "file"):
        assert f"by-{name}" in space.http(space.ready(name))


def test_images_that_no_machine_here_can_run(space, tmp_path):
    cases = {
        "ordinary": "An ordinary container image must be built into a unikernel first",
        "tender": "is built for solo5-hvt, a tender that this node does not have",
        "rootless": "has no unikernel kernel, only a root file system",
    }
    plain_layout(tmp_path / "ordinary")
    Image(tmp_path / "tender").pack({"/app.hvt": solo5_kernel(1)}, {
        URUNC + "unikernelType": "mirage", URUNC + "hypervisor": "hvt", URUNC + "binary": "/app.hvt"})
    Layout(tmp_path / "rootless").write([({"/unikraft/bin/initrd": b"070701"},
                                          {"org.unikraft.kernel.initrd": "/unikraft/bin/initrd"})])
    for name in cases:
        space.pod(name, space.cluster.push(tmp_path / name, f"{name}:v1"))
    for name, text in cases.items():
        pod = space.wait(name, lambda p: container_state(p, "waiting").get("reason") ==
                         "CreateContainerError")
        assert text in container_state(pod, "waiting")["message"]


def test_images_by_a_pull_secret(space):
    """A private image: refused without, run with the Secret; a Secret that is not there is told."""
    auth = {"auths": {TOKEN_REGISTRY: {"auth": coded("test:secret")}}}
    space.kubectl("apply", "-f", "-", text=json.dumps({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": coded(json.dumps(auth))}}))
    image = f"{TOKEN_REGISTRY}/hello:v1"
    space.pod("with", image, imagePullSecrets=[{"name": "gone"}, {"name": "registry"}])
    space.pod("without", image, imagePullSecrets=[{"name": "gone"}])
    assert "hello from" in space.http(space.ready("with"))
    space.wait_event("with", "FailedToRetrieveImagePullSecret",
                     "Unable to retrieve some image pull secrets (gone); attempting to pull the "
                     "image may not succeed.")
    space.wait_event("without", "Failed", "pull access denied")
    # What the first Pod's Secret brought is still not for one that has none.
    space.pod("after", image)
    space.wait_event("after", "Failed", "pull access denied")


def rss(agent):
    """Resident memory of the agent itself, in bytes; its process is below the namespaces' tools."""
    with open(f"/proc/{agent_pid(agent)}/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmHWM"].split()[0]) << 10, int(fields["VmRSS"].split()[0]) << 10


def agent_pid(agent):
    for pid in agent.cluster.spaces.members():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/unikubelet") and any(b"--config=" in w for w in words):
            return pid
    raise AssertionError("the agent is not among the cluster's processes")


def big_layers(layout, mib):
    """Layers of random blocks, each written once: nothing that compression could make small."""
    layers = []
    for part in range(4):
        block = os.urandom(1 << 20)
        path = os.path.join(layout.path, "blobs", "sha256", f"part-{part}")
        digest, size = hashlib.sha256(), 0
        with open(path, "wb") as file:
            head = tar_of({f"/data/{part}": b""})[:512]
            length = mib // 4 << 20
            head = bytearray(head)
            head[124:136] = b"%011o\0" % length
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\0 " % sum(head)
            for piece in [bytes(head)] + [block[i:] + block[:i] for i in range(mib // 4)] + [
                    b"\0" * 1024]:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        name = digest.hexdigest()
        os.rename(path, os.path.join(layout.path, "blobs", "sha256", name))
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar",
                       "digest": f"sha256:{name}", "size": size})
    return layers


def test_images_that_are_big_are_pulled_once(space, agent, tmp_path):
    """Ten Pods of one image: one download of each layer, and the agent does not grow."""
    layout = Image(tmp_path / "big")
    more = big_layers(layout, BIG_MIB)
    layout.pack({"/unikraft/bin/kernel": hello(space)}, more=more)
    image = space.cluster.push(tmp_path / "big", "big:v1")
    pid = agent_pid(agent)
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak from now on
    _, before = rss(agent)
    for i in range(10):
        space.pod(f"big-{i}", image)
    space.wait_pods(10, seconds=300)
    peak, _ = rss(agent)
    with open(space.cluster.spaces.path("logs", "docker-registry.log"), encoding="utf-8") as log:
        lines = [line for line in log if "/v2/big/blobs/" in line and "GET" in line]
    for layer in more:
        asked = [line for line in lines if layer["digest"] in line and '" 200 ' in line]
        assert len(asked) == 1, asked
    print(f"{BIG_MIB} MiB, 10 Pods: resident {before >> 10} KiB before, at most {peak >> 10}")
    assert peak - before < RSS_RISE_MAX


@pytest.mark.parametrize("name,reason,text", [
    (f"{REGISTRY_ADDRESS}/UPPER:v1", "InvalidImageName", "invalid reference format"),
    (f"{REGISTRY_ADDRESS}/hello:never", "ErrImageNeverPull", "is not present with pull policy"),
])
def test_images_in_the_kubelets_words(space, name, reason, text):
    policy = {"imagePullPolicy": "Never"} if reason == "ErrImageNeverPull" else {}
    space.pod("words", name, container=policy)
    pod = space.wait("words", lambda p: container_state(p, "waiting").get("reason") == reason)
    assert text in container_state(pod, "waiting")["message"]
