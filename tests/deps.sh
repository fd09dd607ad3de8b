#!/bin/bash
# Installs what building and testing need on a fresh Debian 12, and nothing that is there already.
# Called by `make deps`. Go is the one thing that Debian has too old: it is checked, not installed.
set -euo pipefail

# package: what for
packages='
build-essential               compiler
pkg-config                    flags
libuv1-dev                    loop
libcjson-dev                  JSON
libyaml-dev                   YAML
libarchive-dev                layers
libcurl4-openssl-dev          client
libssl-dev                    TLS
zlib1g-dev                    compression
libcmocka-dev                 tests
clang                         fuzzing
libclang-rt-14-dev            fuzzing
clang-format                  style
cppcheck                      lint
python3-pytest                end-to-end
qemu-system-x86               machines
containernetworking-plugins   networks
iproute2                      namespaces
iptables                      Services
nftables                      Services
conntrack                     Services
busybox-static                guest
cpio                          guest
docker-registry               images
skopeo                        images
umoci                         images
runc                          containers
buildah                       containers
debootstrap                   containers
python3-yaml                  end-to-end
openssl                       certificates
curl                          demo
jq                            demo
bc                            counting
ca-certificates               downloads
'

say() { printf 'deps: %s\n' "$*"; }

missing=()
while read -r package _; do
    [ -n "$package" ] || continue
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
        missing+=("$package")
done <<<"$packages"

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        say "these packages are missing: ${missing[*]}"
        say "run it as root, or: sudo apt-get install --no-install-recommends ${missing[*]}"
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    quietly() {
        if ! "$@" >"$log" 2>&1; then
            tail -n 20 "$log"
            say "failed: $*"
            exit 1
        fi
    }
    # Lists may be absent or stale: only ask for new ones when the old ones do not do.
    if ! apt-get install -s --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
        say "fetching package lists ..."
        quietly apt-get update
    fi
    say "installing ${#missing[@]} packages: ${missing[*]}"
    if ! apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
        say "fetching newer package lists and trying once more ..."
        quietly apt-get update
        quietly apt-get install -y -qq --no-install-recommends "${missing[@]}"
    fi
    say "installed"
else
    say "all Debian packages are there"
fi

# The control plane of the tests is built from source: Go 1.26, or an older one from 1.21 on that may
# fetch the newer toolchain by itself (GOTOOLCHAIN=auto).
go=$(command -v go || true)
[ -n "$go" ] || go=/usr/local/go/bin/go
if ! [ -x "$go" ]; then
    say "Go is missing (neither in PATH nor in /usr/local/go/bin): install Go 1.26 or later from go.dev/dl"
    say "without it everything builds, but not the test cluster (make cluster, demo, e2e, bench)"
    exit 1
fi
version=$("$go" env GOVERSION)
minor=$(sed -n 's/^go1\.\([0-9]*\).*/\1/p' <<<"$version")
mode=$("$go" env GOTOOLCHAIN 2>/dev/null || true)
if [ "${minor:-0}" -ge 26 ]; then
    say "$version"
elif [ "${minor:-0}" -ge 21 ] && [[ $mode == auto* || $mode == *+auto ]]; then
    say "$version will fetch Go 1.26 by itself for the test cluster"
else
    say "$version ($go) is too old for the test cluster: install Go 1.26 or later from go.dev/dl"
    exit 1
fi
