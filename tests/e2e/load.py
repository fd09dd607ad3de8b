#!/usr/bin/env python3
"""load.py ADDRESS PORT PER_SECOND: so many short HTTP connections a second until it is ended; then
prints one JSON object: how many were tried and how many were answered."""
import json
import signal
import socket
import sys
import time

REQUEST = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ANSWER_SECONDS = 20


def one(address):
    try:
        with socket.create_connection(address, ANSWER_SECONDS) as sock:
            sock.sendall(REQUEST)
            data = b""
            while piece := sock.recv(65536):
                data += piece
            return b" 200 " in data.split(b"\r\n", 1)[0]
    except OSError:
        return False


def main():
    address, pause = (sys.argv[1], int(sys.argv[2])), 1 / float(sys.argv[3])
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    tried = answered = 0
    print("begun", flush=True)
    while not ended:
        tried += 1
        answered += one(address)
        time.sleep(pause)
    print(json.dumps({"tried": tried, "answered": answered}))


if __name__ == "__main__":
    main()
