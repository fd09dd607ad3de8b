#!/usr/bin/env python3
"""make demo: a real control plane, the agent, a Deployment of unikernels, and what kubectl shows of
it; at the end everything is taken down and nothing may be left. Each command is printed as run.
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "e2e"))
sys.dont_write_bytecode = True

from harness import REGISTRY, ROOT, Agent, Approver, Cluster, Node  # noqa: E402

SAMPLE = os.path.join(ROOT, "manifests", "samples", "hello.yaml")


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


class Demo:
    def __init__(self, directory):
        say("starting the control plane (etcd, kube-apiserver, controller-manager, scheduler)")
        self.cluster = Cluster.up(directory)
        self.cluster.open()
        Approver(self.cluster.kube).start()
        self.agent = Agent(self.cluster, logLevel="info")
        self.node = Node(self.cluster)

    def kubectl(self, *args, check=True):
        print(f"$ kubectl {' '.join(args)}", flush=True)
        done = self.cluster.run(["kubectl", *args], check=False)
        print(done.stdout + done.stderr, end="", flush=True)
        if check and done.returncode != 0:
            sys.exit(f"demo: kubectl ended with status {done.returncode}")
        return done.stdout

    def images(self):
        say("building the guests and pushing hello:v1 to a local registry")
        out = os.path.join(ROOT, "build", "images")
        subprocess.run([os.path.join(HERE, "guests", "pack"), out], check=True)
        subprocess.run([REGISTRY, "up", self.cluster.dir], check=True, stdout=subprocess.DEVNULL)
        return self.cluster.push(f"{out}/hello:v1", "hello:v1")

    def curl(self, selector):
        ip = self.cluster.kubectl("get", "pods", "-l", selector, "-o",
                                  "jsonpath={.items[0].status.podIP}")
        print(f"$ curl http://{ip}:8080/", flush=True)
        print(self.cluster.http(f"http://{ip}:8080/"), end="", flush=True)

    def run(self):
        image = self.images()
        say("starting unikubelet")
        seconds = self.agent.start()
        print(f"Node Ready {seconds * 1000:.0f} ms after exec")
        self.kubectl("get", "nodes", "-o", "wide")
        say("a Deployment with one line more than a container's: runtimeClassName: unikernel")
        self.kubectl("apply", "-f", os.path.join(ROOT, "manifests", "runtimeclass.yaml"))
        with open(SAMPLE, encoding="utf-8") as file:
            text = file.read().replace("image: hello:v1", f"image: {image}")
        self.cluster.kubectl("apply", "-f", "-", text=text)
        self.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
        self.kubectl("get", "pods", "-o", "wide")
        self.kubectl("logs", "deployment/hello")
        self.curl("app=hello")
        for replicas in ("5", "1"):
            say(f"scale to {replicas}")
            self.kubectl("scale", "deployment/hello", f"--replicas={replicas}")
            self.cluster.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
            if replicas == "1":
                self.cluster.kubectl("wait", "deployment/hello",
                                     "--for=jsonpath={.status.replicas}=1", "--timeout=60s")
            self.kubectl("get", "deployment", "hello")
        say("delete")
        self.kubectl("delete", "deployment", "hello")
        self.cluster.kubectl("wait", "pod", "-l", "app=hello", "--for=delete", "--timeout=60s")
        self.node.check()
        print("nothing left: no process, tap, network namespace, mount, address, rule or file of a Pod")

    def end(self):
        if self.agent.running():
            self.agent.stop()
        self.cluster.close()
        self.cluster.down()


def main():
    if os.geteuid() != 0:
        sys.exit("demo: needs root for network namespaces; try: sudo make demo")
    demo = None
    with tempfile.TemporaryDirectory(prefix="unikubelet-demo-") as directory:
        try:
            demo = Demo(directory)
            demo.run()
        except BaseException:
            if demo and os.path.exists(demo.agent.log_path):
                print(f"--- the agent's log ends:\n{demo.agent.log(40)}", file=sys.stderr)
            raise
        finally:
            if demo:
                demo.end()
    say("demo: done")


main()
