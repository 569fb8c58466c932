"""vern bench server and client: that they measure, and that the server gives nothing to strangers."""

import json
import unittest

from lab import Lab, wait_until
from measure import PORT
from report import Report, markdown
from tunnel import VERN

TALK = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
s.settimeout(20)
lines = s.makefile("rw", newline="\\n")
for line in sys.argv[2:]:
    lines.write(line + "\\n")
    lines.flush()
    try:
        print(lines.readline().strip() or "closed")
    except ConnectionResetError:
        print("closed")
"""
# Datagrams without the session's token: to a server that waits for some, and to one that is to send some back.
STRANGER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.connect(("127.0.0.1", int(sys.argv[1])))
for size in (0, 1, 23, 24, 64, 9000):
    s.send(bytes(size))
try:
    s.recv(9000)
    print("answered")
except TimeoutError:
    print("silence")
"""


class VernBench(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        self.host = self.lab.internet().host("a")
        self.server = self.host.start(VERN, "bench", "server", "127.0.0.1", "--port", PORT)
        wait_until(lambda: self.host.listening(PORT) or not self.server.alive(), "the server")

    def client(self, *options, **more):
        return self.host.run(VERN, "bench", "client", "127.0.0.1", "--port", PORT, *options, **more)

    def talk(self, *lines):
        return self.host.run("python3", "-c", TALK, PORT, *lines).stdout.splitlines()

    def test_all_figures(self):
        values = json.loads(self.client("--seconds", "0.3", "--repeat", "1", "--json", timeout=300).stdout)
        scenarios = {result["scenario"] for result in values["results"]}
        self.assertEqual(scenarios, {"latency", "tcp1", "tcp4", "udp64", "udp1300"})
        self.assertTrue(all(result["samples"] and min(result["samples"]) >= 0 for result in values["results"]))
        self.assertIn("TCP, 1 stream", markdown(Report.from_json(values)))

    def test_a_table_for_people(self):
        self.assertIn("| latency p99 | ms |", self.client("--only", "latency", "--repeat", "1").stdout)

    def test_every_datagram_is_counted(self):
        load = json.loads(self.client("--udp-rate", "2000", "--udp-size", "100", "--seconds", "0.5").stdout)
        self.assertEqual((load["bytes"], load["reordered"], load["sent"]), (100, 0, load["received"] + round(load["loss"] * load["sent"])))
        self.assertGreater(load["sent"], 900)

    def test_one_client_after_another(self):
        for _ in range(3):
            self.client("--udp-rate", "1000", "--seconds", "0.1")

    def test_a_stranger_is_refused(self):
        self.assertTrue(self.talk("GET / HTTP/1.1")[0].startswith("refused"))
        self.assertTrue(self.server.alive())

    def test_limits(self):
        for request in ("tcp up 17 1000", "tcp up 0 1000", "tcp down 1 60001", "tcp sideways 1 1", "udp 23 1000", "udp 9001 1000", "udp 64 0",
                        "udp -1 1", "echo 60001", "echo", "", "x" * 200, "udp 64 99999999999999999999"):
            self.assertTrue(self.talk("vern-bench 1", request)[1].startswith("refused"), request)
        self.client("--udp-rate", "1000", "--seconds", "0.1")

    def test_a_line_without_end_is_cut_off(self):
        self.assertEqual(self.talk("x" * 1000), ["closed"])
        self.client("--udp-rate", "1000", "--seconds", "0.1")

    def test_datagrams_without_the_token_are_not_answered(self):
        self.assertEqual(self.host.run("python3", "-c", STRANGER, PORT).stdout.strip(), "silence")
        session = self.host.start("python3", "-u", "-c", TALK + "\nimport time\ntime.sleep(60)", PORT, "vern-bench 1", "echo 10000")
        wait_until(lambda: "go" in session.output() or not session.alive(), "the session")
        self.assertEqual(self.host.run("python3", "-c", STRANGER, PORT).stdout.strip(), "silence")

    def test_wrong_usage(self):
        for argv in (("bench", "client"), ("bench", "sideways", "127.0.0.1"), ("bench", "client", "127.0.0.1", "--seconds", "0"),
                     ("bench", "client", "127.0.0.1", "--only", "nothing"), ("bench", "client", "127.0.0.1", "--udp-rate", "0"),
                     ("bench", "client", "127.0.0.1", "--udp-rate", "1", "--udp-size", "23")):
            self.assertEqual(self.host.run(VERN, *argv, check=False).returncode, 2, argv)

    def test_no_server(self):
        result = self.host.run(VERN, "bench", "client", "127.0.0.1", "--port", PORT + 1, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("Connection refused", result.stderr)

    def test_an_address_of_somebody_else(self):
        result = self.host.run(VERN, "bench", "server", "192.0.2.77", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("192.0.2.77", result.stderr)


if __name__ == "__main__":
    unittest.main()
