"""Images of a registry that does not exist, from mirrors of a hosts.toml: the real registry, plainly
and behind TLS with a CA of the operator's; edited while the agent runs."""
import os
import ssl
import subprocess
import sys

from harness import NODE, NODE_IP, REGISTRY_ADDRESS, TOKEN_REGISTRY

TLS_PORT = 5443
NOBODY = f"{NODE_IP}:5998"  # nothing listens there
# Hands each connection on to the registry, once it is out of TLS.
TLS_PROXY = """
import asyncio, ssl, sys
port, cert, key, to = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def serve(reader, writer):
    there, back = await asyncio.open_connection("127.0.0.1", to)
    await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(serve, "0.0.0.0", port, ssl=context)
    print("listening", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def hosts(agent, registry, text, files=()):
    directory = os.path.join(agent.config["registryConfigDir"], registry)
    os.makedirs(directory, exist_ok=True)
    for name, data in files:
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(data)
    with open(os.path.join(directory, "hosts.toml"), "w", encoding="utf-8") as file:
        file.write(text)


def test_images_from_a_mirror_without_the_registry(space, agent):
    hosts(agent, "gone.invalid", f"""
[host."http://{NOBODY}"]
[host."http://{REGISTRY_ADDRESS}"]
  capabilities = ["pull", "resolve"]
  client = "ignored.pem"
""")
    space.pod("mirrored", "gone.invalid/hello:v1")
    assert "hello from" in space.http(space.ready("mirrored"))
    assert agent.log().count("ignored: client") == 1
    # Credentials of nobody: a mirror that wants them is passed over, and all are told.
    hosts(agent, "gone.invalid", f'[host."http://{NOBODY}"]\n[host."http://{TOKEN_REGISTRY}"]\n')
    space.pod("refused", "gone.invalid/hello:v2")
    message = space.wait_event("refused", "Failed", f"({NOBODY}: ")
    assert f"{TOKEN_REGISTRY}: " in message and "gone.invalid: " in message, message


def test_images_by_hosts_file_that_is_wrong_and_then_mended(space, agent):
    hosts(agent, "wrong.invalid", '[host."https://a"]\ncapabilities = "pull"\n')
    space.pod("wrong", "wrong.invalid/hello:v1")
    space.wait_event("wrong", "Failed",
                     "wrong.invalid/hosts.toml:2: capabilities must be a list of strings")
    space.pod("other", space.guests["hello"])
    space.ready("other")
    hosts(agent, "wrong.invalid", f'[host."http://{REGISTRY_ADDRESS}"]\n')
    assert "hello from" in space.http(space.ready("wrong", seconds=120))


def test_images_from_a_mirror_with_a_ca_of_its_own(space, agent, cluster, tmp_path):
    cert, key = tmp_path / "mirror.crt", tmp_path / "mirror.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=mirror", "-addext", f"subjectAltName=IP:{NODE_IP}",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    assert ssl.PEM_cert_to_DER_cert(cert.read_text())
    proxy = cluster.popen([sys.executable, "-c", TLS_PROXY, str(TLS_PORT), str(cert), str(key),
                           REGISTRY_ADDRESS.rpartition(":")[2]], NODE, stdout=subprocess.PIPE,
                          text=True)
    try:
        assert proxy.stdout.readline() == "listening\n"
        mirror = f'[host."https://{NODE_IP}:{TLS_PORT}"]\n'
        hosts(agent, "stranger.invalid", mirror)
        hosts(agent, "verified.invalid", mirror + 'ca = "mirror.crt"\n',
              [("mirror.crt", cert.read_text())])
        hosts(agent, "trusting.invalid", mirror + "skip_verify = true\n")
        for name in ("stranger", "verified", "trusting"):
            space.pod(name, f"{name}.invalid/hello:v1")
        message = space.wait_event("stranger", "Failed", f"({NODE_IP}:{TLS_PORT}: ")
        assert "certificate" in message, message
        for name in ("verified", "trusting"):
            assert "hello from" in space.http(space.ready(name))
    finally:
        proxy.kill()
        proxy.wait()
        proxy.stdout.close()
