"""What is measured: every figure's name, unit and better side; the samples of a run; medians, spreads and ratios."""

from __future__ import annotations

import dataclasses
import statistics

FORMAT = "vern-bench-1"


@dataclasses.dataclass(frozen=True)
class Metric:
    title: str
    unit: str
    higher_is_better: bool | None  # None: for information, not compared


METRICS = {
    ("ping", "average"): Metric("ping, idle, average", "ms", False),
    ("ping", "loaded"): Metric("ping beside a TCP stream, average", "ms", False),
    ("tcp1", "up"): Metric("TCP, 1 stream", "Gb/s", True),
    ("tcp1", "down"): Metric("TCP, 1 stream, reverse", "Gb/s", True),
    ("tcp1", "cpu"): Metric("CPU of both daemons, 1 stream", "s/GB", False),
    ("tcp1", "machine cpu"): Metric("CPU of the machine, 1 stream", "s/GB", False),
    ("tcp1", "retransmits"): Metric("TCP retransmits, 1 stream", "per GB", False),
    ("tcp4", "up"): Metric("TCP, 4 streams", "Gb/s", True),
    ("tcp4", "down"): Metric("TCP, 4 streams, reverse", "Gb/s", True),
    ("tcp4", "retransmits"): Metric("TCP retransmits, 4 streams", "per GB", False),
    **{(f"udp{size}", name): Metric(f"UDP {size} B, {title}", unit, better) for size in (64, 1300) for name, title, unit, better in (
        ("loss-free rate", "highest rate with <= 0.5 % loss", "kpps", True),
        ("cpu", "CPU of both daemons at that rate", "us/packet", False),
        ("flood delivered", "delivered when flooded", "kpps", True),
        ("flood cpu", "CPU of both daemons when flooded", "us/packet", False),
        ("flood offered", "offered in the flood", "kpps", None),
        ("reordered", "reordered", "packets", False))},
    ("iperf64", "loss-free rate"): Metric("iperf3 -u -l 64, highest rate with <= 0.5 % loss", "kpps", True),
    ("iperf64", "flood delivered"): Metric("iperf3 -u -l 64 -b 0, delivered", "kpps", True),
    ("iperf64", "flood offered"): Metric("iperf3 -u -l 64 -b 0, offered", "kpps", None),
    ("memory", "idle"): Metric("RSS of a daemon, idle", "MiB", False),
    ("memory", "loaded"): Metric("peak RSS of a daemon, under load", "MiB", False),
    ("memory", "loaded both"): Metric("peak RSS of both daemons, under load", "MiB", False),
    ("peers10k", "per peer"): Metric("RSS per idle peer, of 10,000", "B", False),
    ("peers10k", "setconf"): Metric("wg setconf of 10,000 peers", "s", False),
    ("peers10k", "dump"): Metric("wg show dump of 10,000 peers", "s", False),
    ("api", "median"): Metric("control API beside a TCP stream, 50 requests/s, median", "ms", False),
    ("api", "p99"): Metric("control API beside a TCP stream, 50 requests/s, 99th percentile", "ms", False),
    ("api", "requests"): Metric("control API beside a TCP stream, one client in a loop", "requests/s", True),
    ("api", "cpu"): Metric("CPU of the daemon's control threads beside that loop, of all CPUs", "%", False),
    ("api", "stream"): Metric("TCP stream beside that loop, of the stream alone", "%", True),
}


@dataclasses.dataclass
class Sample:
    contender: str
    scenario: str
    metric: str
    round: int
    value: float
    steal_percent: float = 0.0


@dataclasses.dataclass(frozen=True)
class Spread:
    median: float
    least: float
    most: float
    count: int


def spread(values: list[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values), len(values)) if values else None


class Figures:
    """The samples of a run."""

    def __init__(self, samples: list[Sample] | None = None):
        self.samples = samples or []

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)

    def by_round(self, contender: str, scenario: str, metric: str) -> dict[int, float]:
        """One value a round: of a peak that several scenarios have seen, the highest."""
        values: dict[int, float] = {}
        for s in self.samples:
            if (s.contender, s.scenario, s.metric) == (contender, scenario, metric):
                values[s.round] = max(s.value, values.get(s.round, s.value))
        return values

    def spread(self, contender: str, scenario: str, metric: str) -> Spread | None:
        return spread(list(self.by_round(contender, scenario, metric).values()))

    def ratio(self, contender: str, other: str, scenario: str, metric: str) -> Spread | None:
        """contender / other, made within each round, so that what changes on the machine meets both."""
        mine, theirs = (self.by_round(name, scenario, metric) for name in (contender, other))
        return spread([mine[number] / theirs[number] for number in mine if theirs.get(number)])

    def best(self, names: list[str], scenario: str, metric: str) -> str | None:
        """Who of them has the best median."""
        medians = {name: found.median for name in names if (found := self.spread(name, scenario, metric))}
        if not medians:
            return None
        choose = max if METRICS[scenario, metric].higher_is_better else min
        return choose(medians, key=medians.__getitem__)

    def keys(self) -> list[tuple[str, str]]:
        """Measured figures, in the table's order."""
        there = {(s.scenario, s.metric) for s in self.samples}
        return [key for key in METRICS if key in there]

    def contenders(self) -> list[str]:
        return list(dict.fromkeys(s.contender for s in self.samples))

    def to_json(self) -> list[dict]:
        groups: dict[tuple[str, str, str], list[Sample]] = {}
        for sample in self.samples:
            groups.setdefault((sample.contender, sample.scenario, sample.metric), []).append(sample)
        return [{"contender": contender, "scenario": scenario, "metric": metric, "unit": METRICS[scenario, metric].unit,
                 "samples": [s.value for s in group], "rounds": [s.round for s in group],
                 "steal_percent": [round(s.steal_percent, 2) for s in group]} for (contender, scenario, metric), group in groups.items()]

    @classmethod
    def from_json(cls, results: list[dict]) -> Figures:
        """Also of `vern bench client --json`, whose figures of its own kind are left out."""
        return cls([Sample(result["contender"], result["scenario"], result["metric"], number, value, steal)
                    for result in results if (result["scenario"], result["metric"]) in METRICS
                    for number, value, steal in zip(result.get("rounds", range(len(result["samples"]))), result["samples"],
                                                    result.get("steal_percent", [0.0] * len(result["samples"])))])
