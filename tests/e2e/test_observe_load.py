"""The kubelet server under many streams at once: 1,000 followers of a log and 200 port-forwards on the
agent's one loop, readers that do not read, and memory that stays what it was.
"""
import json
import os
import statistics
import subprocess
import sys
import time

import pytest

from harness import NODE_IP

HERE = os.path.dirname(os.path.realpath(__file__))
FOLLOWERS = 1000
DEAF = 50                # followers that never read
FORWARDS = 200
FLOOD_LINES = 20000      # more than sockets' buffers hold for one that does not read
STREAM_SECONDS = 120     # for all of them; the machine may be busy
SOAK_MINUTES = float(os.environ.get("SOAK_MINUTES", "0.5"))
SOAK_FOLLOWERS = 40
SOAK_FORWARDS = 10
SOAK_ROUNDS_MIN = 9
SOAK_GROWTH_KIB = 1024   # a third of the soak against another: what the heap may differ by
DEAF_KIB = 512           # of the agent's memory for each reader that does not read


class Load:
    """streamload.py where the API server runs: one order, one answer."""

    def __init__(self, cluster):
        self.process = cluster.popen(
            [sys.executable, os.path.join(HERE, "streamload.py"), f"{NODE_IP}:10250",
             cluster.spaces.path("pki")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, what, **how):
        self.process.stdin.write(json.dumps({"do": what, **how}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "streamload.py ended"}
        assert "error" not in answer, f"{what} {how}: {answer['error']}"
        return answer

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def load(cluster):
    load = Load(cluster)
    yield load
    load.close()


def log_path(space, name):
    return f"/containerLogs/{space.ns}/{name}/main?follow=true&tailLines=1"


def forward_path(space, name):
    return f"/portForward/{space.ns}/{name}"


def dirty_kib(agent):
    """Private dirty memory of the agent: what its work costs."""
    with open(f"/proc/{agent.process.pid}/smaps_rollup", encoding="utf-8") as file:
        return int(next(line.split()[1] for line in file if line.startswith("Private_Dirty:")))


def serving(space, name, *args):
    space.pod(name, container={"args": list(args)} if args else None, restartPolicy="Never")
    pod = space.ready(name)
    space.wait_log(name, "listening")
    return pod


def test_a_thousand_followers_see_each_line(space, load):
    pod = serving(space, "many")
    load.do("follow", path=log_path(space, "many"), count=FOLLOWERS)
    for text in ("first", "second"):
        space.http(pod, f"/print?text={text}-line")
        assert load.do("seen", text=f"{text}-line", seconds=STREAM_SECONDS) == {
            "seen": FOLLOWERS, "of": FOLLOWERS}
    # Others are served meanwhile, as promptly as ever.
    assert "second-line" in space.logs("many", "--tail=1")


def test_two_hundred_port_forwards_at_once(space, load):
    serving(space, "ports")
    answer = load.do("forward", path=forward_path(space, "ports"), port=8080, count=FORWARDS,
                     want="HTTP/1.1 200")
    assert answer["good"] == FORWARDS, answer


def test_readers_that_do_not_read_stop_nobody(space, agent, load):
    pod = serving(space, "flood", f"--lines={FLOOD_LINES}")
    before = dirty_kib(agent)
    whole = f"/containerLogs/{space.ns}/flood/main?follow=true"
    load.do("follow", path=whole, count=DEAF, reading=False)
    load.do("follow", path=whole, count=5)
    space.http(pod, "/print?text=after-the-flood")
    assert load.do("seen", text="after-the-flood", seconds=STREAM_SECONDS) == {
        "seen": 5, "of": 5}
    assert dirty_kib(agent) - before < DEAF * DEAF_KIB
    assert load.do("drop", count=0) == {"followers": 0}


def test_soak_of_mixed_streams_leaves_memory_flat(space, agent, load):
    """For an hour: make soak MINUTES=60."""
    pod = serving(space, "soak")
    samples, rounds = [], 0
    deadline = time.monotonic() + SOAK_MINUTES * 60
    while rounds < SOAK_ROUNDS_MIN or time.monotonic() < deadline:
        rounds += 1
        load.do("follow", path=log_path(space, "soak"), count=SOAK_FOLLOWERS)
        load.do("follow", path=log_path(space, "soak"), count=SOAK_FOLLOWERS // 4, reading=False)
        space.http(pod, f"/print?text=round-{rounds}.")
        load.do("seen", text=f"round-{rounds}.", seconds=STREAM_SECONDS)
        answer = load.do("forward", path=forward_path(space, "soak"), port=8080,
                         count=SOAK_FORWARDS, want="HTTP/1.1 200")
        assert answer["good"] == SOAK_FORWARDS, answer
        load.do("drop", count=0)
        samples.append(dirty_kib(agent))
    third = len(samples) // 3
    early, late = statistics.median(samples[third:2 * third]), statistics.median(samples[-third:])
    print(f"soak: {rounds} rounds in {SOAK_MINUTES} min; private dirty {samples[0]} KiB at first, "
          f"median {early} KiB in the second third, {late} KiB in the last, {max(samples)} at most")
    assert late - early < SOAK_GROWTH_KIB, samples
