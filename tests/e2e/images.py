"""OCI image layouts made by the tests themselves, in kraft's form: the good guests come from
tests/guests/pack, these are the broken ones (and layouts with given content). No tool is used, so
that an image can be wrong in exactly one way.
"""
import hashlib
import io
import json
import os
import tarfile

KERNEL = "org.unikraft.kernel.image"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Layout:
    """A directory being filled; write() returns the digest of the one manifest."""

    def __init__(self, path):
        self.path = str(path)
        os.makedirs(os.path.join(self.path, "blobs", "sha256"), exist_ok=True)

    def blob(self, data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.path, "blobs", "sha256", digest), "wb") as file:
            file.write(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def json_blob(self, value, media_type):
        return {"mediaType": media_type, **self.blob(json.dumps(value).encode())}

    def write(self, layers, cmd=(), platform=("x86_64", "qemu")):
        """layers: list of (files, annotations)."""
        described = []
        for files, annotations in layers:
            described.append({"mediaType": LAYER, **self.blob(tar_of(files)),
                              "annotations": annotations})
        where = {"architecture": platform[0], "os": platform[1]}
        config = self.json_blob({**where, "config": {"Cmd": list(cmd)}, "rootfs": {
            "type": "layers", "diff_ids": [d["digest"] for d in described]}}, CONFIG)
        manifest = self.json_blob({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                                   "layers": described}, MANIFEST)
        index = {"schemaVersion": 2, "mediaType": INDEX,
                 "manifests": [{**manifest, "platform": where}]}
        with open(os.path.join(self.path, "index.json"), "w", encoding="utf-8") as file:
            json.dump(index, file)
        with open(os.path.join(self.path, "oci-layout"), "w", encoding="utf-8") as file:
            json.dump({"imageLayoutVersion": "1.0.0"}, file)
        return [d["digest"] for d in described]


def kernel_layout(path, kernel, name="/unikraft/bin/kernel"):
    return Layout(path).write([({name: kernel}, {KERNEL: name})])


def plain_layout(path):
    """A container image like any other: a file, and no kernel."""
    return Layout(path).write([({"/bin/app": b"#!/bin/sh\necho hi\n"}, {})],
                              cmd=["/bin/app"], platform=("amd64", "linux"))
