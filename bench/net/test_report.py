"""Statistics, tables, JSON and picture."""

import json
import unittest
from xml.dom import minidom

from figures import FORMAT, Figures, Sample, spread
from report import Report, markdown, number
from svg import picture

MACHINE = {"cpu": "A <CPU> & more", "cpus": 2, "used_cpus": [0, 1], "flags": ["avx2"], "virtual": True, "kernel": "6.18", "load": 0.5}
CONTENDERS = [{"name": "vern-io_uring", "version": "1", "kind": "vern"}, {"name": "slow", "version": "2", "kind": "peer"},
              {"name": "quick", "version": "3", "kind": "peer"}, {"name": "vern-null", "version": "1", "kind": "floor"}]


def figures():
    found = Figures()
    for number_, (vern, slow, quick, null) in enumerate(((6.0, 1.0, 3.0, 9.0), (8.0, 1.0, 2.0, 9.0), (7.0, 2.0, 2.0, 10.0))):
        for name, value in (("vern-io_uring", vern), ("slow", slow), ("quick", quick), ("vern-null", null)):
            found.add(Sample(name, "tcp1", "up", number_, value, steal_percent=number_))
    return found


def report():
    return Report(MACHINE, CONTENDERS, figures(), [{"what": "kernel", "why": "not here"}], 3)


class Statistics(unittest.TestCase):
    def test_spread(self):
        found = spread([3.0, 1.0, 2.0])
        self.assertEqual((found.median, found.least, found.most, found.count), (2, 1, 3, 3))
        self.assertIsNone(spread([]))

    def test_ratios_are_made_within_a_round(self):
        found = figures().ratio("vern-io_uring", "quick", "tcp1", "up")
        self.assertEqual((found.median, found.least, found.most), (3.5, 2.0, 4.0))

    def test_a_round_that_one_of_them_lacks_makes_no_ratio(self):
        found = figures()
        found.add(Sample("vern-io_uring", "tcp1", "up", 3, 100.0))
        self.assertEqual(found.ratio("vern-io_uring", "quick", "tcp1", "up").count, 3)
        found.add(Sample("quick", "tcp1", "up", 3, 0.0))  # nothing to divide by
        self.assertEqual(found.ratio("vern-io_uring", "quick", "tcp1", "up").count, 3)

    def test_a_peak_seen_twice_in_a_round_is_the_higher(self):
        found = Figures()
        for value in (10.0, 30.0, 20.0):
            found.add(Sample("slow", "memory", "loaded", 0, value))
        self.assertEqual(found.spread("slow", "memory", "loaded").median, 30)

    def test_best_follows_the_better_side(self):
        found = figures()
        self.assertEqual(found.best(["slow", "quick"], "tcp1", "up"), "quick")
        for name, value in (("slow", 5.0), ("quick", 9.0)):
            found.add(Sample(name, "ping", "average", 0, value))
        self.assertEqual(found.best(["slow", "quick"], "ping", "average"), "slow")
        self.assertIsNone(found.best(["nobody"], "tcp1", "up"))


class Output(unittest.TestCase):
    def test_markdown(self):
        text = markdown(report())
        self.assertIn("7.00 (6.00..8.00)", text)
        self.assertIn("3.50x (2.00x..4.00x) quick".replace("2.00x..4.00x", "2.00..4.00"), text)
        self.assertIn("- kernel: not here", text)
        self.assertIn("at most 2.0 %", text)
        tables = [line for line in text.splitlines() if line.startswith("|")]
        self.assertEqual(len({line.count("|") for line in tables[:3]}), 1)

    def test_json_there_and_back(self):
        values = json.loads(json.dumps(report().to_json()))
        self.assertEqual(values["format"], FORMAT)
        self.assertEqual(markdown(Report.from_json(values)), markdown(report()))

    def test_json_of_vern_bench_client(self):
        results = [{"contender": "path to x", "scenario": "tcp1", "metric": "up", "unit": "Gb/s", "samples": [1.0, 2.0, 3.0]},
                   {"contender": "path to x", "scenario": "latency", "metric": "p50", "unit": "ms", "samples": [0.1]}]
        machine = {"cpu": "x", "cpus": 4, "flags": [], "kernel": "6.1"}
        found = Report.from_json({"format": FORMAT, "machine": machine, "contenders": [{"name": "path to x", "version": "1"}], "results": results, "unmeasured": []})
        self.assertIn("2.00 (1.00..3.00)", markdown(found))

    def test_other_json_is_refused(self):
        with self.assertRaises(ValueError):
            Report.from_json({"end": {}})

    def test_an_empty_report_says_what_could_not_be_measured(self):
        text = markdown(Report(MACHINE, [], Figures(), [{"what": "all", "why": "nothing is here"}], 0))
        self.assertIn("nothing is here", text)

    def test_picture_is_well_formed(self):
        document = minidom.parseString(picture(report()))
        self.assertEqual(document.documentElement.tagName, "svg")
        bars = [r for r in document.getElementsByTagName("rect") if r.getAttribute("rx")]
        self.assertEqual(len(bars), 4)
        self.assertIn("A <CPU> & more", "".join(n.firstChild.data for n in document.getElementsByTagName("text")))
        minidom.parseString(picture(Report(MACHINE, [], Figures(), [], 0)))

    def test_numbers(self):
        self.assertEqual([number(v) for v in (0, 0.01234, 1.234, 12.34, 123.4)], ["0", "0.012", "1.23", "12.34", "123"])


if __name__ == "__main__":
    unittest.main()
