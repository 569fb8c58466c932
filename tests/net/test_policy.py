"""Policies on real tunnels: what passes, what is answered, what is logged; and that a change is whole, comes back, and survives kill -9."""

import json
import random
import re
import signal
import subprocess
import unittest

from lab import Lab, wait_until
from talk import LISTEN, PROBE, TALK
from tunnel import SUBJECT, SUBJECT_IS_VERN, VERN, Interface, at, genkey, host_routes, pubkey

# Numbers in datagrams to both ports, some two hundred times a second, until standard input ends; then how many.
SAY = """
import select, socket, sys, time
target, ports, count = sys.argv[1], [int(port) for port in sys.argv[2:]], 0
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while not select.select([sys.stdin], [], [], 0)[0]:
    for port in ports: out.sendto(b"%d" % count, (target, port))
    count += 1
    if count == 1: print("begun")
    time.sleep(0.004)
print(count)
"""
# How many different ones came to each port, when standard input has ended and nothing has come for a second.
HEAR = """
import select, socket, sys
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in sys.argv[2:]]
for one, port in zip(sockets, sys.argv[2:]):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    one.bind((sys.argv[1], int(port)))
print("listening")
heard = [set() for _ in sockets]
ended = False
while True:
    ready = select.select(sockets + ([] if ended else [sys.stdin]), [], [], 1)[0]
    if ended and not ready: break
    for one in ready:
        if one is sys.stdin: ended = True
        else: heard[sockets.index(one)].add(one.recv(64))
print(*[len(one) for one in heard])
"""


