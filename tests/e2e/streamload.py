#!/usr/bin/env python3
"""Many log followers and port-forwards at once, straight at a node's :10250 as the API server asks.

usage: streamload.py ADDRESS PKI_DIR     (runs where the API server runs; commands on stdin)

Each command is a line of JSON, each answer another one:
  {"do": "follow", "path": "/containerLogs/...", "count": N, "reading": true}  opens N followers
  {"do": "seen", "text": T, "seconds": S}     waits until each reading follower has had a line with T
  {"do": "forward", "path": "/portForward/...", "port": P, "count": N, "want": T}
                                              N port-forwards, all open before any asks; one GET each
  {"do": "drop", "count": N}                  closes N followers, the oldest first (0: all)
The SPDY that is needed here, frames of a port-forward's client, is contract 5.6 and 5.7.
"""
import asyncio
import json
import os
import ssl
import struct
import sys
import zlib

WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url "
    "public set-cookie keep-alive origin").split()
TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 "
    "Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 "
    "Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service "
    "UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, "
    "Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,"
    "sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.")
DICTIONARY = b"".join(struct.pack(">I", len(w)) + w.replace("_", " ").encode()
                      for w in WORDS) + TAIL.encode()
SYN_STREAM, RST_STREAM, FIN = 1, 3, 1
OPEN_AT_ONCE = 32        # handshakes under way: more would only time each other out
OPEN_SECONDS = 60
LINES_KEPT = 65536       # bytes of a follower's text that are searched


class Follower:
    """GET /containerLogs with follow=true; its last text, if it reads at all."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.text = b""
        self.changed = asyncio.Condition()
        self.task = None

    def read_on(self):
        self.task = asyncio.ensure_future(self._read())

    async def _read(self):
        while data := await self.reader.read(65536):
            async with self.changed:
                self.text = (self.text + data)[-LINES_KEPT:]
                self.changed.notify_all()
        async with self.changed:
            self.text += b"(closed)"
            self.changed.notify_all()

    async def wait(self, text):
        async with self.changed:
            await self.changed.wait_for(lambda: text in self.text or b"(closed)" in self.text)
            return text in self.text

    async def close(self):
        if self.task:
            self.task.cancel()
        self.writer.transport.abort()


class Load:
    def __init__(self, address, pki):
        self.address = address
        self.tls = ssl.create_default_context(cafile=os.path.join(pki, "ca.crt"))
        self.tls.load_cert_chain(os.path.join(pki, "apiserver-kubelet-client.crt"),
                                 os.path.join(pki, "apiserver-kubelet-client.key"))
        self.followers = []
        self.opening = asyncio.Semaphore(OPEN_AT_ONCE)

    async def ask(self, method, path, headers=""):
        """A connection of its own and the answer's status and head."""
        async with self.opening:
            host, port = self.address.rsplit(":", 1)
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(host, int(port), ssl=self.tls, limit=1 << 20), OPEN_SECONDS)
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\n"
                         f"{headers}\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), OPEN_SECONDS)
        status = int(head.split(b" ")[1])
        return status, reader, writer

    async def follow(self, path, count, reading=True):
        async def one():
            status, reader, writer = await self.ask("GET", path)
            if status != 200:
                raise RuntimeError(f"{path}: status {status}: {await reader.read(300)!r}")
            return Follower(reader, writer)
        made = await asyncio.gather(*(one() for _ in range(count)))
        for follower in made:
            if reading:
                follower.read_on()
        self.followers += made
        return {"followers": len(self.followers)}

    async def seen(self, text, seconds):
        reading = [f for f in self.followers if f.task]
        done = await asyncio.wait_for(
            asyncio.gather(*(f.wait(text.encode()) for f in reading)), seconds)
        return {"seen": sum(done), "of": len(reading)}

    async def drop(self, count):
        gone = self.followers[:count or len(self.followers)]
        self.followers = self.followers[len(gone):]
        for follower in gone:
            await follower.close()
        return {"followers": len(self.followers)}

    async def forward(self, path, port, count, want):
        """All connections stand before the first asks."""
        standing = await asyncio.gather(*(Forward.open(self, path, port) for _ in range(count)))
        answers = await asyncio.gather(*(f.get() for f in standing))
        for one in standing:
            one.writer.transport.abort()
        good = sum(want.encode() in a for a in answers)
        odd = next((a[:200].decode(errors="replace") for a in answers if want.encode() not in a), "")
        return {"good": good, "of": count, "odd": odd}


class Forward:
    """One SPDY connection with one forwarded TCP connection in it: streams 1 (error), 3 (data)."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)

    @classmethod
    async def open(cls, load, path, port):
        status, reader, writer = await load.ask(
            "POST", path, "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n"
                          "X-Stream-Protocol-Version: portforward.k8s.io\r\n")
        if status != 101:
            raise RuntimeError(f"{path}: status {status}: {await reader.read(300)!r}")
        self = cls(reader, writer)
        for number, kind in ((1, "error"), (3, "data")):
            self.syn(number, {"streamtype": kind, "port": str(port), "requestid": "1"})
        self.data(1, b"", FIN)
        return self

    def syn(self, number, headers):
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for word in (name, value):
                block += struct.pack(">I", len(word)) + word.encode()
        block = self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = struct.pack(">IIBB", number, 0, 0, 0) + block
        self.writer.write(struct.pack(">HHI", 0x8003, SYN_STREAM, len(payload)) + payload)

    def data(self, number, data, flags=0):
        self.writer.write(struct.pack(">II", number, flags << 24 | len(data)) + data)

    async def get(self):
        """What stream 3 brings for a GET of /, and what stream 1 says went wrong."""
        self.data(3, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await self.writer.drain()
        got = b""
        while True:
            first, second = struct.unpack(">II", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(second & 0xFFFFFF)
            if first >> 31:
                if first & 0xFFFF == RST_STREAM:
                    return got + b" (reset)"
                continue
            got += payload
            if first == 3 and second >> 24 & FIN:
                return got


async def main():
    load = Load(sys.argv[1], sys.argv[2])
    lines = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        try:
            answer = await getattr(load, order.pop("do"))(**order)
        except (OSError, RuntimeError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
