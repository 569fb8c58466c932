"""The benchmark as a program: that it measures, and that it leaves nothing behind however it ends. No figure is judged."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

from lab import wait_until
from janitor import processes_in, sysctl_path
from tunnel import VERN, VERND

HERE = pathlib.Path(__file__).resolve().parent
SPARE_SYSCTL = "net.core.optmem_max"  # nothing here depends on it
HOLD = f"""
import sys, time
sys.path.insert(0, {str(HERE)!r})
from janitor import janitor
with janitor({{"{SPARE_SYSCTL}": int(sys.argv[1])}}):
    print("raised", flush=True)
    time.sleep(600)
"""


class Bench(unittest.TestCase):
    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory(prefix="vern-bench-test-"))
        self.environment = dict(os.environ, TMPDIR=self.directory, VERN=VERN, VERND=VERND)

    def start(self, *options):
        argv = [sys.executable, str(HERE), "--quick", "--only", "vern-epoll", *options]
        return subprocess.Popen(argv, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def assert_nothing_is_left(self):
        wait_until(lambda: not processes_in(self.directory), "the last process to end")
        wait_until(lambda: not os.listdir(self.directory), "the last file to go")

    def test_a_short_run(self):
        process = self.start("--scenarios", "ping,udp64,peers10k", "--json", "-")
        output, errors = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 0, errors)
        report = json.loads(output)
        measured = {(result["scenario"], result["metric"]) for result in report["results"]}
        self.assertLessEqual({("ping", "average"), ("udp64", "flood delivered"), ("udp64", "loss-free rate"), ("peers10k", "setconf"),
                              ("memory", "idle")}, measured, errors)
        self.assertEqual(report["unmeasured"], [], errors)
        self.assert_nothing_is_left()

    def interrupt(self, number, after):
        process = self.start("--scenarios", "tcp1,udp64", "--repeat", "50")
        for line in process.stderr:
            if after in line:
                break
        wait_until(lambda: processes_in(self.directory), "a lab")
        process.send_signal(number)
        process.communicate(timeout=120)
        self.assert_nothing_is_left()
        return process.returncode

    def test_interrupted_by_the_keyboard(self):
        self.assertEqual(self.interrupt(signal.SIGINT, "tcp1"), 130)

    def test_terminated(self):
        self.assertIn(self.interrupt(signal.SIGTERM, "udp64"), (130, 143))

    def test_killed(self):
        self.assertEqual(self.interrupt(signal.SIGKILL, "udp64"), -signal.SIGKILL)

    def test_sysctls_come_back_even_when_killed(self):
        before = sysctl_path(SPARE_SYSCTL).read_text()
        with subprocess.Popen([sys.executable, "-c", HOLD, str(int(before) + 4096)], stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(process.stdout.readline(), "raised\n")
            self.assertEqual(int(sysctl_path(SPARE_SYSCTL).read_text()), int(before) + 4096)
            process.kill()
        wait_until(lambda: sysctl_path(SPARE_SYSCTL).read_text() == before, f"{SPARE_SYSCTL} to be restored")

    def test_a_peer_that_cannot_run_is_named_and_the_rest_measured(self):
        self.environment["VERND_NULL"] = "/nonexistent/vernd"
        argv = [sys.executable, str(HERE), "--quick", "--only", "vern-epoll,vern-null", "--scenarios", "peers10k", "--json", "-"]
        output = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=120).stdout
        report = json.loads(output)
        self.assertEqual([item["what"] for item in report["unmeasured"]], ["vern-null"])
        self.assertTrue(report["results"])


if __name__ == "__main__":
    unittest.main()
