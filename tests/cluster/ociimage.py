"""Writes a container image of a few files as an OCI archive. Used by node for the pause image."""
import hashlib
import io
import json
import tarfile


def _add(archive, name, data, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


def write_archive(path, reference, files, entrypoint):
    """files: name in the image -> path here, all executable."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for name, source in files.items():
            with open(source, "rb") as file:
                _add(archive, name, file.read(), 0o755)
    blobs = []

    def blob(data, kind, **extra):
        digest = hashlib.sha256(data).hexdigest()
        blobs.append((digest, data))
        return {"mediaType": f"application/vnd.oci.image.{kind}", "size": len(data),
                "digest": f"sha256:{digest}", **extra}

    content = blob(layer.getvalue(), "layer.v1.tar")
    config = blob(json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [content["digest"]]}}).encode(), "config.v1+json")
    manifest = blob(json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [content]}).encode(), "manifest.v1+json",
        annotations={"io.containerd.image.name": reference,
                     "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1]})
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps({
            "schemaVersion": 2, "manifests": [manifest]}).encode())
        for digest, data in blobs:
            _add(archive, f"blobs/sha256/{digest}", data)
