"""What a run has found, for people (Markdown, which reads as plain text too) and for programs (JSON)."""

from __future__ import annotations

import dataclasses
import statistics

from figures import FORMAT, METRICS, Figures, Spread

NO_FIGURE = "-"


@dataclasses.dataclass
class Report:
    machine: dict
    contenders: list[dict]  # name, version, kind, and what vern says of itself
    figures: Figures
    unmeasured: list[dict]  # what, why
    rounds: int

    def to_json(self) -> dict:
        return {"format": FORMAT, "machine": self.machine, "rounds": self.rounds, "contenders": self.contenders,
                "results": self.figures.to_json(), "unmeasured": self.unmeasured}

    @classmethod
    def from_json(cls, values: dict) -> Report:
        if values.get("format") != FORMAT:
            raise ValueError(f"not a report of this benchmark ({FORMAT})")
        return cls(values["machine"], values["contenders"], Figures.from_json(values["results"]), values["unmeasured"], values.get("rounds", 0))

    def names(self, kind: str) -> list[str]:
        measured = self.figures.contenders()
        return [contender["name"] for contender in self.contenders if contender.get("kind", "vern") == kind and contender["name"] in measured]

    def vern(self) -> str | None:
        """The engine that ratios are made with: the first one, which is what vernd takes by itself."""
        return next(iter(self.names("vern")), None)

    def all_names(self) -> list[str]:
        return self.names("vern") + self.names("peer") + self.names("floor")


def number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.{2 if abs(value) >= 1 else 3}f}"


def cell(found: Spread | None, suffix: str = "") -> str:
    if found is None:
        return NO_FIGURE
    if found.count == 1:
        return f"{number(found.median)}{suffix}"
    return f"{number(found.median)}{suffix} ({number(found.least)}..{number(found.most)})"


def table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |" for line in lines)


def title(key: tuple[str, str]) -> str:
    metric = METRICS[key]
    return f"{metric.title}, {metric.unit}"


def figures_table(report: Report) -> str:
    names = report.all_names()
    rows = [[title(key), *(cell(report.figures.spread(name, *key)) for name in names)] for key in report.figures.keys()]
    return table(["median (least..greatest)", *names], rows)


def ratios_table(report: Report) -> str:
    """vern's figure over each other's; the arrow says which way is better."""
    mine, figures = report.vern(), report.figures
    others = [name for name in report.all_names() if name != mine]
    rows = []
    for key in figures.keys():
        if METRICS[key].higher_is_better is None or not figures.spread(mine, *key):
            continue
        best = figures.best(report.names("peer"), *key)
        best_cell = f"{cell(figures.ratio(mine, best, *key), 'x')} {best}" if best and figures.ratio(mine, best, *key) else NO_FIGURE
        rows.append([f"{title(key).rsplit(',', 1)[0]} ({'higher' if METRICS[key].higher_is_better else 'lower'} is better)", best_cell,
                     *(cell(figures.ratio(mine, name, *key), "x") for name in others)])
    return table([f"{mine} /", "best peer", *others], rows)


def describe_machine(machine: dict) -> str:
    used = f", {len(machine['used_cpus'])} of them used" if "used_cpus" in machine else ""
    return (f"{machine['cpu']}{' (virtual)' if machine.get('virtual') else ''}, {machine['cpus']} CPUs{used}, {' '.join(machine['flags'])}, "
            f"Linux {machine['kernel']}" + (f", load {machine['load']:.1f} at the beginning" if "load" in machine else ""))


def describe_steal(figures: Figures) -> str:
    steal = [sample.steal_percent for sample in figures.samples]
    if not steal:
        return ""
    return f"Steal time during the measurements: median {statistics.median(steal):.1f} %, at most {max(steal):.1f} %."


def markdown(report: Report) -> str:
    parts = [f"{describe_machine(report.machine)}.", f"{report.rounds} rounds, all in turn within each. {describe_steal(report.figures)}"]
    parts.append("\n".join(f"- {contender['name']}: {contender.get('version') or 'unknown version'}{contender.get('says', '')}"
                           for contender in report.contenders if contender["name"] in report.all_names()))
    if report.figures.samples:
        parts.append(figures_table(report))
        if report.vern() and len(report.all_names()) > 1:
            parts.append(f"Ratios, made within each round: {report.vern()} over the other.")
            parts.append(ratios_table(report))
    if report.unmeasured:
        parts.append("Not measured:\n\n" + "\n".join(f"- {item['what']}: {item['why']}" for item in report.unmeasured))
    return "\n\n".join(part for part in parts if part) + "\n"
