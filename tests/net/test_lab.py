"""The lab itself: a test that stands on it is worth what it is worth."""

import os
import pathlib
import signal
import subprocess
import sys
import unittest

from lab import HERE, Lab, LabError, wait_until
from relay import Relay

SEND = """
import socket, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
for i in range(count):
    s.sendto(b"%d" % i, (host, port))
print(s.getsockname()[1])
"""

RECEIVE = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.bind(("::", int(sys.argv[1])))
while True:
    text, where = s.recvfrom(2048)
    print(text.decode(), where[1], flush=True)
"""


class LabTest(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())

    def test_hosts_reach_each_other(self):
        internet = self.lab.internet()
        a, b = internet.host("a"), internet.host("b")
        a.ping(b.v4)
        a.ping(b.v6)

    def test_a_failure_tells_command_status_and_output(self):
        host = self.lab.internet()
        with self.assertRaises(LabError) as caught:
            host.run("sh", "-c", "echo this; echo that >&2; exit 7")
        for part in ("exit status 7", "this", "that"):
            self.assertIn(part, str(caught.exception))

    def test_a_lost_ping_is_a_failure(self):
        host = self.lab.internet()
        with self.assertRaises(LabError):
            host.ping("192.0.2.77", "-w", "1", count=1)

    def test_background_program_gets_signals_and_its_status_is_told(self):
        host = self.lab.internet()
        self.assertEqual(host.start("sleep", "1000").stop(), -signal.SIGTERM)
        self.assertEqual(host.start("sh", "-c", "exit 3").wait(), 3)

    def test_configuration_directory_is_the_hosts_own(self):
        if not os.path.isdir("/etc/wireguard"):
            self.skipTest("no /etc/wireguard on this machine")
        internet = self.lab.internet()
        a, b = internet.host("a"), internet.host("b")
        a.run("sh", "-c", "echo x > /etc/wireguard/wg0.conf")
        self.assertTrue((a.directory / "etc-wireguard" / "wg0.conf").exists())
        self.assertEqual(b.run("ls", "/etc/wireguard").stdout, "")

    def end_a_lab(self, number):
        """A lab in another process, ended by a signal: what was on it?"""
        script = ("import sys; sys.path.insert(0, sys.argv[1]); from lab import *\n"
                  "with Lab() as lab:\n"
                  "    host = lab.internet().host('a'); host.start('sleep', '1000')\n"
                  "    host.run('sh', '-c', 'setsid sleep 1001 >/dev/null 2>&1 &')\n"
                  "    wait_until(lambda: len(host.processes()) == 2, 'both')\n"
                  "    print('lab', lab.directory, host.pid, flush=True); wait_until(lambda: False, 'the end', 600)\n")
        return self.end_what_runs([sys.executable, "-c", script, str(HERE)], number)

    def end_what_runs(self, argv, number):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        directory, pid = next(line for line in process.stdout if line.startswith("lab ")).split()[1:]
        namespace = os.readlink(f"/proc/{pid}/ns/net")
        process.send_signal(number)
        process.wait()
        process.stdout.close()

        def gone():
            for entry in os.listdir("/proc"):
                try:
                    if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/net") == namespace:
                        return False
                except OSError:
                    pass
            return True
        wait_until(gone, "every process of the lab to end")
        return pathlib.Path(directory)

    def test_sigterm_leaves_nothing(self):
        self.assertFalse(self.end_a_lab(signal.SIGTERM).exists())

    def test_sigint_leaves_nothing(self):
        self.assertFalse(self.end_a_lab(signal.SIGINT).exists())

    def test_a_suite_that_is_told_to_end_does(self):
        # As Meson does to one that takes too long. unittest would call it a failure of this test and begin the next.
        module = self.lab.directory / "test_ended.py"
        module.write_text("import sys, unittest\nfrom lab import *\n"
                          "class Ended(unittest.TestCase):\n"
                          "    def test_a(self):\n"
                          "        lab = self.enterContext(Lab()); host = lab.internet()\n"
                          "        print('lab', lab.directory, host.pid, flush=True); wait_until(lambda: False, 'the end', 600)\n"
                          "    test_b = test_a\n")
        self.assertFalse(self.end_what_runs([sys.executable, str(HERE / "tap.py"), str(module)], signal.SIGTERM).exists())

    def test_sigkill_leaves_no_process(self):
        directory = self.end_a_lab(signal.SIGKILL)
        subprocess.run(["rm", "-r", str(directory)], check=True)  # files are all that outlives kill -9


class RelayTest(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        internet = self.lab.internet()
        self.client, self.middle, self.server = (internet.host(name) for name in ("client", "middle", "server"))

    def through(self, count, expect, seed=1, family="v4", **settings):
        """Sends `count` numbered datagrams through a new relay; what arrived: [(number, port)]."""
        receiver = self.server.start(sys.executable, "-c", RECEIVE, "7000")
        wait_until(lambda: self.server.listening(7000, "udp"), "receiver")
        where = getattr(self.middle, family)
        to = getattr(self.server, family)
        relay = Relay(self.middle, f"[{where}]:7001", f"[{to}]:7000", seed=seed, **settings)
        self.client.run(sys.executable, "-c", SEND, where, 7001, count)
        wait_until(lambda: relay.count()[0] == count, "all to pass the relay")
        if expect:
            wait_until(lambda: len(receiver.output().splitlines()) >= expect, f"{expect} datagrams")
        arrived = [tuple(map(int, line.split())) for line in receiver.output().splitlines()]
        relay.process.stop()
        receiver.stop()
        return arrived

    def test_passes_everything_in_order(self):
        for family in ("v4", "v6"):
            self.assertEqual([number for number, _ in self.through(100, 100, family=family)], list(range(100)))

    def test_the_seed_decides_what_is_lost(self):
        settings = {"drop": 0.3}
        first = [number for number, _ in self.through(200, 100, **settings)]
        again = [number for number, _ in self.through(200, len(first), **settings)]
        other = [number for number, _ in self.through(200, 100, seed=2, **settings)]
        self.assertTrue(100 <= len(first) <= 180, len(first))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_duplicates_and_reorders(self):
        twice = [number for number, _ in self.through(50, 100, duplicate=1.0)]
        self.assertEqual(sorted(twice), sorted(2 * list(range(50))))
        mixed = [number for number, _ in self.through(100, 100, reorder=0.3)]
        self.assertEqual(sorted(mixed), list(range(100)))
        self.assertNotEqual(mixed, list(range(100)))

    def test_rebinding_changes_the_port_the_server_sees(self):
        receiver = self.server.start(sys.executable, "-c", RECEIVE, "7000")
        wait_until(lambda: self.server.listening(7000, "udp"), "receiver")
        relay = Relay(self.middle, f"{self.middle.v4}:7001", f"{self.server.v4}:7000")
        script = self.client.write("send.py", "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                   "for line in sys.stdin: s.sendto(line.encode().strip(), (sys.argv[1], 7001))\n")
        sender = self.client.start(sys.executable, script, self.middle.v4, stdin=subprocess.PIPE)
        ports = []
        for number in range(2):
            sender.popen.stdin.write(f"{number}\n")
            sender.popen.stdin.flush()
            wait_until(lambda: len(receiver.output().splitlines()) == number + 1, "datagram")
            ports.append(receiver.output().split()[-1])
            relay("rebind")
        self.assertNotEqual(ports[0], ports[1])


if __name__ == "__main__":
    unittest.main()
