"""Programs that tests run beside the cluster: out of Debian's packages without installing them, and
out of Go modules. Both are kept in the cache that the control plane's binary is in.
"""
import os
import shutil
import subprocess
import tempfile

from harness import ROOT


def cache_dir():
    return os.environ.get("UNIKUBELET_CACHE") or os.path.expanduser("~/.cache/unikubelet")


def debian_program(package, program):
    """Path of /usr/bin/PROGRAM of a package that is unpacked, not installed: installing some starts
    a server."""
    if found := shutil.which(program):
        return found
    top = os.path.join(cache_dir(), package)
    kept = os.path.join(top, "usr", "bin", program)
    if not os.path.exists(kept):
        with tempfile.TemporaryDirectory() as work:
            subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package],
                           cwd=work, check=True)
            deb = os.path.join(work, os.listdir(work)[0])
            subprocess.run(["dpkg-deb", "-x", deb, top], check=True)
    return kept


def go_tool(name):
    """Directory of the programs that tests/cluster/tools builds (once) from NAME's Go module."""
    return subprocess.run([os.path.join(ROOT, "tests", "cluster", "tools"), name], check=True,
                          text=True, stdout=subprocess.PIPE).stdout.strip()
