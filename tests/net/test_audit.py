"""The audit trail of a real tunnel: a denied flow is in it, who changed the policy is, and it is whole after kill -9."""

import json
import shutil
import signal
import unittest

from lab import Lab, wait_until
from tunnel import SUBJECT, SUBJECT_IS_VERN, VERN, Interface, at, host_routes

# One attempt to connect to each port, without waiting for an answer.
SCAN = """
import socket, sys
sockets = []
for port in range(int(sys.argv[2]), int(sys.argv[3])):
    s = socket.socket(); s.setblocking(False); sockets.append(s)
    s.connect_ex((sys.argv[1], port))
"""


@unittest.skipUnless(SUBJECT_IS_VERN, "vernd only")
class Audit(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        internet = self.lab.internet()
        hosts = [internet.host(name) for name in ("db", "web")]
        self.db, self.web = [Interface(host, SUBJECT, addresses=[f"10.100.0.{number}/24"]) for number, host in enumerate(hosts, 1)]
        self.join()
        self.apply('in = { from = ["web-1"] }\nallow = ["tcp/3306"]', name="db")

    def join(self):
        self.db.peer(self.web, host_routes(self.web), endpoint=at(self.web.host.v4))
        self.web.peer(self.db, host_routes(self.db), endpoint=at(self.db.host.v4))

    def vern(self, *argv, check=True):
        return self.db.host.run(VERN, *argv, check=check)

    def apply(self, rule, *options, name, check=True):
        text = f'version = 1\nname = "{name}"\n[peers]\nweb-1 = "{self.web.public}"\n[[rule]]\nid = "r0"\n{rule}\n'
        return self.vern("policy", "apply", self.db.host.write("policy.toml", text), *options, check=check)

    def scan(self, first, last):
        self.web.host.run("python3", "-c", SCAN, self.db.addresses[0], first, last)

    def records(self, *options):
        return [json.loads(line) for line in self.vern("audit", "export", *options).stdout.splitlines()]

    def verified(self):
        result = self.vern("audit", "verify", "--json", check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return json.loads(result.stdout)

    def test_a_denied_flow_and_who_changed_the_policy_are_in_it(self):
        self.scan(22, 23)
        denied, = wait_until(lambda: self.records("--kind", "flow-denied"), "the denied flow in the trail")[:1]
        self.assertEqual({key: denied[key] for key in ("interface", "direction", "protocol", "src", "dst", "dst_port", "peer", "peer_key", "reason", "policy_version")},
                         {"interface": "wg0", "direction": "in", "protocol": "tcp", "src": "10.100.0.2", "dst": "10.100.0.1", "dst_port": 22, "peer": "web-1",
                          "peer_key": self.web.public, "reason": "policy_no_rule", "policy_version": "db"})
        self.apply('in = {}\nallow = ["tcp/22"]', "--confirm", "1h", name="second")
        self.assertEqual(self.apply('in = {}\nallow = ["tcp/23"]', name="third", check=False).returncode, 1)
        self.vern("policy", "confirm")
        self.vern("policy", "rollback")
        changes = self.records("--kind", "policy-loaded,policy-confirmed,policy-refused,policy-rolled-back")
        self.assertEqual([(change["kind"], change["policy_version"], change["by"]) for change in changes],
                         [("policy-loaded", "db", "uid 0"), ("policy-loaded", "second", "uid 0"), ("policy-refused", "second", "uid 0"), ("policy-confirmed", "second", "uid 0"),
                          ("policy-rolled-back", "db", "uid 0")])
        self.assertIn("flow-denied in web-1 tcp 10.100.0.2:", self.vern("audit", "tail", "-n", "100").stdout)
        self.assertEqual(json.loads(self.vern("audit", "export", "--format", "ecs", "--kind", "flow-denied").stdout.splitlines()[0])["destination"]["port"], 22)
        self.db.stop()
        self.assertEqual(self.records()[-1]["detail"], "ended by SIGTERM")
        self.assertEqual(self.verified()["last_seq"], len(self.records()))

    def test_a_scan_is_few_records_and_all_of_it_is_counted(self):
        self.scan(22, 23)
        wait_until(lambda: self.db.handshake(self.web), "a handshake, so that nothing waits for one")
        self.scan(1, 501)
        dropped = wait_until(lambda: (count := self.db.counters()["policy_no_rule"]) >= 300 and count, "the scan to be denied")
        self.db.stop()
        records = self.records()
        told = sum(record.get("suppressed", 1) for record in records if record["kind"] == "flow-denied")
        lost = sum(record["suppressed"] for record in records if record["kind"] == "records-lost")
        self.assertGreaterEqual(told + lost, dropped)
        self.assertLess(len(records), 150)
        self.verified()

    def test_killed_it_goes_on(self):
        self.scan(1, 50)
        self.db.process.send_signal(signal.SIGKILL)
        self.db.process.wait()
        self.db.host.run("sh", "-c", "ip link del wg0 2>/dev/null; true")
        before = self.verified()["last_seq"]
        self.db = Interface(self.db.host, SUBJECT, addresses=["10.100.0.1/24"], private=self.db.private)
        self.assertGreaterEqual(self.verified()["last_seq"], before + 2)  # started, policy-loaded
        trail = self.db.host.directory / "state" / "wg0" / "audit" / "audit.jsonl"
        trail.write_text(trail.read_text().replace('"by":"uid 0"', '"by":"uid 1"', 1))
        result = self.vern("audit", "verify", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("audit.jsonl:2: ", result.stderr)

    def test_that_records_are_lost_is_shown(self):
        self.assertNotIn("audit", self.vern("show", "wg0").stdout)
        directory = self.db.host.directory / "state" / "wg0" / "audit"
        shutil.rmtree(directory)
        directory.write_text("in the way")
        number = iter(range(1, 1000))

        def lost():
            self.apply('in = {}\nallow = ["tcp/22"]', name=f"policy-{next(number)}")
            return "records are being lost" in self.vern("show", "wg0").stdout

        wait_until(lost, "a record to be lost")
        self.assertRegex(self.vern("show", "wg0").stdout, r"\n  audit: records are being lost: .*audit.* \([0-9]+ were lost\)\n")
        audit = self.db.status()["vern"]["audit"]
        self.assertFalse(audit["active"])
        self.assertGreater(audit["lost"], 0)
        self.assertIn("audit", audit["failure"])
        metrics = self.db.host.run("curl", "-s", "--unix-socket", "/run/vern/wg0.sock", "http://vern/metrics").stdout
        self.assertIn('vern_audit_active{interface="wg0"} 0\n', metrics)
        self.assertRegex(metrics, r'vern_audit_lost_total\{interface="wg0"\} [1-9]')
        directory.unlink()
        wait_until(lambda: self.db.status()["vern"]["audit"]["active"], "records to be written again")
        self.assertRegex(self.vern("show", "wg0").stdout, r"\n  audit: [0-9]+ records? (was|were) lost\n")
        self.assertEqual(self.records()[0]["kind"], "records-lost")
        self.verified()

    def test_a_directory_of_its_own_or_none_at_all(self):
        self.db.stop()
        (self.db.host.directory / "file").write_text("")
        options = ("--audit-dir", str(self.db.host.directory / "file" / "audit"))
        result = self.db.host.run(SUBJECT.program, "-f", *options, "wg0", check=False, env=SUBJECT.environment)
        self.assertEqual(result.returncode, 1)
        self.assertIn("file", result.stderr)
        before = len(self.records())
        other = type(SUBJECT)("vernd", SUBJECT.program, ["-f"], ["--audit-dir", str(self.db.host.directory / "trail")])
        self.db = Interface(self.db.host, other, addresses=["10.100.0.1/24"])
        self.assertEqual(json.loads(self.vern("audit", "tail", "--json", "-n", "100", "--dir", self.db.host.directory / "trail").stdout.splitlines()[0])["kind"], "started")
        self.db.stop()
        self.db = Interface(self.db.host, type(SUBJECT)("vernd", SUBJECT.program, ["-f"], ["--no-audit"]), addresses=["10.100.0.1/24"])
        self.assertNotIn("audit", self.db.status()["vern"])
        self.db.stop()
        self.assertEqual(len(self.records()), before)


if __name__ == "__main__":
    unittest.main()
