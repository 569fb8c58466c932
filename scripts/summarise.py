"""Counts what a run of the tests found, case by case: GoogleTest cases, lines of TAP, other programs as one each.

    summarise.py RESULTS.tsv [STAGE=MESON-LOG.json...]

RESULTS.tsv has what is no Meson test, a line each: passed|failed|skipped, name, reason or log. Ends with `N passed, N failed, N skipped`.
"""

import json
import pathlib
import re
import sys

GTEST_LINE = re.compile(r"^\[ +(OK|FAILED|SKIPPED) +\] ([\w/.]+)(?:,? .*)?\(\d+ ms(?: total)?\)$")
TAP_LINE = re.compile(r"^(ok|not ok) \d+ - (.*?)(?: # SKIP(?: (.*))?)?$", re.IGNORECASE)
MESON_BAD = {"FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS"}


def gtest_cases(output):
    reason = ""
    lines = output.splitlines()
    for index, line in enumerate(lines):
        if line.rstrip().endswith(": Skipped") and index + 1 < len(lines):
            reason = lines[index + 1].strip()
        elif match := GTEST_LINE.match(line):
            status, name = match.groups()
            yield {"OK": "passed", "FAILED": "failed", "SKIPPED": "skipped"}[status], name, reason if status == "SKIPPED" else ""
            reason = ""


def tap_cases(output):
    for line in output.splitlines():
        if match := TAP_LINE.match(line):
            verdict, name, reason = match.groups()
            skipped = " # skip" in line.lower()
            yield "skipped" if skipped else "passed" if verdict == "ok" else "failed", name, reason or ""


def meson_cases(stage, log):
    """(status, name, reason) of everything in the log of a `meson test`."""
    if not log.exists():
        yield "failed", f"{stage}: no test was run", str(log)
        return
    for line in filter(None, log.read_text(errors="replace").replace("\0", "").split("\n")):  # outputs may hold what else splitlines() would split at
        test = json.loads(line)
        name = f"{stage}: {test['name'].split(' / ')[-1]}"
        output = test.get("stdout") or ""
        cases = list(gtest_cases(output)) or list(tap_cases(output))
        for status, case, reason in cases:
            yield status, f"{name}: {case}", str(log.with_suffix(".txt")) if status == "failed" else reason
        bad = test["result"] in MESON_BAD
        if bad and not any(status == "failed" for status, _, _ in cases):  # it ended before it could say which
            yield "failed", f"{name}: {test['result'].lower()}, exit status {test['returncode']}", str(log.with_suffix(".txt"))
        elif not cases:
            yield ("skipped", name, "") if test["result"] == "SKIP" else ("passed", name, "")


def main():
    results = [tuple((line.split("\t") + ["", ""])[:3]) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    for argument in sys.argv[2:]:
        stage, _, log = argument.partition("=")
        results += meson_cases(stage, pathlib.Path(log))
    of = {status: [result for result in results if result[0] == status] for status in ("passed", "failed", "skipped")}
    # The same reason for many is told once, with the names.
    reasons = {}
    for _, name, reason in of["skipped"]:
        reasons.setdefault(reason or "no reason given", []).append(name)
    for reason, names in sorted(reasons.items()):
        print(f"skipped, {reason}:")
        for name in names:
            print(f"    {name}")
    for _, name, log in of["failed"]:
        print(f"FAILED {name}" + (f" ({log})" if log else ""))
    print(f"{len(of['passed'])} passed, {len(of['failed'])} failed, {len(of['skipped'])} skipped")
    sys.exit(1 if of["failed"] or not of["passed"] else 0)


if __name__ == "__main__":
    main()
