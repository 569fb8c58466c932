"""What is done with each contender. A scenario gets a contender and the plan, and gives figures by name."""

from __future__ import annotations

import base64
import dataclasses
import os
import random
import time
from collections.abc import Callable, Iterator

import measure
from contenders import Contender
from lab import Lab, LabError
from measure import Load, cpu_seconds, cpu_times
from path import Path, path, single_interface
from search import highest_rate
from tunnel import VERN

LOSS_MOST = 0.005
RATE_CEILING = 4e6
FLOOD_RATES = {64: 500_000, 1300: 250_000}  # packets a second: far more than any tunnel carries here, less than a whole core to send
PEERS = 10_000
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Plan:
    seconds: float = 4       # of a TCP stream or a flood
    probe_seconds: float = 1.5  # of one step of a search
    pings: int = 200
    ping_interval_s: float = 0.01
    precision: float = 0.05
    attempts: int = 2


QUICK = Plan(seconds=1, probe_seconds=0.5, pings=100, ping_interval_s=0.002, precision=0.25, attempts=1)

Results = Iterator[tuple[str, str, float]]  # scenario, metric, value


@dataclasses.dataclass
class Cost:
    """CPU seconds of daemons and machine from now on."""
    pids: list[int]

    def __post_init__(self) -> None:
        self.daemons_before, self.machine_before = cpu_seconds(self.pids), cpu_times()

    def daemons(self) -> float:
        return cpu_seconds(self.pids) - self.daemons_before

    def machine(self) -> float:
        return (cpu_times() - self.machine_before).busy


def peak_memory(way: Path) -> Results:
    peaks = [measure.memory(pid)["VmHWM"] / MIB for pid in way.pids]
    if peaks:
        yield "memory", "loaded", max(peaks)
        yield "memory", "loaded both", sum(peaks)


def ping(contender: Contender, plan: Plan) -> Results:
    with path(contender) as way:
        if way.pids:
            yield "memory", "idle", max(measure.settled_memory(pid, 3) for pid in way.pids) / MIB
        idle = measure.ping(way.near, way.target, plan.pings, plan.ping_interval_s)
        yield "ping", "average", idle.average_ms
        way.serve_iperf3()
        stream = way.near.start("iperf3", "--client", way.target, "--time", 600)  # ends with the path
        time.sleep(0.5)  # slow start
        loaded = measure.ping(way.near, way.target, plan.pings, plan.ping_interval_s)
        if not stream.alive():
            raise LabError(f"the stream beside the pings ended:\n{stream.output()}")
        yield "ping", "loaded", loaded.average_ms


def tcp(contender: Contender, plan: Plan, streams: int) -> Results:
    name = f"tcp{streams}"
    with path(contender) as way:
        way.serve_iperf3()
        cost = Cost(way.pids)
        up = measure.parse_stream(measure.iperf3(way.near, way.target, plan.seconds, "--parallel", streams))
        daemons, machine = cost.daemons(), cost.machine()
        gigabytes = up.received_bytes / 1e9 or 1e-9
        yield name, "up", up.bits_per_second / 1e9
        yield name, "retransmits", up.retransmits / gigabytes
        if streams == 1:
            yield name, "machine cpu", machine / gigabytes
            if way.pids:
                yield name, "cpu", daemons / gigabytes
        down = measure.parse_stream(measure.iperf3(way.near, way.target, plan.seconds, "--parallel", streams, "--reverse"))
        yield name, "down", down.bits_per_second / 1e9
        yield from peak_memory(way)


class Loads:
    """Loads of one kind over one path: what they cost the daemons, and how much came in another order."""

    def __init__(self, way: Path, send: Callable[[float, float], Load]):
        self.way, self.send = way, send
        self.reordered = 0
        self.cpu_us: dict[float, float] = {}  # a packet that arrived, of the daemons, by rate

    def run(self, rate: float, seconds: float) -> Load:
        cost = Cost(self.way.pids)
        load = self.send(rate, seconds)
        self.reordered += load.reordered
        if self.way.pids and load.received:
            self.cpu_us[rate] = 1e6 * cost.daemons() / load.received
        return load

    def loss_free(self, plan: Plan, start: float) -> float:
        return highest_rate(lambda rate: self.run(rate, plan.probe_seconds).is_carried_at(rate, LOSS_MOST), start, RATE_CEILING,
                            plan.precision, plan.attempts)


def start_rate(flood: Load) -> float:
    """Where a search begins: below what a flood got through."""
    return max(2_000, round(flood.delivered_rate / 2, -3))


def udp(contender: Contender, plan: Plan, size: int) -> Results:
    name = f"udp{size}"
    with path(contender) as way:
        way.serve_vern_bench()
        loads = Loads(way, lambda rate, seconds: measure.vern_load(way.near, VERN, way.target, size, rate, seconds))
        flood = loads.run(FLOOD_RATES[size], plan.seconds)
        yield name, "flood offered", flood.sent_rate / 1e3
        yield name, "flood delivered", flood.delivered_rate / 1e3
        if FLOOD_RATES[size] in loads.cpu_us:
            yield name, "flood cpu", loads.cpu_us[FLOOD_RATES[size]]
        rate = loads.loss_free(plan, start_rate(flood))
        yield name, "loss-free rate", rate / 1e3
        if rate in loads.cpu_us:
            yield name, "cpu", loads.cpu_us[rate]
        yield name, "reordered", loads.reordered
        yield from peak_memory(way)


