"""A token server for the registry's bearer flow (distribution's token specification).

  tokens.py KEY CERT PORT LOG

User test with password secret may pull and push everything; nobody may pull what is under public/.
Each request is a line in LOG, so that a test can see what a client asked for. Tests only.
"""
import base64
import http.server
import json
import subprocess
import sys
import time
import urllib.parse

KEY, CERT, PORT, LOG = sys.argv[1:5]
LIFE_SECONDS = 300


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def certificate():
    with open(CERT, encoding="ascii") as file:
        lines = [line.strip() for line in file if "CERTIFICATE" not in line]
    return "".join(lines)


def granted(scope, user):
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    if user == "test":
        allowed = actions.split(",")
    else:
        allowed = ["pull"] if name.startswith("public/") and "pull" in actions.split(",") else []
    return {"type": kind, "name": name, "actions": allowed}


def token(scopes, user, service):
    now = int(time.time())
    header = {"typ": "JWT", "alg": "RS256", "x5c": [certificate()]}
    claims = {"iss": "test-issuer", "sub": user, "aud": service, "nbf": now - 10, "iat": now,
              "exp": now + LIFE_SECONDS, "jti": str(now),
              "access": [granted(scope, user) for scope in scopes]}
    text = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", KEY], input=text.encode(),
                            capture_output=True, check=True)
    return f"{text}.{encode(signed.stdout)}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"),
                            ("Content-Length", str(len(data))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):  # pylint: disable=invalid-name
        url = urllib.parse.urlsplit(self.path)
        if url.path != "/token":
            self.answer(404, {"errors": [{"code": "NOT_FOUND"}]})
            return
        query = urllib.parse.parse_qs(url.query)
        user = ""
        if given := self.headers.get("Authorization"):
            if given != "Basic " + base64.b64encode(b"test:secret").decode():
                error = {"code": "UNAUTHORIZED", "message": "wrong password"}
                self.answer(401, {"errors": [error]},
                            (("WWW-Authenticate", 'Basic realm="test"'),))
                return
            user = "test"
        scopes = [s for one in query.get("scope", []) for s in one.split(" ") if s]
        signed = token(scopes, user, query.get("service", [""])[0])
        self.answer(200, {"token": signed, "expires_in": LIFE_SECONDS})

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        with open(LOG, "a", encoding="utf-8") as log:
            log.write(format % args + "\n")


http.server.ThreadingHTTPServer(("", int(PORT)), Handler).serve_forever()
