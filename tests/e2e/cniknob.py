#!/usr/bin/env python3
"""A CNI plugin for the end of a chain, installed under the name "knob": it hands the result on, or
does what the file do/POD beside its directory says: fail, rubbish, flood, wait (says so through the
FIFO "at", goes on at a line through "go"), or more (a further interface, as a meta-plugin makes).
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
FLOOD_BYTES = 1 << 20


def pod_name():
    words = dict(word.split("=", 1) for word in os.environ.get("CNI_ARGS", "").split(";") if word)
    return words.get("K8S_POD_NAME", "")


def link_of(pod):
    return f"knob-{pod}"[:15]


def ask(pod):
    path = os.path.join(HERE, "do", pod)
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def more(result, pod):
    netns = os.environ["CNI_NETNS"]
    subprocess.run(["ip", "link", "add", link_of(pod), "type", "veth", "peer", "name", "net1",
                    "netns", os.path.basename(netns)], check=True)
    result["interfaces"].append({"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": netns})


def add(result, pod):
    what = ask(pod)
    if what == "fail":
        json.dump({"cniVersion": "1.0.0", "code": 120, "msg": "the switch is off",
                   "details": "port 7"}, sys.stdout)
        sys.exit(1)
    if what == "rubbish":
        print("no JSON at all")
        sys.exit(0)
    if what == "flood":
        print("x" * FLOOD_BYTES)
        sys.exit(0)
    if what == "wait":
        with open(os.path.join(HERE, "at"), "w", encoding="ascii") as at:
            at.write("here\n")
        with open(os.path.join(HERE, "go"), encoding="ascii") as go:
            go.readline()
    if what == "more":
        more(result, pod)
    json.dump(result, sys.stdout)


def main():
    command, pod = os.environ["CNI_COMMAND"], pod_name()
    config = json.load(sys.stdin)
    if command == "VERSION":
        print('{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}')
        return
    with open(os.path.join(HERE, "calls"), "a", encoding="ascii") as calls:
        calls.write(f"{command} {pod}\n")
    if command == "ADD":
        add(config["prevResult"], pod)
    elif command == "DEL":
        subprocess.run(["ip", "link", "del", link_of(pod)], check=False, capture_output=True)


if __name__ == "__main__":
    main()
