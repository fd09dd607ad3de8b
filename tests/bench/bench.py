#!/usr/bin/env python3
"""make bench: measures the agent against its peers in the same run.

  bench.py [ROW...]     measure these rows (all), print the table, write build/bench.json
  bench.py --readme     write the table of build/bench.json between the README's bench markers

Rows and targets: 1 latency, 2 burst, 3 real guests, 5 memory, 6 shim, 7 CPU, 8 idle, 9 API calls,
10 logs, 11 metrics, 12 start, 13 kill -9, 15 a Service at zero, 16 the path after its wake,
18 a guest's network. The null kubelet is a client that answers each Pod at once: the API server's
own floor. Rows that are not measured keep their last values in build/bench.json.
"""
import argparse
import json
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

ROOT = os.path.dirname(os.path.dirname(HERE))
JSON = os.path.join(ROOT, "build", "bench.json")
README = os.path.join(ROOT, "README.md")
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
ROWS = (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 18)


class Report:
    """What was measured, in the order of the rows."""

    def __init__(self):
        self.entries = []

    def add(self, row, metric, value, unit, peer=None, peer_value=None, target=None, met=None):
        """A number as target is the most that the value may be."""
        if met is None and isinstance(target, (int, float)):
            met = value <= target
            target = f"<= {number(target)}"
        self.entries.append({"row": row, "metric": metric, "value": round(value, 4), "unit": unit,
                             "peer": peer, "peer_value": peer_value and round(peer_value, 4),
                             "target": target, "met": met})
        line = f"{number(value)} {unit}"
        if peer:
            line += f" ({peer}: {number(peer_value)})"
        if target:
            line += f", target {target}: {'met' if met else 'MISSED'}"
        print(f"bench:   row {row}: {metric}: {line}", flush=True)

    def merge(self, old, measured):
        kept = [e for e in old if e["row"] not in measured]
        self.entries = sorted(kept + self.entries, key=lambda e: e["row"])


def number(value):
    if value is None:
        return ""
    if value == int(value):
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(entries):
    lines = ["| # | what | value | peer in the same run | target | met |",
             "|---|---|---|---|---|---|"]
    for e in entries:
        peer = f"{e['peer']}: {number(e['peer_value'])} {e['unit']}" if e["peer"] else ""
        if e["peer"] and e["peer_value"]:
            peer += f" ({e['value'] / e['peer_value']:.2f}x)"
        met = {True: "yes", False: "**no**", None: ""}[e["met"]]
        lines.append(f"| {e['row']} | {e['metric']} | {number(e['value'])} {e['unit']} | {peer} | "
                     f"{e['target'] or ''} | {met} |")
    return "\n".join(lines) + "\n"


def load():
    try:
        with open(JSON, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return []


def write_readme():
    entries = load()
    if not entries:
        sys.exit("bench: there is no build/bench.json; run make bench first")
    try:
        with open(README, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        sys.exit("bench: there is no README.md")
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        print(f"bench: README.md has no {BEGIN} and {END}: left alone")
        return
    text = f"{text[:begin + len(BEGIN)]}\n{table(entries)}{text[end:]}"
    with open(README, "w", encoding="utf-8") as file:
        file.write(text)


def measure(wanted):
    from rig import Rig, say
    from rows import run_fake
    from guests import run_guests
    from zero import run_zero
    from logs import run_logs
    from net import run_net
    report, rig, begin = Report(), None, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="unikubelet-bench-") as directory:
        try:
            rig = Rig(directory)
            run_fake(rig, report, wanted)
            run_logs(rig, report, wanted)
            run_guests(rig, report, wanted)
            run_zero(rig, report, wanted)
            run_net(rig, report, wanted)
        except BaseException:
            if rig and rig.agent and os.path.exists(rig.agent.log_path):
                print(f"--- the agent's log ends:\n{rig.agent.log(40)}", file=sys.stderr)
            raise
        finally:
            if rig:
                rig.close()
    say(f"measured in {time.monotonic() - begin:.0f} s")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", type=int, metavar="ROW")
    parser.add_argument("--readme", action="store_true")
    args = parser.parse_args()
    if set(args.rows) - set(ROWS):
        parser.error(f"rows are {', '.join(map(str, ROWS))}")
    if args.readme:
        write_readme()
        return
    if os.geteuid() != 0:
        sys.exit("bench: needs root for network namespaces; try: sudo make bench")
    wanted = set(args.rows or ROWS)
    report = measure(wanted)
    report.merge(load(), wanted)
    with open(JSON, "w", encoding="utf-8") as file:
        json.dump(report.entries, file, indent=1)
        file.write("\n")
    print(table(report.entries))


if __name__ == "__main__":
    main()
