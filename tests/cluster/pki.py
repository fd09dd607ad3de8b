"""Keys, certificates and kubeconfig files of a test cluster, made by the openssl command.

One CA signs clients, API server and kubelets (so that --kubelet-certificate-authority is the
cluster's CA, as kubelet-serving CSRs are signed by it too); a second one signs the aggregation
layer's front proxy. Elliptic curves, because a dozen RSA keys would take longer than etcd's start.
"""
import base64
import json
import os

from spaces import CONTROL_IP, NODE_IP, run

API = f"https://{CONTROL_IP}:6443"
SERVICE_IP = "10.96.0.1"

CONFIG = """[req]
distinguished_name = none
[none]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,digitalSignature,keyEncipherment,keyCertSign
subjectKeyIdentifier = hash
[client]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = clientAuth
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth
"""


class Pki:
    """Certificates in DIR/pki; every method overwrites what was there."""

    def __init__(self, directory):
        self.top = directory
        self.dir = os.path.join(directory, "pki")

    def file(self, name):
        return os.path.join(self.dir, name)

    def _issue(self, name, subject, section, issuer=None, names=()):
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-sha256", "-days", "3650",
                "-config", self.file("openssl.cnf"), "-extensions", section, "-subj", subject,
                "-keyout", self.file(f"{name}.key"), "-out", self.file(f"{name}.crt")]
        if issuer:
            argv += ["-CA", self.file(f"{issuer}.crt"), "-CAkey", self.file(f"{issuer}.key")]
        if names:
            argv += ["-addext", "subjectAltName=" + ",".join(names)]
        run(*argv)

    def create(self):
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        with open(self.file("openssl.cnf"), "w", encoding="utf-8") as config:
            config.write(CONFIG)
        self._issue("ca", "/CN=unikubelet test cluster", "ca")
        self._issue("front-proxy-ca", "/CN=unikubelet test front proxy", "ca")
        self._issue("apiserver", "/CN=kube-apiserver", "server", "ca", (
            f"IP:{CONTROL_IP}", f"IP:{SERVICE_IP}", "IP:127.0.0.1", "DNS:localhost",
            "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc",
            "DNS:kubernetes.default.svc.cluster.local"))
        self._issue("apiserver-kubelet-client",
                    "/O=system:masters/CN=kube-apiserver-kubelet-client", "client", "ca")
        self._issue("front-proxy-client", "/CN=front-proxy-client", "client", "front-proxy-ca")
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-out", self.file("sa.key"))
        run("openssl", "pkey", "-in", self.file("sa.key"), "-pubout", "-out", self.file("sa.pub"))
        for name, subject in (
                ("admin", "/O=system:masters/CN=kubernetes-admin"),
                ("kube-controller-manager", "/CN=system:kube-controller-manager"),
                ("kube-scheduler", "/CN=system:kube-scheduler"),
                ("kube-proxy", "/CN=system:kube-proxy")):
            self._issue(name, subject, "client", "ca")
            self.kubeconfig(name)
        run("cp", self.file("ca.crt"), os.path.join(self.top, "ca.crt"))
        run("cp", self.file("admin.kubeconfig"), os.path.join(self.top, "admin.kubeconfig"))

    def _base64(self, name):
        with open(self.file(name), "rb") as file:
            return base64.b64encode(file.read()).decode()

    def kubeconfig(self, name, token=None, path=None):
        """A kubeconfig with a certificate of ours, or with a bearer token (JSON is YAML too)."""
        user = {"token": token} if token else {
            "client-certificate-data": self._base64(f"{name}.crt"),
            "client-key-data": self._base64(f"{name}.key")}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": API, "certificate-authority-data": self._base64("ca.crt")}}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}]}
        path = path or self.file(f"{name}.kubeconfig")
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as out:
            json.dump(config, out, indent=1)
            out.write("\n")

    def node_identity(self, name):
        """An identity: NAME.kubeconfig, NAME-client.{crt,key}, NAME-serving.{crt,key} in DIR."""
        subject = f"/O=system:nodes/CN=system:node:{name}"
        self._issue(f"{name}-client", subject, "client", "ca")
        self._issue(f"{name}-serving", subject, "server", "ca",
                    (f"IP:{NODE_IP}", f"DNS:{name}"))
        self.kubeconfig(f"{name}-client", path=os.path.join(self.top, f"{name}.kubeconfig"))
        for kind in ("client", "serving"):
            for ext in ("crt", "key"):
                run("cp", self.file(f"{name}-{kind}.{ext}"),
                    os.path.join(self.top, f"{name}-{kind}.{ext}"))
