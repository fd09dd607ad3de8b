#!/usr/bin/env python3
"""Traffic with the guests of the tests, run inside a network namespace; prints one JSON object.

  traffic.py sink IP BYTES            a stream to port 9000, whose length and CRC-32 come back
  traffic.py source IP BYTES          a stream from port 9001
  traffic.py udp IP COUNT SIZE        datagrams to the echo on port 7, one after the other
  traffic.py short IP PORT COUNT AT_A_TIME   connections of one HTTP request each
  traffic.py latency IP COUNT         round trips of small datagrams, microseconds
  traffic.py fetch IP HOST PORT PATH  what the guest gets there by HTTP (port 9002)
  traffic.py serve                    ports 7, 9000 and 9001 of a guest
  traffic.py take PORT | give PORT BYTES     one TCP connection that the guest opens; SHA-256
  traffic.py checksums INTERFACE      of every TCP and UDP packet seen until standard input ends

Guests of several kinds answer on these ports: see tests/guests.
"""
import asyncio
import hashlib
import json
import os
import random
import socket
import struct
import sys
import threading
import time
import zlib

PERIOD = 251
SECONDS = 300  # for a machine under load; nothing waits so long that is not broken
ETH_P_ALL, PACKET_OUTGOING, SOL_PACKET, PACKET_AUXDATA = 3, 4, 263, 8
CSUM_NOT_READY = 8  # TP_STATUS_CSUMNOTREADY: the kernel will still compute it


def pattern(size):
    return (bytes(range(PERIOD)) * (size // PERIOD + 1))[:size]


def connect(ip, port):
    return socket.create_connection((ip, port), SECONDS)


def read_all(sock):
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


def sink(ip, size):
    data = random.Random(size).randbytes(int(size))
    begin = time.monotonic()
    with connect(ip, 9000) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock).decode().split()
    seconds = time.monotonic() - begin
    expected = [str(len(data)), f"{zlib.crc32(data):08x}"]
    return {"same": answer == expected, "answer": answer, "seconds": seconds}


def source(ip, size):
    begin = time.monotonic()
    with connect(ip, 9001) as sock:
        sock.sendall(f"{size}\n".encode())
        data = read_all(sock)
    seconds = time.monotonic() - begin
    return {"same": data == pattern(int(size)), "bytes": len(data), "seconds": seconds}


def udp(ip, count, size):
    good = 0
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect((ip, 7))
        for i in range(int(count)):
            data = random.Random(i).randbytes(int(size))
            sock.send(data)
            good += sock.recv(65536) == data
    return {"good": good}


def latency(ip, count):
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect((ip, 7))
        for _ in range(int(count)):
            begin = time.perf_counter_ns()
            sock.send(b"ping")
            sock.recv(64)
            times.append((time.perf_counter_ns() - begin) / 1000)
    times.sort()
    return {"median_us": times[len(times) // 2], "p99_us": times[len(times) * 99 // 100]}


async def short_all(ip, port, count, at_a_time):
    left, good, errors = iter(range(count)), 0, {}

    async def client():
        nonlocal good
        for _ in left:
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), SECONDS)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                data = await asyncio.wait_for(reader.read(), SECONDS)
                writer.close()
                good += data.startswith(b"HTTP/1.1 200")
            except (OSError, asyncio.TimeoutError) as error:
                errors[repr(error)] = errors.get(repr(error), 0) + 1
    begin = time.monotonic()
    await asyncio.gather(*(client() for _ in range(at_a_time)))
    return {"good": good, "errors": errors, "seconds": time.monotonic() - begin}


def short(ip, port, count, at_a_time):
    return asyncio.run(short_all(ip, int(port), int(count), int(at_a_time)))


def fetch(ip, host, port, path):
    with connect(ip, 9002) as sock:
        sock.sendall(f"{host} {port} {path}\n".encode())
        return {"text": read_all(sock).decode(errors="replace")}


def serve():
    """The ports of a guest, in a process."""
    crc_of, echo = {9000: True, 9001: False}, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    echo.bind(("", 7))

    def talk(sock, is_sink):
        with sock:
            if is_sink:
                data = read_all(sock)
                sock.sendall(f"{len(data)} {zlib.crc32(data):08x}\n".encode())
            else:
                sock.sendall(pattern(int(sock.recv(64))))

    def accept(port, is_sink):
        server = socket.create_server(("", port))
        while True:
            talk(server.accept()[0], is_sink)
    for port, is_sink in crc_of.items():
        threading.Thread(target=accept, args=(port, is_sink), daemon=True).start()
    print("ready", flush=True)
    while True:
        data, address = echo.recvfrom(65536)
        echo.sendto(data, address)


def accept_one(port):
    server = socket.create_server(("", int(port)))
    server.settimeout(SECONDS)
    print("ready", flush=True)
    return server.accept()[0]


def take(port):
    with accept_one(port) as sock:
        data = read_all(sock)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def give(port, size):
    data = random.Random(size).randbytes(int(size))
    with accept_one(port) as sock:
        sock.sendall(data)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def ones(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def verify(frame):
    """True or False for a whole TCP or UDP packet with a checksum, None for anything else."""
    kind = struct.unpack("!H", frame[12:14])[0]
    packet = frame[14:]
    if kind == 0x0800:
        head = (packet[0] & 15) * 4
        total, fragment = struct.unpack("!H2xH", packet[2:8])
        protocol, addresses = packet[9], packet[12:20]
        if fragment & 0x3fff or ones(packet[:head]) != 0xffff:
            return False if not fragment & 0x3fff else None
        body = packet[head:total]
    elif kind == 0x86dd:
        total, protocol, addresses, head = 0, packet[6], packet[8:40], 40
        body = packet[40:40 + struct.unpack("!H", packet[4:6])[0]]
    else:
        return None
    if protocol not in (6, 17) or (protocol == 17 and body[6:8] == b"\0\0"):
        return None
    pseudo = addresses + struct.pack("!IHBB", len(body), 0, 0, protocol)
    return ones(pseudo + body) == 0xffff


def checksums(interface):
    """in: from the interface, out: into it; partial: the kernel has not computed it yet."""
    counts = {d: {"good": 0, "bad": 0, "partial": 0, "lengths": 0} for d in ("in", "out")}
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    sock.bind((interface, ETH_P_ALL))
    sock.settimeout(0.2)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print("ready", flush=True)
    while True:
        try:
            frame, extra, _, address = sock.recvmsg(70000, 256)
        except socket.timeout:
            if ended.is_set():
                return counts
            continue
        fine = verify(frame)
        if fine is None:
            continue
        count = counts["out" if address[2] == PACKET_OUTGOING else "in"]
        status = struct.unpack("I", extra[0][2][:4])[0] if extra else 0
        if not fine and status & CSUM_NOT_READY:
            count["partial"] += 1
        else:
            count["good" if fine else "bad"] += 1
        count["lengths"] = max(count["lengths"], len(frame))


COMMANDS = {f.__name__: f for f in (sink, source, udp, latency, short, fetch, serve, take,
                                    give, checksums)}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])), flush=True)
    os._exit(0)  # the thread that reads standard input may still wait
