"""What is read off the machine and off other programs' outputs."""

import json
import os
import unittest

from lab import LabError

import contenders
import measure

PING = """PING 10.77.0.2 (10.77.0.2) 56(84) bytes of data.

--- 10.77.0.2 ping statistics ---
200 packets transmitted, 199 received, 0.5% packet loss, time 1999ms
rtt min/avg/max/mdev = 0.051/0.112/1.204/0.031 ms
"""
STREAM = {"end": {"sum_sent": {"bits_per_second": 5.1e9, "bytes": 640, "retransmits": 7}, "sum_received": {"bits_per_second": 5e9, "bytes": 630}}}
UDP = {"end": {"streams": [{"udp": {"out_of_order": 3}}], "sum": {"seconds": 2.0, "packets": 200_000, "lost_packets": 50_000, "lost_percent": 25.0}}}
LOAD = {"sent_rate": 1e5, "delivered_rate": 9.9e4, "received": 99_000, "loss": 0.01, "reordered": 2, "dropped_by_receiver": 1}


class Parsing(unittest.TestCase):
    def test_ping(self):
        self.assertEqual(measure.parse_ping(PING), measure.Ping(0.112, 1.204, 0.5))

    def test_ping_without_an_answer(self):
        with self.assertRaises(LabError):
            measure.parse_ping("3 packets transmitted, 0 received, 100% packet loss, time 2000ms")

    def test_a_stream(self):
        stream = measure.parse_stream(measure.parse_iperf3(json.dumps(STREAM)))
        self.assertEqual(stream, measure.Stream(5e9, 630, 7))

    def test_a_receiver_tells_no_retransmits(self):
        end = {"sum_sent": {"bits_per_second": 1, "bytes": 1}, "sum_received": {"bits_per_second": 1, "bytes": 1}}
        self.assertEqual(measure.parse_stream(end).retransmits, 0)

    def test_errors_of_iperf3(self):
        for text in ('{"error": "unable to connect"}', "iperf3: killed", ""):
            with self.assertRaises(LabError):
                measure.parse_iperf3(text)

    def test_a_udp_load_of_iperf3(self):
        load = measure.parse_iperf3_load(UDP["end"])
        self.assertEqual(load, measure.Load(100_000, 75_000, 150_000, 0.25, 3))

    def test_a_udp_load_of_vern_bench(self):
        self.assertEqual(measure.parse_load(json.dumps(LOAD)), measure.Load(1e5, 9.9e4, 99_000, 0.01, 2, 1))

    def test_a_rate_is_carried_only_if_it_was_sent(self):
        load = measure.Load(sent_rate=50_000, delivered_rate=50_000, received=1, loss=0.0)
        self.assertTrue(load.is_carried_at(51_000, 0.005))
        self.assertFalse(load.is_carried_at(60_000, 0.005))
        self.assertFalse(measure.Load(50_000, 49_000, 1, 0.02).is_carried_at(50_000, 0.005))

    def test_cpu_time_of_a_process_with_a_strange_name(self):
        ticks = os.sysconf("SC_CLK_TCK")
        self.assertEqual(measure.parse_cpu_seconds(f"17 (a) b (c) S {' '.join(['0'] * 10)} {3 * ticks} {4 * ticks} 0 0"), 7)

    def test_cpu_times_of_the_machine(self):
        before = measure.parse_cpu_times("cpu  100 0 100 700 50 10 20 20 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0")
        after = measure.parse_cpu_times("cpu  200 0 200 1400 100 20 40 40 0 0\n")
        spent, ticks = after - before, os.sysconf("SC_CLK_TCK")
        self.assertAlmostEqual(spent.busy, 230 / ticks)
        self.assertAlmostEqual(spent.steal_percent(), 2.0)

    def test_no_time_has_no_steal(self):
        self.assertEqual(measure.CpuTimes(0, 0, 0).steal_percent(), 0)

    def test_memory(self):
        self.assertEqual(measure.parse_memory("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"), {"VmHWM": 2 << 20, "VmRSS": 1 << 20})

    def test_own_process(self):
        self.assertGreater(measure.memory(os.getpid())["VmRSS"], 1 << 20)
        self.assertGreaterEqual(measure.cpu_seconds([os.getpid()]), 0)
        self.assertIn("cpu", measure.machine())


class Selection(unittest.TestCase):
    def test_by_beginning(self):
        self.assertEqual(contenders.select("vern"), {"vern-io_uring", "vern-epoll", "vern-null"})
        self.assertEqual(contenders.select("tailscale,raw-veth"), {"tailscale", "raw-veth"})
        self.assertEqual(contenders.select(None), set(contenders.NAMES))

    def test_an_unknown_name_is_told(self):
        with self.assertRaises(ValueError):
            contenders.select("nobody")


if __name__ == "__main__":
    unittest.main()