@unittest.skipUnless(SUBJECT_IS_VERN, "vernd only")
class Policy(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        internet = self.lab.internet()
        self.hosts = [internet.host(name) for name in ("db", "web", "other")]
        self.db, self.web, self.other = [self.interface(host, number) for number, host in enumerate(self.hosts, 1)]
        for peer in (self.web, self.other):
            self.join(peer)

    def interface(self, host, number):
        return Interface(host, SUBJECT, addresses=[f"10.100.0.{number}/24", f"fd00:100::{number}/64"])

    def join(self, peer):
        self.db.peer(peer, host_routes(peer), endpoint=at(peer.host.v4))
        peer.peer(self.db, host_routes(self.db), endpoint=at(self.db.host.v4))

    def vern(self, *argv, check=True, **options):
        return self.db.host.run(VERN, *argv, check=check, **options)

    def policy(self, *rules, name="test", defaults=""):
        head = f'version = 1\nname = "{name}"\n[defaults]\n{defaults}\n[peers]\nweb-1 = "{self.web.public}"\nother = "{self.other.public}"\n[groups]\nweb = ["web-1"]\n'
        return head + "".join(f'[[rule]]\nid = "r{number}"\n{rule}\n' for number, rule in enumerate(rules))

    def apply(self, text, *options, check=True):
        return self.vern("policy", "apply", self.db.host.write("policy.toml", text), *options, check=check)

    def listen(self, *ports):
        self.db.host.start("python3", "-c", LISTEN, *ports, name="listen")
        for port in ports:
            wait_until(lambda port=port: self.db.host.listening(port), f"port {port}")

    def probe(self, interface, *ports, address=None):
        target = address or self.db.addresses[0]
        return interface.host.run("python3", "-c", PROBE, *[word for port in ports for word in (target, port)]).stdout.split()

    def summary(self):
        return json.loads(self.vern("policy", "show", "--json").stdout)

    def log(self):
        return self.db.process.output()

    def test_without_a_policy_allowed_ips_decide_alone(self):
        self.listen(3306)
        self.assertEqual(self.probe(self.web, 3306, 3307), ["open", "refused"])
        self.assertIn("policy: none: allowed IPs only", self.vern("show", "wg0").stdout)
        self.assertIn("no policy", self.vern("explain", "in - tcp 10.100.0.2:1 > 10.100.0.1:22").stdout)
        self.assertNotEqual(self.vern("policy", "counters", check=False).returncode, 0)
        self.assertIn("no policy is on trial", self.vern("policy", "confirm", check=False).stderr)

    def test_the_database_is_for_the_web_servers(self):
        self.listen(3306, 22)
        shown = self.apply(self.policy('in = { from = ["web"], to = ["10.100.0.1/32", "fd00:100::1"] }\nallow = ["tcp/3306"]', 'out = {}\nallow = ["any"]', defaults='log_denied = "[DROP]: "')).stdout
        self.assertIn("policy: test, 2 rules", shown)
        self.assertEqual(self.probe(self.web, 3306, 22), ["open", "silent"])
        self.assertEqual(self.probe(self.web, 3306, address=self.db.addresses[1]), ["open"])
        self.assertEqual(self.probe(self.other, 3306, 22), ["silent", "silent"])
        wait_until(lambda: re.search(r"\[DROP\]: denied in other tcp 10\.100\.0\.3:\d+ > 10\.100\.0\.1:3306 \(packet denied: no rule allows it\)", self.log()), "the drop in the log")
        self.assertRegex(self.log(), r"\[DROP\]: denied in web-1 tcp 10\.100\.0\.2:\d+ > 10\.100\.0\.1:22")
        # On the way out everything passes, and the answers with it.
        self.db.host.ping(self.other.addresses[0])
        self.assertEqual(self.other.host.run("ping", "-c", "1", "-W", "1", self.db.addresses[0], check=False).returncode, 1)
        counters = {rule["id"]: rule for rule in json.loads(self.vern("policy", "counters", "--json").stdout)["rules"]}
        self.assertEqual(counters["r0"]["flows"], 2)
        self.assertGreater(counters[None]["denied"], 0)
        self.assertIn("policy: test, 2 rules", self.vern("show", "wg0").stdout)
        text = self.vern("explain", "in web-1 tcp 10.100.0.2:40000 > 10.100.0.1:3306").stdout
        self.assertIn("allow: rule r0 (line 10, allow)", text)
        self.assertIn("deny: no rule allows it", self.vern("explain", "in other tcp 10.100.0.3:40000 > 10.100.0.1:3306").stdout)

    def test_explain_knows_what_comes_before_all_rules(self):
        def explained(question):
            return self.vern("explain", question).stdout.splitlines()
        for policy in (None, self.policy("in = {}\nallow = [\"any\"]")):
            if policy:
                self.apply(policy)
            self.assertIn("allow: ", explained(f"in {self.web.public} tcp 10.100.0.2:1 > 10.100.0.1:22")[0])
            self.assertRegex(explained(f"in {self.web.public} tcp 10.100.0.3:1 > 10.100.0.1:22")[0], r"^deny: 10\.100\.0\.3 is in the allowed IPs of .*, not of this peer$")
            self.assertEqual(explained(f"out {self.web.public} tcp 10.100.0.1:1 > 192.0.2.7:22")[0], "deny: 192.0.2.7 is in the allowed IPs of no peer")
            stranger = explained(f"in {pubkey(genkey())} tcp 10.100.0.2:1 > 10.100.0.1:22")
            self.assertEqual(stranger[1], "  but this interface has no such peer" + (": it is what the rules say by themselves" if policy else ""))
            self.assertIn("neither in nor out", self.vern("explain", "by - tcp 10.100.0.2:1 > 10.100.0.1:22", check=False).stderr)

    def test_a_hub_forwards_what_both_its_sides_allow(self):
        # web -> hub -> other: in from the one and out to the other, both by the hub's policy.
        self.db.host.sysctl("net.ipv4.ip_forward", 1)
        for spoke in (self.web, self.other):
            spoke.peer(self.db, ["10.100.0.0/24"])
        self.other.host.start("python3", "-c", LISTEN, 3306, 22, name="listen")
        wait_until(lambda: self.other.host.listening(22), "port 22")
        there = self.other.addresses[0]
        into, out = 'in = { from = ["web"], to = ["10.100.0.3"] }\nallow = ["tcp/3306"]', 'out = { peers = ["other"] }\nallow = ["tcp/3306"]'
        for rules, wanted in (((into, out), ["open", "silent"]), ((into,), ["silent", "silent"]), ((out,), ["silent", "silent"])):
            self.apply(self.policy(*rules))
            self.assertEqual(self.probe(self.web, 3306, 22, address=there), wanted, rules)
        self.apply(self.policy(into, out))
        self.assertEqual(self.probe(self.other, 22, address=self.web.addresses[0]), ["silent"])
        flows = json.loads(self.vern("flows", "--json").stdout)["flows"]
        self.assertEqual(sorted({flow["peer"] for flow in flows if flow["local_port"] == 3306 or flow["remote_port"] == 3306}), ["other", "web-1"])

    def test_flows_are_shown_and_cut_by_a_change(self):
        self.listen(3306)
        self.apply(self.policy('in = { from = ["web"] }\nallow = ["tcp/3306"]'))
        talk = self.web.host.start("python3", "-u", "-c", TALK, self.db.addresses[0], 3306, name="talk", stdin=subprocess.PIPE)

        def say(count):
            talk.popen.stdin.write("x\n")
            talk.popen.stdin.flush()
            wait_until(lambda: len(talk.output().split()) == count, "an answer or none")
            return talk.output().split()[-1]
        self.assertEqual(say(1), "yes")
        flow, = json.loads(self.vern("flows", "--peer", "web-1", "--port", "3306", "--json").stdout)["flows"]
        self.assertEqual((flow["direction"], flow["peer"], flow["protocol"], flow["local_port"], flow["rule"], flow["state"]), ("in", "web-1", "tcp", 3306, "r0", "established"))
        self.assertIn("web-1 tcp 10.100.0.2:", self.vern("flows").stdout)
        self.assertEqual(json.loads(self.vern("flows", "--port", "22", "--json").stdout)["flows"], [])
        self.apply(self.policy('in = { from = ["web"] }\nallow = ["tcp/22"]'))
        self.assertEqual(say(2), "no")
        talk.popen.stdin.close()

    def test_many_rules_change_under_load_and_nothing_is_lost_or_let_through(self):
        fillers = [f'in = {{ from = ["10.{128 + number // 65536}.{number // 256 % 256}.{number % 256}"] }}\nallow = ["tcp/{1 + number % 9999}"]' for number in range(10_000)]
        policies = [self.policy(*fillers, f'in = {{ from = ["web"] }}\nallow = ["udp/7001", "tcp/{port}"]', name=f"with {port}") for port in (22, 23)]
        self.apply(policies[0])
        heard = self.db.host.start("python3", "-u", "-c", HEAR, self.db.addresses[0], 7001, 7002, name="heard", stdin=subprocess.PIPE)
        wait_until(lambda: heard.output(), "the listeners")
        said = self.web.host.start("python3", "-u", "-c", SAY, self.db.addresses[0], 7001, 7002, name="said", stdin=subprocess.PIPE)
        wait_until(lambda: said.output(), "the first datagrams")
        for number in range(1, 4):
            self.apply(policies[number % 2])
        said.popen.stdin.close()
        said.wait()
        sent = int(said.output().split()[-1])
        self.assertGreater(sent, 100)
        heard.popen.stdin.close()  # after what it still has to read
        heard.wait()
        self.assertEqual(heard.output().split()[-2:], [str(sent), "0"])

    def test_a_rate_is_each_sources_own(self):
        self.listen(22)
        self.apply(self.policy('in = {}\nallow = ["tcp/22"]\nrate = "3/day per source"'))
        self.assertEqual(self.probe(self.web, 22, 22, 22, 22), ["open", "open", "open", "silent"])
        self.assertEqual(self.probe(self.other, 22), ["open"])
        self.assertIn("no token left", self.vern("explain", "in web-1 tcp 10.100.0.2:5 > 10.100.0.1:22").stdout)

    def test_reject_is_answered(self):
        self.listen(25)
        self.apply(self.policy('in = {}\nreject = ["tcp/25"]'))
        self.assertEqual(self.probe(self.web, 25, 26), ["refused", "silent"])
        self.assertEqual(self.probe(self.web, 25, address=self.db.addresses[1]), ["refused"])

    def test_observed_rules_deny_nothing(self):
        self.listen(22)
        self.apply(self.policy('in = {}\nallow = ["tcp/23"]', defaults="observe = true"))
        self.assertEqual(self.probe(self.web, 22), ["open"])
        wait_until(lambda: "would be denied in web-1 tcp" in self.log(), "what would be denied in the log")
        self.assertIn("observed only", self.vern("show", "wg0").stdout)

    def test_what_is_wrong_changes_nothing(self):
        self.listen(22)
        self.apply(self.policy('in = {}\nallow = ["tcp/22"]', name="good"))
        for wrong, words in ((self.policy('in = {}\nallow = ["tcp/99999"]'), r"policy\.toml:13:10: '99999'"),
                             (self.policy('in = {}\nallow = ["tcp/22"]') + '[[test]]\nfrom = "web-1"\nto = "10.100.0.1"\nproto = "tcp"\nport = 22\nexpect = "deny"\n', r"policy\.toml:14:1: test failed: .*rule 'r0' on line 10")):
            result = self.apply(wrong, check=False)
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, words)
            self.assertEqual(self.summary()["name"], "good")
        self.assertEqual(self.probe(self.web, 22), ["open"])
        self.assertEqual(self.vern("policy", "diff", self.db.host.write("new.toml", self.policy('in = {}\nallow = ["tcp/23"]', 'in = {}\ndeny = ["udp/1"]', name="good"))).stdout, "+ r1\n~ r0: services\n")

    def test_not_confirmed_in_time_the_previous_one_comes_back(self):
        self.listen(22)
        self.apply(self.policy('in = {}\nallow = ["tcp/22"]', name="first"))
        text = self.apply(self.policy('in = {}\nallow = ["tcp/23"]', name="second"), "--confirm", "3s").stdout
        self.assertRegex(text, r"on trial until .*\n.*vern policy confirm")
        self.assertIn("a policy is on trial", self.apply(self.policy(name="third"), check=False).stderr)
        wait_until(lambda: self.summary()["name"] == "first", "the first policy to come back")
        self.assertEqual(self.probe(self.web, 22), ["open"])
        self.apply(self.policy('in = {}\nallow = ["tcp/23"]', name="second"), "--confirm", "1h")
        self.assertRegex(self.vern("show", "wg0").stdout, r"policy: second, 1 rule, to be confirmed within \d+ s")
        self.vern("policy", "confirm")
        self.assertNotIn("pending_s", self.summary())
        self.assertEqual(self.probe(self.web, 22), ["silent"])
        self.vern("policy", "rollback")
        self.assertEqual(self.summary()["name"], "first")
        self.assertEqual(self.probe(self.web, 22), ["open"])

    def restart(self):
        """The daemon after kill -9, with what it keeps on disk; configured as before."""
        self.db.process.send_signal(signal.SIGKILL)
        self.db.process.wait()
        self.db.host.run("sh", "-c", "ip link del wg0 2>/dev/null; true")
        self.db = Interface(self.db.host, SUBJECT, addresses=["10.100.0.1/24", "fd00:100::1/64"], private=self.db.private)
        for peer in (self.web, self.other):
            self.join(peer)

    def test_killed_on_trial_the_previous_one_comes_back(self):
        self.apply(self.policy('in = {}\nallow = ["tcp/22"]', name="first"))
        self.apply(self.policy('in = {}\nallow = ["tcp/23"]', name="second"), "--confirm", "1h")
        self.restart()
        self.assertEqual(self.summary()["name"], "first")
        self.assertIn("was not confirmed", self.log())
        told = [json.loads(line) for line in self.vern("audit", "export", "--kind", "policy-rolled-back").stdout.splitlines()]
        self.assertEqual([(one["policy_version"], one["detail"]) for one in told], [("first", "not confirmed before the daemon ended")])
        self.apply(self.policy('in = {}\nallow = ["tcp/23"]', name="second"), "--confirm", "1h")
        self.vern("policy", "confirm")
        self.restart()
        self.assertEqual(self.summary()["name"], "second")

    def test_killed_at_any_moment_it_is_the_old_or_the_new(self):
        chance = random.Random(4)
        texts = {f"p{number}": self.policy(*[f'in = {{}}\nallow = ["tcp/{1000 * number + port}"]' for port in range(400)], name=f"p{number}") for number in range(1, 3)}
        self.apply(texts["p1"])
        before = "p1"
        for _ in range(6):
            after = "p2" if before == "p1" else "p1"
            path = self.db.host.write("next.toml", texts[after])
            applying = self.db.host.start(VERN, "policy", "apply", path, name="apply")
            self.db.host.run("sleep", f"{chance.random() * 0.15:.3f}")
            self.restart()
            applying.wait()
            found = self.summary()
            self.assertIn(found["name"], (before, after))
            self.assertEqual((found["state"], found["rules"]), ("active", 400))
            self.assertEqual((self.db.host.directory / "state" / "wg0" / "policy.toml").read_text(), texts[found["name"]])
            before = found["name"]

    def test_one_that_cannot_be_loaded_denies_everything(self):
        self.listen(22)
        self.apply(self.policy('in = {}\nallow = ["tcp/22"]'))
        (self.db.host.directory / "state" / "wg0" / "policy.toml").write_text("version = 1\n[[rule]]\n")
        self.restart()
        self.assertEqual(self.probe(self.web, 22), ["silent"])
        self.assertGreater(self.db.handshake(self.web), 0)
        self.assertIn("EVERYTHING IS DENIED", self.log())
        self.assertIn("COULD NOT BE LOADED", self.vern("show", "wg0").stdout)
        self.assertEqual(self.summary()["state"], "failed")
        self.apply(self.policy('in = {}\nallow = ["tcp/22"]'))
        self.assertEqual(self.probe(self.web, 22), ["open"])

    def test_removed_allowed_ips_alone_decide(self):
        self.listen(22, 3306)
        self.apply(self.policy('in = {}\nallow = ["tcp/22"]'))
        self.assertEqual(self.probe(self.web, 22, 3306), ["open", "silent"])
        refused = self.vern("policy", "remove", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("--allowed-ips-only", refused.stderr)
        self.assertEqual(self.probe(self.web, 3306), ["silent"])
        self.vern("policy", "remove", "--allowed-ips-only")
        for _ in ("at once", "after kill -9"):
            self.assertEqual(self.summary()["state"], "none")
            self.db.host.ping(self.web.addresses[0], count=1)  # a session that both know
            self.assertEqual(self.probe(self.web, 22, 3306, 3307), ["open", "open", "refused"])
            # Allowed IPs still do: an address that is not the peer's has no way in.
            self.web.host.address("wg0", "10.100.0.77/32")
            self.assertEqual(self.web.host.run("ping", "-c", "1", "-W", "1", "-I", "10.100.0.77", "10.100.0.1", check=False).returncode, 1)
            self.web.host.ip("address", "del", "10.100.0.77/32", "dev", "wg0")
            self.restart()
        self.db.host.ping(self.web.addresses[0], count=1)
        self.vern("policy", "rollback")
        self.assertEqual(self.probe(self.web, 22, 3306), ["open", "silent"])

    def test_a_first_policy_is_given_at_the_start(self):
        self.db.stop()
        file = self.db.host.write("first.toml", self.policy('in = {}\nallow = ["tcp/22"]', name="given"))
        subject = type(SUBJECT)("vernd", SUBJECT.program, ["-f"], ["--policy", str(file)])
        self.db = Interface(self.db.host, subject, addresses=["10.100.0.1/24"])
        self.assertEqual(self.summary()["name"], "given")
        self.db.stop()
        file.unlink()
        self.db = Interface(self.db.host, subject, addresses=["10.100.0.1/24"])
        self.assertEqual(self.summary()["name"], "given")  # it was kept

    def test_a_first_policy_that_is_not_there_denies_everything(self):
        self.db.stop()
        self.db = Interface(self.db.host, type(SUBJECT)("vernd", SUBJECT.program, ["-f"], ["--policy", "/nonexistent.toml"]), addresses=["10.100.0.1/24"])
        self.assertEqual(self.summary()["state"], "failed")

    RULESET = """
table inet filter {
    set web { type ipv4_addr; elements = { 10.100.0.2 } }
    chain input {
        type filter hook input priority 0; policy drop;
        iif lo accept
        ct state established,related accept
        ct state invalid drop
        iifname "wg0" icmp type echo-request accept
        tcp dport 22 ct state new limit rate 2/hour burst 2 packets accept
        iifname "wg0" ip saddr @web tcp dport 3306 accept
        iifname "eth0" accept
        iifname "wg0" tcp dport { 443, 8000-8002 } accept
        ip saddr 10.100.0.3 tcp dport 25 reject with tcp reset
        log prefix "[NFTABLES-DROP]: "
    }
    chain output { type filter hook output priority 0; policy accept; }
}
"""
    PORTS = (22, 22, 22, 25, 80, 443, 3306, 7999, 8000, 8002, 8003)

    def test_an_nftables_ruleset_means_the_same_here(self):
        self.listen(*sorted(set(self.PORTS)))

        def verdicts():
            words = [self.probe(self.web, *self.PORTS), self.probe(self.other, *self.PORTS)]
            return words, self.web.host.run("ping", "-c", "1", "-W", "1", self.db.addresses[0], check=False).returncode
        self.db.host.run("nft", "-f", "-", input=self.RULESET)
        by_nft = verdicts()
        listed = self.db.host.run("nft", "-j", "list", "ruleset").stdout
        self.db.host.run("nft", "flush", "ruleset")
        result = self.vern("policy", "from-nft", "-", input=listed)
        self.assertEqual(result.returncode, 0)
        self.assertIn('log_denied = "[NFTABLES-DROP]: "', result.stdout)
        self.assertEqual(self.vern("policy", "from-nft", "-", input=self.RULESET).stdout.count("[[rule]]"), result.stdout.count("[[rule]]"))
        self.apply(result.stdout)
        self.assertEqual(verdicts(), by_nft)
        wait_until(lambda: "[NFTABLES-DROP]: denied in" in self.log(), "the drop in the log")

    def test_others_have_no_word(self):
        self.db.host.run("chmod", "0666", "/run/vern/wg0.sock")
        result = self.db.host.run("setpriv", "--reuid=65534", "--clear-groups", VERN, "policy", "show", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(self.db.host.run("stat", "-c", "%a %F", "/run/vern/wg0.sock").stdout.split(" ", 1)[1].strip(), "socket")
        self.assertEqual(json.loads(self.curl("/v1/policy", user=65534)[1])["code"], "forbidden")

    def curl(self, target, *options, user=0, **run):
        """Status and body of what any HTTP client is told."""
        result = self.db.host.run("setpriv", f"--reuid={user}", "--clear-groups", "curl", "-sS", "--max-time", "20", "--unix-socket", "/run/vern/wg0.sock",
                                  "-w", "\n%{http_code}", f"http://vern{target}", *options, **run)
        body, status = result.stdout.rsplit("\n", 1)
        return int(status), body

    def test_curl_is_a_client_too(self):
        self.listen(22)
        events = self.db.host.start("curl", "-sSN", "--unix-socket", "/run/vern/wg0.sock", "http://vern/v1/events", name="events")
        wait_until(lambda: events.output().startswith(":"), "the stream of events")
        wrong = self.curl("/v1/policy?file=db.toml", "-T", self.db.host.write("wrong.toml", "version = 1\nwrong = 2\n"))
        self.assertEqual(wrong[0], 422)
        self.assertRegex(json.loads(wrong[1])["errors"][0], r"^db\.toml:2:1: ")
        file = self.db.host.write("policy.toml", self.policy('in = { from = ["web"] }\nallow = ["tcp/22"]'))
        self.assertEqual(self.curl("/v1/policy?confrim=60s", "-T", file)[0], 400)
        self.assertEqual(json.loads(self.curl("/v1/policy")[1]), {"state": "none"})
        status, body = self.curl("/v1/policy?confirm=60s", "-T", file)
        self.assertEqual((status, json.loads(body)["pending_s"]), (200, 60))
        self.assertEqual(self.curl("/v1/policy/confirm", "-X", "POST")[0], 200)
        self.assertEqual(self.curl("/v1/policy/confirm", "-X", "POST")[0], 409)
        self.assertEqual(self.probe(self.web, 22, 23), ["open", "silent"])
        wait_until(lambda: re.search(r"event: policy\.loaded\ndata: .*\n\n.*event: policy\.confirmed\ndata: .*\"by\":\"uid 0\"", events.output(), re.DOTALL), "both events")
        question = "in web-1 tcp 10.100.0.2:40000 > 10.100.0.1:22"
        self.assertEqual(json.loads(self.curl("/v1/explain", "-G", "--data-urlencode", f"q={question}")[1])["rule"]["id"], "r0")
        self.assertEqual(self.curl("/v1/flows?port=22&limit=1")[0], 200)
        peers = json.loads(self.curl("/v1/peers")[1])
        self.assertEqual((peers["total"], {peer["public_key"] for peer in peers["peers"]}), (2, {self.web.public, self.other.public}))
        interface = self.curl("/v1/interface")[1]
        self.assertEqual((json.loads(interface)["name"], json.loads(interface)["public_key"]), ("wg0", self.db.public))
        self.assertNotIn(self.db.private, interface)
        metrics = self.curl("/metrics")[1]
        self.assertRegex(metrics, rf'vern_peer_receive_bytes_total\{{interface="wg0",public_key="{re.escape(self.web.public)}",name="web-1"\}} [1-9]')
        self.assertRegex(metrics, r'vern_rule_flows_total\{interface="wg0",rule="r0",direction="in",action="allow"\} 1\n')
        self.assertRegex(metrics, r'vern_policy_no_rule_total\{interface="wg0"\} [1-9]')
        self.assertRegex(metrics, r'vern_api_requests_total\{interface="wg0",method="PUT",route="/v1/policy",status="422"\} 1\n')
        # A body of a stream, one too large, and one of a page in a browser.
        self.assertEqual(self.curl("/v1/policy", "-T", "-", input="version = 1\n")[0], 411)
        self.assertEqual(self.curl("/v1/policy", "-T", self.db.host.write("large.toml", "#" * (9 << 20)))[0], 413)
        self.assertEqual(self.curl("/v1/policy/rollback", "-X", "POST", "-H", "Origin: http://example.org")[0], 403)
        self.assertEqual(self.summary()["name"], "test")


if __name__ == "__main__":
    unittest.main()
