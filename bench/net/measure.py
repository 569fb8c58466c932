"""What is read off the machine and off the programs that make traffic."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
import re
import time

from lab import Host, LabError

FLAGS = ("avx2", "avx512f", "avx512ifma", "vaes")
PORT = 5302


# The machine

def machine() -> dict:
    text = pathlib.Path("/proc/cpuinfo").read_text()
    fields = dict(re.findall(r"^([^:\t]+?)\s*: (.*)$", text.split("\n\n")[0], re.M))
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {"cpu": fields.get("model name", platform.machine()), "cpus": os.cpu_count(), "used_cpus": sorted(os.sched_getaffinity(0)),
            "flags": [flag for flag in FLAGS if flag in flags], "virtual": "hypervisor" in flags, "kernel": platform.release(),
            "load": os.getloadavg()[0]}


@dataclasses.dataclass
class CpuTimes:
    busy: float
    steal: float
    total: float

    def __sub__(self, other: CpuTimes) -> CpuTimes:
        return CpuTimes(self.busy - other.busy, self.steal - other.steal, self.total - other.total)

    def steal_percent(self) -> float:
        return 100 * self.steal / self.total if self.total else 0.0


def parse_cpu_times(stat: str) -> CpuTimes:
    """Of all cores, in seconds, from /proc/stat."""
    user, nice, system, idle, waiting, hard, soft, steal = (int(field) / os.sysconf("SC_CLK_TCK") for field in stat.splitlines()[0].split()[1:9])
    busy = user + nice + system + hard + soft
    return CpuTimes(busy, steal, busy + idle + waiting + steal)


def cpu_times() -> CpuTimes:
    return parse_cpu_times(pathlib.Path("/proc/stat").read_text())


# A daemon

def parse_cpu_seconds(stat: str) -> float:
    """User and system time of all threads, from /proc/PID/stat; the name before may contain anything."""
    fields = stat.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parse_memory(status: str) -> dict[str, int]:
    """{"VmRSS": bytes, "VmHWM": bytes} from /proc/PID/status."""
    return {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.M)}


def cpu_seconds(pids: list[int]) -> float:
    return sum(parse_cpu_seconds(pathlib.Path(f"/proc/{pid}/stat").read_text()) for pid in pids)


def control_seconds(pid: int) -> float:
    """Of all threads but the one that carries packets: the busiest."""
    times = sorted(parse_cpu_seconds(stat.read_text()) for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))
    return sum(times[:-1])


def memory(pid: int) -> dict[str, int]:
    return parse_memory(pathlib.Path(f"/proc/{pid}/status").read_text())


def settled_memory(pid: int, patience_s: float = 10) -> int:
    """RSS when it has not changed for a second."""
    end, last, since = time.monotonic() + patience_s, -1, time.monotonic()
    while time.monotonic() < end:
        now = memory(pid)["VmRSS"]
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since >= 1:
            break
        time.sleep(0.1)
    return last


# ping

@dataclasses.dataclass
class Ping:
    average_ms: float
    most_ms: float
    loss_percent: float


def parse_ping(output: str) -> Ping:
    times = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms", output)
    loss = re.search(r"([\d.]+)% packet loss", output)
    if not times or not loss:
        raise LabError(f"ping: no answer\n{output}")
    return Ping(float(times[2]), float(times[3]), float(loss[1]))


def ping(host: Host, target: str, count: int, interval_s: float) -> Ping:
    result = host.run("ping", "-n", "-q", "-c", count, "-i", interval_s, "-W", 2, target, check=False, timeout=count * interval_s + 60)
    return parse_ping(result.stdout)


# iperf3

def parse_iperf3(text: str) -> dict:
    try:
        report = json.loads(text)
    except ValueError:
        raise LabError(f"iperf3 printed no report: {text[:200]}") from None
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    return report["end"]


def iperf3(host: Host, target: str, seconds: float, *options: object) -> dict:
    result = host.run("iperf3", "--client", target, "--time", max(1, round(seconds)), "--json", *options, check=False, timeout=seconds * 3 + 60)
    return parse_iperf3(result.stdout)


@dataclasses.dataclass
class Stream:
    bits_per_second: float
    received_bytes: int
    retransmits: int


def parse_stream(end: dict) -> Stream:
    received, sent = end["sum_received"], end["sum_sent"]
    return Stream(received["bits_per_second"], received["bytes"], sent.get("retransmits", 0))


# UDP loads

@dataclasses.dataclass
class Load:
    """One UDP load as it left and as it arrived; rates in packets a second."""
    sent_rate: float
    delivered_rate: float
    received: int
    loss: float
    reordered: int = 0
    dropped_by_receiver: int = 0

    def is_carried_at(self, rate: float, loss_most: float) -> bool:
        """A sender that does not reach the rate has not shown that the path carries it."""
        return self.loss <= loss_most and self.sent_rate >= 0.97 * rate


def parse_iperf3_load(end: dict) -> Load:
    total = end["sum"]
    seconds, sent, lost = total["seconds"] or 1, total["packets"], total["lost_packets"]
    received = max(0, sent - lost)
    return Load(sent / seconds, received / seconds, received, lost / sent if sent else 1.0, end["streams"][0]["udp"].get("out_of_order", 0))


def iperf3_load(host: Host, target: str, size: int, rate: float, seconds: float) -> Load:
    """rate 0: as fast as iperf3 can."""
    bits = round(rate * size * 8)
    return parse_iperf3_load(iperf3(host, target, seconds, "--udp", "--length", size, "--bitrate", bits, "--window", "4M"))


def parse_load(text: str) -> Load:
    values = json.loads(text)
    return Load(values["sent_rate"], values["delivered_rate"], values["received"], values["loss"], values["reordered"], values["dropped_by_receiver"])


def vern_load(host: Host, vern: str, target: str, size: int, rate: float, seconds: float) -> Load:
    result = host.run(vern, "bench", "client", target, "--port", PORT, "--udp-size", size, "--udp-rate", rate, "--seconds", seconds,
                      timeout=seconds * 3 + 60)
    return parse_load(result.stdout)
