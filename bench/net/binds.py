"""What `run bench identity` measures: binds, whole. Peers, each in a tunnel of its own, prove who they are to one daemon: from an
invitation over HTTP to the answer that says that the peer is bound, with rules for all of them.

    python3 bench/net/binds.py [--kind ssh|x509] [--peers N] [--at-once N] [--cpu N] [--rounds N]

The daemon has one CPU, which the peers' side (identity_load) leaves to it. The first round binds; the others renew what is bound.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "net"))

from lab import Lab, wait_until  # noqa: E402
from tunnel import SUBJECT, VERN, Interface  # noqa: E402

LOAD = os.environ.get("IDENTITY_LOAD", str(HERE.parents[1] / "build" / "bench" / "identity_load"))
POLICY = """version = 1
[[rule]]
id = "proofs"
in = {}
allow = ["tcp/51821"]
[[rule]]
id = "ssh-for-dba"
in = { from = ["ssh:principal=dba;ca=corp", "x509:ou=DBA"] }
allow = ["tcp/22"]
"""


def cpu_us(pid: int) -> dict[str, float]:
    """CPU time of each thread of a process by name, from the scheduler's own account."""
    threads: dict[str, float] = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = f"{(task / 'comm').read_text().strip()}/{task.name}"
        threads[name] = int((task / "schedstat").read_text().split()[0]) / 1000
    return threads


def only_on(pid: int, cpu: int) -> None:
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})


class Load:
    """identity_load on a host, and what it is told and says."""

    def __init__(self, host, *argv):
        self.process = host.start(LOAD, *argv, name="identity_load", stdin=subprocess.PIPE)

    def says(self, number: int, timeout: float = 300) -> str:
        """The line of that number, when it is there."""
        def line():
            lines = self.process.output().splitlines(keepends=True)
            assert self.process.alive(), self.process.output()
            return len(lines) > number and lines[number].endswith("\n") and lines[number]
        return wait_until(line, "identity_load", timeout=timeout).strip()

    def go(self) -> None:
        self.process.popen.stdin.write("go\n")
        self.process.popen.stdin.flush()


def measure(kind: str, peers: int, at_once: int, cpu: int, rounds: int) -> list[dict]:
    with Lab() as lab:
        internet = lab.internet()
        db, farm = internet.host("db"), internet.host("farm")
        interface = Interface(db, SUBJECT, addresses=["10.100.0.1/24"])
        db.ip("route", "add", "10.200.0.0/16", "dev", interface.name)
        load = Load(farm, kind, peers, at_once, interface.public, f"{db.v4}:{interface.port}", farm.directory)
        load.says(0)
        farm.ip("link", "set", "farm0", "mtu", "1420", "txqueuelen", "10000", "up")
        farm.ip("route", "add", "10.100.0.1/32", "dev", "farm0")
        farm.ip("route", "add", "local", "10.200.0.0/16", "dev", "lo")
        db.run(VERN, "policy", "apply", db.write("policy.toml", POLICY))
        db.run(VERN, "trust", kind, "add", farm.directory / "ca", "--name", "corp")
        interface.wg("addconf", interface.name, farm.directory / "peers.conf")
        load.go()
        load.says(1)  # sessions are there; they last for two minutes
        pid = interface.process.pid
        others = [one for one in os.sched_getaffinity(0) if one != cpu]
        only_on(pid, cpu)
        if others:
            only_on(load.process.pid, others[0])
        results = []
        for number in range(rounds):
            before, peers_before = cpu_us(pid), sum(cpu_us(load.process.pid).values())
            load.go()
            text = load.says(2 + number)
            assert text.startswith("{"), load.process.output()
            result = json.loads(text)
            used = {name: spent - before.get(name, 0) for name, spent in cpu_us(pid).items()}
            bound = result["bound"] or 1
            peers_used = sum(cpu_us(load.process.pid).values()) - peers_before
            result.update(kind=kind, peers=peers, round=number + 1, binds_a_second=result["bound"] / result["seconds"],
                          cpu_us=sum(used.values()) / bound, peers_cpu_us=peers_used / bound,
                          threads_us={name: round(spent / bound, 1) for name, spent in used.items() if spent / bound >= 1})
            results.append(result)
        return results


def main() -> None:
    parser = argparse.ArgumentParser(description="binds a second, whole, of a daemon on one CPU")
    parser.add_argument("--kind", choices=("ssh", "x509"), action="append")
    parser.add_argument("--peers", type=int, action="append", help="how many, each of whom is bound once a round")
    parser.add_argument("--at-once", type=int, default=64, help="how many of them at the same time")
    parser.add_argument("--cpu", type=int, default=0, help="the daemon's")
    parser.add_argument("--rounds", type=int, default=2, help="the first binds, the others renew")
    options = parser.parse_args()
    for kind in options.kind or ("ssh", "x509"):
        for peers in options.peers or (1_000, 10_000):
            for result in measure(kind, peers, options.at_once, options.cpu, options.rounds):
                what = "bound" if result["round"] == 1 else "renewed"
                print(f"{kind} {peers:6} {what:8} {result['bound']:6}: {result['binds_a_second']:6.0f} a second, {result['cpu_us']:5.0f} us of CPU each (the peers' side {result['peers_cpu_us']:.0f}); "
                      f"median {result['median_ms']:.1f} ms, 99th percentile {result['percentile99_ms']:.1f} ms"
                      + (f"; not bound: {result['others']}" if result["others"] else ""), flush=True)
                print(f"    by thread: {result['threads_us']}", flush=True)


if __name__ == "__main__":
    main()
