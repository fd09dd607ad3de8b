#!/usr/bin/env python3
"""request_loop.py ADDRESS...: asks each http://ADDRESS:8080/ again and again, one connection a
request, until SIGTERM; then prints {"requests": N, "failures": [...]}. A line "started" on stdout
says that each address has answered once. Bounded by SECONDS_MAX and by its pause."""
import http.client
import json
import signal
import sys
import threading

SECONDS_MAX = 600
TIMEOUT = 20  # of one request: the machine may be busy
PAUSE = 0.05  # between two requests to one address
FAILURES_SHOWN = 20


def ask(address):
    connection = http.client.HTTPConnection(address, 8080, timeout=TIMEOUT)
    try:
        connection.request("GET", "/")
        reply = connection.getresponse()
        reply.read()
        if reply.status != 200:
            raise OSError(f"status {reply.status}")
    finally:
        connection.close()


class Loop(threading.Thread):
    def __init__(self, address, end):
        super().__init__(daemon=True)
        self.address, self.end = address, end
        self.requests, self.failures = 0, []
        self.first = threading.Event()

    def run(self):
        while not self.end.is_set():
            try:
                ask(self.address)
                self.requests += 1
                self.first.set()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{self.address}: {error!r}")
            self.end.wait(PAUSE)


def main():
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    loops = [Loop(address, end) for address in sys.argv[1:]]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.first.wait(SECONDS_MAX)
    print("started", flush=True)
    end.wait(SECONDS_MAX)
    end.set()
    for loop in loops:
        loop.join(TIMEOUT + 1)
    failures = [text for loop in loops for text in loop.failures]
    print(json.dumps({"requests": sum(loop.requests for loop in loops),
                      "least": min(loop.requests for loop in loops),
                      "failures": failures[:FAILURES_SHOWN]}))


if __name__ == "__main__":
    main()
