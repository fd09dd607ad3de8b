"""kubectl attach, port-forward and exec, over WebSocket and over SPDY; and what a node's API server
makes of each (contract 5.4 to 5.6)."""
import contextlib
import os
import re
import subprocess
import threading
import time

import pytest

from harness import NODE_NAME
from pods import restarts

WEBSOCKET = {}
SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
PROTOCOLS = pytest.mark.parametrize("protocol", [WEBSOCKET, SPDY], ids=["websocket", "spdy"])
ECHO = {"args": ["--echo"], "stdin": True}
CONNECTIONS = 24  # at a time through one port-forward


class Session:
    """A kubectl that runs until told; its output is collected as it comes."""

    def __init__(self, space, protocol, *args):
        self.process = space.cluster.popen(
            ["kubectl", "-n", space.ns, *args], env={**space.cluster.env, **protocol},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = ""
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            with self.changed:
                self.text += data.decode(errors="replace")
                self.changed.notify_all()

    def say(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def expect(self, text, seconds=20):
        with self.changed:
            assert self.changed.wait_for(lambda: text in self.text, seconds), (
                f"no \"{text}\" in {seconds} s; there was:\n{self.text}")

    def end(self, seconds=20):
        """The exit status, once it ends by itself."""
        status = self.process.wait(seconds)
        self.reader.join(seconds)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.reader.join(10)
        self.process.stdout.close()


def echo_pod(space, name="echo", **container):
    space.pod(name, container={**ECHO, **container}, restartPolicy="Never")
    pod = space.ready(name)
    space.wait_log(name, "listening")
    return pod


def typed(session, line, seconds=20):
    """A line goes in and comes back. The session may not stand yet: it is said again."""
    deadline = time.monotonic() + seconds
    while True:
        session.say(line + "\n")
        try:
            session.expect(f"you typed: {line}", 2)
            return
        except AssertionError:
            if time.monotonic() > deadline:
                raise


def arrived(agent, pod, what):
    """The protocols in which the API server asked the node for this Pod's streams."""
    uid = pod["metadata"]["uid"]
    return {match[1] for line in agent.log().splitlines() if uid in line
            and (match := re.search(rf'msg="{what} over (\w+)"', line))}


@PROTOCOLS
def test_attach_types_and_shows(space, agent, protocol):
    pod = echo_pod(space)
    with Session(space, protocol, "attach", "-i", "echo") as session:
        typed(session, "good morning")
        typed(session, "x" * 200)
        session.say("exit\n")
        assert session.end() == 0, session.text
        session.expect("you typed: exit")
        assert "booted" not in session.text, "attach shows what comes from now on"
    assert arrived(agent, pod, "attach") == {"SPDY" if protocol else "WebSocket"}


def test_attach_without_stdin_shows_only(space):
    echo_pod(space, stdin=False)
    with Session(space, WEBSOCKET, "attach", "echo") as session, \
            Session(space, SPDY, "attach", "echo") as other:
        pod = space.get("echo")
        for one in (session, other):
            deadline = time.monotonic() + 20
            while "seen-by-all" not in one.text and time.monotonic() < deadline:
                space.http(pod, "/print?text=seen-by-all")
                with contextlib.suppress(AssertionError):
                    one.expect("seen-by-all", 1)
            one.expect("seen-by-all", 1)


def test_attach_refuses_what_is_not_there(space):
    echo_pod(space)
    for args, text in ((["attach", "none"], "not found"),
                       (["attach", "echo", "-c", "other"], "container other is not valid")):
        done = space.cluster.run(["kubectl", "-n", space.ns, *args], check=False)
        assert done.returncode != 0 and text in done.stderr, done.stderr


@PROTOCOLS
def test_exec_says_why_not(space, protocol):
    echo_pod(space)
    with Session(space, protocol, "exec", "echo", "--", "ls", "/") as session:
        assert session.end() != 0
        assert "is a unikernel (guest kind \"unikraft\")" in session.text, session.text
        assert "cannot run a command in container \"main\"" in session.text


@contextlib.contextmanager
def forwarded(space, protocol, name="echo", port=8080):
    """The local port of a kubectl port-forward, and its session."""
    with Session(space, protocol, "port-forward", name, f":{port}") as session:
        session.expect("Forwarding from 127.0.0.1:")
        yield re.search(r"127\.0\.0\.1:(\d+)", session.text).group(1), session


def fetch(space, port, check=True):
    return space.cluster.run(["curl", "-sS", "--fail", "--max-time", "20",
                              f"http://127.0.0.1:{port}/"], check=check)


@PROTOCOLS
def test_port_forward_reaches_the_guest(space, agent, protocol):
    pod = echo_pod(space)
    with forwarded(space, protocol) as (port, _):
        for _ in range(3):
            assert "hello" in fetch(space, port).stdout
        script = (f"for i in $(seq {CONNECTIONS}); do curl -sS --fail --max-time 30 "
                  f"http://127.0.0.1:{port}/ -o /dev/null & done; wait; echo all")
        done = space.cluster.run(["bash", "-c", script])
        assert done.stdout == "all\n" and not done.stderr, done.stderr
        assert "hello" in fetch(space, port).stdout
    assert arrived(agent, pod, "port-forward") == {"SPDY" if protocol else "WebSocket"}


@PROTOCOLS
def test_port_forward_tells_of_a_closed_port(space, protocol):
    echo_pod(space)
    with forwarded(space, protocol, port=81) as (port, session):
        assert fetch(space, port, check=False).returncode != 0
        session.expect("error forwarding port 81 to pod")
        session.expect("connection refused")


@PROTOCOLS
def test_port_forward_outlives_a_restart(space, protocol):
    space.pod("echo", container={"args": ["--echo"]})
    pod = space.ready("echo")
    with forwarded(space, protocol) as (port, session):
        assert "hello" in fetch(space, port).stdout
        space.tell(pod, "/exit?code=1")
        space.wait("echo", lambda p: restarts(p) == 1)
        deadline = time.monotonic() + 30
        while session.process.poll() is None and time.monotonic() < deadline:
            if fetch(space, port, check=False).returncode == 0:
                break
        assert session.process.poll() is None or "lost connection" in session.text, session.text


@pytest.fixture
def old_apiserver(cluster, agent, monkeypatch):
    """An API server that does not speak WebSocket to nodes: it translates for kubectl."""
    del agent
    monkeypatch.setenv("APISERVER_FLAGS", "--feature-gates=ExtendWebSocketsToKubelet=false")
    cluster.command("restart", "kube-apiserver")
    yield
    monkeypatch.undo()
    cluster.command("restart", "kube-apiserver")


@PROTOCOLS
def test_api_server_that_translates(old_apiserver, space, agent, protocol):
    del old_apiserver
    pod = echo_pod(space)
    with forwarded(space, protocol) as (port, _):
        assert "hello" in fetch(space, port).stdout
    with Session(space, protocol, "attach", "-i", "echo") as session:
        typed(session, "good evening")
        space.tell(pod, "/exit?code=0")
        assert session.end() == 0, session.text
    assert arrived(agent, pod, "attach") == arrived(agent, pod, "port-forward") == {"SPDY"}


def test_node_declares_its_websockets(cluster, agent):
    del agent
    node = cluster.kube.get("Node", NODE_NAME)
    assert node["status"]["declaredFeatures"] == ["ExtendWebSocketsToKubelet"]