def iperf64(contender: Contender, plan: Plan) -> Results:
    with path(contender) as way:
        way.serve_iperf3()
        loads = Loads(way, lambda rate, seconds: measure.iperf3_load(way.near, way.target, 64, rate, seconds))
        flood = loads.run(0, plan.seconds)
        yield "iperf64", "flood offered", flood.sent_rate / 1e3
        yield "iperf64", "flood delivered", flood.delivered_rate / 1e3
        yield "iperf64", "loss-free rate", loads.loss_free(plan, start_rate(flood)) / 1e3


def configuration(private_key: str, port: int, count: int) -> str:
    """A wg-quick-less file of so many peers, each with a /32. Any 32 bytes are a public key."""
    dice = random.Random("peers")
    parts = [f"[Interface]\nPrivateKey = {private_key}\nListenPort = {port}\n"]
    for number in range(count):
        key = base64.b64encode(dice.randbytes(32)).decode()
        parts.append(f"[Peer]\nPublicKey = {key}\nAllowedIPs = 10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32\n")
    return "\n".join(parts)


def peers10k(contender: Contender, _plan: Plan) -> Results:
    with Lab() as lab:
        interface = single_interface(lab, contender)
        file = interface.host.write("peers.conf", configuration(interface.private, interface.port, PEERS))
        pid = interface.process.pid if contender.has_process else None
        before = measure.settled_memory(pid) if pid else 0
        begin = time.monotonic()
        interface.host.run("wg", "setconf", interface.name, file, timeout=120)
        yield "peers10k", "setconf", time.monotonic() - begin
        if pid:
            yield "peers10k", "per peer", (measure.settled_memory(pid) - before) / PEERS
        begin = time.monotonic()
        dump = interface.host.run("wg", "show", interface.name, "dump", timeout=120).stdout
        yield "peers10k", "dump", time.monotonic() - begin
        if dump.count("\n") != PEERS + 1:
            raise LabError(f"wg show dump: {dump.count(chr(10))} lines instead of {PEERS + 1}")


# Requests one after the other on one connection, for so many seconds; prints how many, and the 50th and 99th percentile in milliseconds.
CLIENT = """
import http.client, socket, sys, time
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX); self.sock.connect(sys.argv[1])
connection, times, end = Unix("vernd"), [], time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    begin = time.monotonic()
    connection.request("GET", ("/v1/peers", "/v1/interface", "/v1/whois?addr=10.77.0.1")[len(times) % 3])
    connection.getresponse().read()
    times.append(1000 * (time.monotonic() - begin))
    time.sleep(float(sys.argv[3]))
times.sort()
print(len(times), times[len(times) // 2], times[len(times) * 99 // 100])
"""


def api(contender: Contender, plan: Plan) -> Results:
    """The control API beside a stream: how long a client waits who asks now and then, and what one takes who asks in a loop."""
    with path(contender) as way:
        way.serve_iperf3()

        def beside(pause: float) -> tuple[list[float], float, float]:
            client = way.far.start("python3", "-c", CLIENT, "/run/vern/wg0.sock", plan.seconds, pause, name="client")
            before = measure.control_seconds(way.pids[1])
            stream = measure.parse_stream(measure.iperf3(way.near, way.target, plan.seconds))
            cost = measure.control_seconds(way.pids[1]) - before
            client.wait()
            return [float(word) for word in client.output().split()], stream.bits_per_second, 100 * cost / plan.seconds / len(os.sched_getaffinity(0))

        (_, median, p99), _, _ = beside(pause=0.02)
        yield "api", "median", median
        yield "api", "p99", p99
        alone = measure.parse_stream(measure.iperf3(way.near, way.target, plan.seconds))
        (count, _, _), stream, cost = beside(pause=0)
        yield "api", "requests", count / plan.seconds
        yield "api", "cpu", cost
        yield "api", "stream", 100 * stream / alone.bits_per_second


SCENARIOS: dict[str, Callable[[Contender, Plan], Results]] = {
    "ping": ping,
    "tcp1": lambda contender, plan: tcp(contender, plan, 1),
    "tcp4": lambda contender, plan: tcp(contender, plan, 4),
    "udp64": lambda contender, plan: udp(contender, plan, 64),
    "udp1300": lambda contender, plan: udp(contender, plan, 1300),
    "iperf64": iperf64,
    "peers10k": peers10k,
    "api": api,
}


def applies(scenario: str, contender: Contender) -> bool:
    return not (contender.is_bare and scenario == "peers10k") and (scenario != "api" or contender.kind == "vern")
