#!/usr/bin/env python3
"""many.py ADDRESS PORT COUNT SECONDS: COUNT concurrent TCP connections, one HTTP request on each, all
of them open before the first answer is waited for. Prints one JSON object: how many were answered,
and when the first byte came (seconds from the first connect). Runs in the node's namespace."""
import errno
import json
import resource
import selectors
import socket
import sys
import time

REQUEST = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Client:
    def __init__(self, address):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sent, self.data, self.outcome, self.first = False, b"", None, None
        result = self.sock.connect_ex(address)
        if result not in (0, errno.EINPROGRESS):
            self.outcome = errno.errorcode.get(result, str(result))

    def step(self):
        try:
            if not self.sent:
                self.sock.send(REQUEST)
                self.sent = True
                return
            piece = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.outcome = errno.errorcode.get(error.errno, str(error.errno))
            return
        if piece and self.first is None:
            self.first = time.monotonic()
        self.data += piece
        if not piece:
            good = self.data.startswith(b"HTTP/1.1 200") or self.data.startswith(b"HTTP/1.0 200")
            line = self.data.split(b"\r\n", 1)[0].decode(errors="replace")
            self.outcome = "answered" if good else f"ended: {line}"


def main():
    address, port, count, seconds = sys.argv[1], *map(int, sys.argv[2:5])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + 100), hard))
    begin = time.monotonic()
    poll = selectors.DefaultSelector()
    clients = [Client((address, port)) for _ in range(count)]
    left = 0
    for client in clients:
        if client.outcome is None:
            poll.register(client.sock, selectors.EVENT_WRITE, client)
            left += 1
    while left and (rest := begin + seconds - time.monotonic()) > 0:
        for key, _ in poll.select(rest):
            client = key.data
            client.step()
            if client.outcome is not None:
                poll.unregister(client.sock)
                client.sock.close()
                left -= 1
            elif client.sent:
                poll.modify(client.sock, selectors.EVENT_READ, client)
    outcomes = {}
    for client in clients:
        name = client.outcome or "silent"
        outcomes[name] = outcomes.get(name, 0) + 1
    firsts = [c.first - begin for c in clients if c.first is not None]
    print(json.dumps({"outcomes": outcomes, "first": min(firsts, default=None),
                      "last": max(firsts, default=None)}))


if __name__ == "__main__":
    main()
