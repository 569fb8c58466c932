"""Two hosts on one wire, and a tunnel of one contender between them: fresh for every measurement, gone after it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from contenders import Contender
from lab import Host, Lab, LabError, wait_until
from measure import PORT
from tunnel import VERN, Interface, join

MTU = 1420  # of every tunnel, whatever a program takes by itself


@dataclasses.dataclass
class Path:
    """From `near` to `target`, an address of `far`'s."""
    near: Host
    far: Host
    target: str
    pids: list[int]  # of the daemons at both ends; empty without

    def serve_iperf3(self) -> None:
        self.far.iperf3_server()

    def serve_vern_bench(self) -> None:
        server = self.far.start(VERN, "bench", "server", self.target, "--port", PORT)
        wait_until(lambda: self.far.listening(PORT) or not server.alive(), "vern bench server")
        if not server.alive():
            raise LabError(server.output())


def wired_hosts(lab: Lab) -> tuple[Host, Host]:
    hosts = []
    for number, name in enumerate(("near", "far"), 1):
        host = Host(lab, name)
        lab.hosts.append(host)
        host.v4 = f"192.0.2.{number}"
        hosts.append(host)
    near, far = hosts
    near.wire("eth0", far, "eth0")
    for host in hosts:
        host.address("eth0", f"{host.v4}/24")
        host.ip("link", "set", "eth0", "up")
    return near, far


def single_interface(lab: Lab, contender: Contender) -> Interface:
    """One host, one daemon, no peers."""
    host = Host(lab, "alone")
    lab.hosts.append(host)
    return Interface(host, contender.implementation)


def process_ids(contender: Contender, *interfaces: Interface) -> list[int]:
    return [interface.process.pid for interface in interfaces] if contender.has_process else []


@contextlib.contextmanager
def path(contender: Contender) -> Iterator[Path]:
    with Lab() as lab:
        near, far = wired_hosts(lab)
        if contender.is_bare:
            yield Path(near, far, far.v4, [])
            return
        ends = [Interface(host, contender.implementation, addresses=[f"10.77.0.{number}/24"], mtu=MTU) for number, host in enumerate((near, far), 1)]
        join(*ends)
        near.ping(ends[1].addresses[0])  # the handshake is none of what is measured
        if contender.prepare:
            contender.prepare(ends)
        yield Path(near, far, ends[1].addresses[0], process_ids(contender, *ends))
