"""vern beside other people's WireGuard programs, in one run on one machine.

Two hosts (namespaces) on a veth, a daemon at each end, all on the same CPUs. Every scenario is done with every contender in turn
before the next scenario, and all of it as often as --repeat says, so that what changes on the machine meanwhile meets all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sys
import time
from typing import NoReturn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import contenders  # noqa: E402
import measure  # noqa: E402
import policies  # noqa: E402
from contenders import Contender  # noqa: E402
from figures import METRICS, Figures, Sample  # noqa: E402
from janitor import janitor  # noqa: E402
from lab import Lab, LabError, unable  # noqa: E402
from path import single_interface  # noqa: E402
from report import Report, markdown  # noqa: E402
from scenarios import QUICK, SCENARIOS, Plan, applies  # noqa: E402
from svg import picture  # noqa: E402

SYSCTLS = {"net.core.rmem_max": 8 << 20, "net.core.wmem_max": 8 << 20}  # iperf3's socket buffer would be what is measured
PROGRAMS = {"iperf3": ("tcp1", "tcp4", "iperf64", "ping")}  # and the scenarios that need them


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def leave(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(number).name)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run bench net", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="short and coarse: shows that it works; one round if --repeat does not say more")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join(contenders.NAMES)}, or what they begin with")
    parser.add_argument("--scenarios", metavar="NAMES", help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="how many CPUs everything shares; 0: all (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="all samples; - is standard output, and the report goes to standard error")
    parser.add_argument("--svg", metavar="FILE", help="a picture")
    parser.add_argument("--markdown", metavar="FILE", help="the report, which is printed anyhow")
    parser.add_argument("--from", dest="source", metavar="FILE", help="measure nothing: report what --json has written, or vern bench client --json")
    parser.add_argument("--policy", action="store_true", help="compare policies with each other and with nftables, not programs")
    parser.add_argument("--build", action="store_true", help="only build the programs to compare with, into the user's cache")
    options = parser.parse_args()
    options.repeat = options.repeat if "--repeat" in " ".join(sys.argv) else 1 if options.quick else options.repeat
    if options.repeat < 1:
        parser.error("--repeat: at least 1")
    options.scenarios = options.scenarios.split(",") if options.scenarios else ["tcp1", "udp64"] if options.policy else list(SCENARIOS)
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"--scenarios: no {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    try:
        names = [contender.name for contender in policies.all_contenders()] if options.policy else contenders.NAMES
        options.only = contenders.select(options.only, names)
    except ValueError as error:
        parser.error(str(error))
    return options


def use_cpus(count: int) -> None:
    if count:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def what_vern_says(contender: Contender) -> str:
    """Engine, AEAD and offloads by its own word."""
    with Lab() as lab:
        interface = single_interface(lab, contender)
        status = interface.status()["vern"]
    offloads = " ".join(name for name, state in status["offloads"].items() if state["on"])
    return f", engine {status['engine']['name']}, AEAD {status['aead']['name']}, offloads {offloads or 'none'}, workers {status['workers']}"


class Run:
    """Measures, and keeps what it has when it is interrupted."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.plan = options, QUICK if options.quick else Plan()
        self.report = Report(measure.machine(), [], Figures(), [], 0)
        self.contenders: list[Contender] = []

    def cannot(self, what: str, why: object) -> None:
        item = {"what": what, "why": "; ".join(line for line in str(why).splitlines() if line.strip())}
        if item not in self.report.unmeasured:
            self.report.unmeasured.append(item)
            say(f"  {what}: not measured: {item['why']}")

    def choose_contenders(self) -> None:
        for contender in (policies if self.options.policy else contenders).all_contenders():
            if contender.name not in self.options.only:
                continue
            if contender.why_not:
                self.cannot(contender.name, contender.why_not)
                continue
            self.contenders.append(contender)
            told = what_vern_says(contender) if contender.name.startswith("vern") else ""
            self.report.contenders.append({"name": contender.name, "version": contender.version, "kind": contender.kind, "says": told})
            if not contender.has_process and not contender.is_bare:
                self.cannot(f"{contender.name}: CPU time and memory of the daemons", "it has none; see the CPU of the machine")

    def usable_scenarios(self) -> list[str]:
        missing = {scenario: program for program, needing in PROGRAMS.items() if not shutil.which(program) for scenario in needing}
        for scenario in self.options.scenarios:
            if scenario in missing:
                self.cannot(scenario, f"{missing[scenario]} is not installed")
        return [scenario for scenario in self.options.scenarios if scenario not in missing]

    def measure_one(self, scenario: str, contender: Contender, number: int) -> None:
        before, results = measure.cpu_times(), []
        try:
            with contextlib.closing(SCENARIOS[scenario](contender, self.plan)) as found:
                for result in found:
                    results.append(result)
        except (LabError, OSError, ValueError, KeyError) as error:
            self.cannot(f"{contender.name}, {scenario}", error)
        steal = (measure.cpu_times() - before).steal_percent()
        for name, metric, value in results:
            self.report.figures.add(Sample(contender.name, name, metric, number, value, steal))
        shown = ", ".join(f"{metric} {value:.4g} {METRICS[name, metric].unit}" for name, metric, value in results)
        say(f"  {contender.name:<14} {shown} (steal {steal:.0f} %)")

    def run(self) -> None:
        self.choose_contenders()
        if not self.contenders:
            return
        scenarios = self.usable_scenarios()
        begin = time.monotonic()
        for number in range(self.options.repeat):
            turn = number % len(self.contenders)
            for scenario in scenarios:
                say(f"[{(time.monotonic() - begin) / 60:5.1f} min] round {number + 1} of {self.options.repeat}: {scenario}")
                for contender in self.contenders[turn:] + self.contenders[:turn]:
                    if applies(scenario, contender):
                        self.measure_one(scenario, contender, number)
            self.report.rounds = number + 1


def write(report: Report, options: argparse.Namespace) -> None:
    text = markdown(report)
    print(text, end="", file=sys.stderr if options.json == "-" else sys.stdout)
    if options.markdown:
        pathlib.Path(options.markdown).write_text(text)
    if options.svg:
        pathlib.Path(options.svg).write_text(picture(report))
    if options.json:
        values = json.dumps(report.to_json(), indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(values)
        else:
            pathlib.Path(options.json).write_text(values)


def measured(options: argparse.Namespace) -> tuple[Report, int]:
    """The report and the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    use_cpus(options.cpus)
    run, status = Run(options), 0
    try:
        with janitor(SYSCTLS):
            run.run()
    except KeyboardInterrupt:
        say("interrupted: what was measured until now is reported")
        status = 130
    except SystemExit as error:  # a lab's way to tell of a signal
        say("interrupted: what was measured until now is reported")
        status = error.code if isinstance(error.code, int) else 1
    return run.report, status or (0 if run.report.figures.samples else 1)


def main() -> int:
    options = read_arguments()
    if options.build:
        contenders.build(options.only)
        return 0
    if options.source:
        try:
            report = Report.from_json(json.loads(pathlib.Path(options.source).read_text()))
        except (OSError, ValueError, KeyError) as error:
            say(f"bench net: {options.source}: {error}")
            return 1
        write(report, options)
        return 0
    if reason := unable():
        say(f"bench net: {reason}")
        return 1
    report, status = measured(options)
    write(report, options)
    return status


if __name__ == "__main__":
    sys.exit(main())
