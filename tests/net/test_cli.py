"""`vern` by itself: keys, check, show, and what it says when something is wrong. Its up and down are in test_quick.py."""

import json
import re
import unittest

from lab import Lab, wait_until
from tunnel import PORT, SUBJECT, SUBJECT_IS_VERN, VERN, Interface, at, genkey, genpsk, pair, pubkey

GOOD = """[Interface]
PrivateKey = {private}
Address = 10.0.0.1/24
ListenPort = 51820

[Peer]
PublicKey = {public}
AllowedIPs = 10.0.0.2/32
Endpoint = 192.0.2.9:51820
"""


@unittest.skipUnless(SUBJECT_IS_VERN, "vernd only")
class Cli(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        self.internet = self.lab.internet()
        self.host = self.internet.host("a")

    def vern(self, *argv, check=True, **options):
        return self.host.run(VERN, *argv, check=check, **options)

    def test_keys_are_what_wg_makes(self):
        private = self.vern("genkey").stdout
        self.assertRegex(private, r"\A[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n\Z")
        self.assertEqual(self.vern("pubkey", input=private).stdout.strip(), pubkey(private))
        self.assertEqual(self.host.run("wg", "pubkey", input=private).stdout, self.vern("pubkey", input=private).stdout)
        self.assertEqual(len({self.vern("genkey").stdout for _ in range(5)} | {self.vern("genpsk").stdout for _ in range(5)}), 10)
        for text in ("", "short", private.strip() + "x"):
            self.assertNotEqual(self.vern("pubkey", input=text, check=False).returncode, 0)

    def test_show_says_all_that_wg_says(self):
        a, b = pair(self.internet, SUBJECT, SUBJECT, psk=genpsk(), names=("one", "two"))
        a.host.ping(b.addresses[0])
        a.wg("set", "wg0", "fwmark", "0x77")
        text, wgs = a.host.run(VERN, "show", "wg0").stdout, a.wg("show", "wg0").stdout
        for line in wgs.splitlines():
            if not re.search("latest handshake|transfer", line):  # these grow while we look
                self.assertIn(line.strip(), text)
        for part in ("latest handshake:", "transfer:", "engine:", "aead:", "offloads:"):
            self.assertIn(part, text)
        for secret in (a.private, a.show("preshared-keys", b)):
            self.assertNotIn(secret, text)

    def test_show_fields_are_wgs(self):
        a, b = pair(self.internet, SUBJECT, SUBJECT, names=("one", "two"))
        a.host.ping(b.addresses[0])
        for field in ("public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints", "allowed-ips",
                      "latest-handshakes", "persistent-keepalive"):
            self.assertEqual(a.host.run(VERN, "show", "wg0", field).stdout, a.wg("show", "wg0", field).stdout, field)
        self.assertEqual(a.host.run(VERN, "show", "interfaces").stdout, a.wg("show", "interfaces").stdout)
        self.assertEqual(len(a.host.run(VERN, "show", "wg0", "dump").stdout.split("\t")), len(a.wg("show", "wg0", "dump").stdout.split("\t")))

    def test_json(self):
        a, b = pair(self.internet, SUBJECT, SUBJECT, names=("one", "two"))
        a.host.ping(b.addresses[0])
        text = a.host.run(VERN, "show", "--json").stdout
        shown = json.loads(text)["wg0"]
        self.assertEqual((shown["public_key"], shown["listen_port"], shown["peers"][0]["public_key"], shown["peers"][0]["endpoint"]),
                         (a.public, PORT, b.public, at(b.host.v4)))
        self.assertNotIn(a.private, text)
        for name, offload in shown["vern"]["offloads"].items():
            self.assertTrue(offload["on"] or offload["reason"], name)
        received, sent = a.transfer(b)
        self.assertLessEqual(shown["peers"][0]["receive_bytes"], received)
        self.assertGreater(shown["peers"][0]["transmit_bytes"], 0)

    def test_show_says_why_an_offload_is_off(self):
        Interface(self.host, type(SUBJECT)("vernd", SUBJECT.program, ["-f"], ["--offload", "gso", "--engine", "epoll"]))
        text = self.vern("show", "wg0").stdout
        self.assertRegex(text, "engine: epoll")
        self.assertRegex(text, r"tso \(turned off")
        offloads = json.loads(self.vern("show", "--json").stdout)["wg0"]["vern"]["offloads"]
        self.assertTrue(offloads["gso"]["on"], offloads)
        for name in ("gro", "tso", "uso"):
            self.assertFalse(offloads[name]["on"], offloads)

    def test_show_of_others(self):
        # An interface that another implementation runs is shown as far as the common protocol goes.
        from tunnel import PEERS, Implementation
        other = PEERS["wireguard-go-debian"]
        if not isinstance(other, Implementation):
            self.skipTest(other)
        interface = Interface(self.host, other)
        self.assertIn(interface.public, self.vern("show", "wg0").stdout)
        self.assertEqual(json.loads(self.vern("show", "--json").stdout)["wg0"]["public_key"], interface.public)

    def test_show_without_any(self):
        self.assertEqual(self.vern("show").stdout, "")
        result = self.vern("show", "wg7", check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("wg7", result.stderr)

    def test_check(self):
        good = GOOD.format(private=genkey(), public=pubkey(genkey()))
        self.assertEqual(self.vern("check", self.host.write("wg0.conf", good)).stderr, "")
        peer = good[good.index("[Peer]"):]
        for wrong, line, words in (
                (good.replace("/24", "/33"), 3, "10.0.0.1/33"),
                (good.replace("ListenPort = 51820", "ListenPort = 70000"), 4, "70000"),
                (good.replace("PublicKey", "PublicKy"), 7, "PublicKy"),
                (good.replace("10.0.0.2/32", "10.0.0.256/32"), 8, "10.0.0.256"),
                (good.replace("192.0.2.9:51820", "192.0.2.9"), 9, "port"),
                (good.replace("192.0.2.9:51820", "2001:db8::9:51820x"), 9, "Endpoint"),
                (good + "\n" + peer, 12, "duplicate"),
                (good.replace("[Peer]", "[Pear]"), 6, "Pear"),
                (good.replace(re.search("PublicKey = (.*)", good).group(1), "AAAA"), 7, "key")):
            result = self.vern("check", self.host.write("wg0.conf", wrong), check=False)
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, rf"wg0\.conf:{line}: .*{re.escape(words)}")
        self.assertEqual(self.host.processes(), [])

    def test_no_error_tells_a_secret(self):
        private = genkey()
        for spoiled in (private[:-1], private + "A", private.replace("=", "-")):
            result = self.vern("check", self.host.write("wg0.conf", GOOD.format(private=spoiled, public=pubkey(genkey()))), check=False)
            self.assertEqual(result.returncode, 1)
            self.assertNotIn(private[:20], result.stdout + result.stderr)

    def test_a_name_that_does_not_resolve(self):
        self.host.run("mount", "--bind", self.host.write("resolv.conf", "nameserver 127.0.0.1\n", 0o644), "/etc/resolv.conf")
        file = self.host.write("wg0.conf", GOOD.format(private=genkey(), public=pubkey(genkey())).replace("192.0.2.9:", "nosuch.invalid:"))
        result = self.vern("up", file, check=False, env={"WG_ENDPOINT_RESOLUTION_RETRIES": "0"})
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"wg0\.conf:9: .*nosuch\.invalid")
        self.assertFalse(self.host.has_interface("wg0"))
        self.assertEqual(self.host.processes(), [])

    def test_a_port_that_is_taken(self):
        self.host.start("python3", "-c", "import socket, time; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 51820)); print('bound', flush=True); time.sleep(60)", name="taker")
        wait_until(lambda: self.host.run("ss", "-Hlun", "sport = :51820").stdout.strip(), "the port to be taken")
        result = self.vern("up", self.host.write("wg0.conf", GOOD.format(private=genkey(), public=pubkey(genkey()))), check=False)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"wg0\.conf: ListenPort 51820 is in use")
        self.assertFalse(self.host.has_interface("wg0"))

    def test_down_of_an_interface_that_was_renamed(self):
        file = self.host.write("wg0.conf", GOOD.format(private=genkey(), public=pubkey(genkey())))
        self.vern("up", file)
        self.host.run("ip", "link", "set", "dev", "wg0", "down")
        self.host.run("ip", "link", "set", "dev", "wg0", "name", "other")
        result = self.vern("down", file, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "wg0 has a daemon, but no interface is called so here: it was renamed")
        self.host.run("ip", "link", "set", "dev", "other", "name", "wg0")
        self.vern("down", file)
        self.assertFalse(self.host.has_interface("wg0"))

    def test_files_that_are_none(self):
        for argv in (("up", "/nonexistent.conf"), ("check", "/nonexistent.conf"), ("up", "nosuch"), ("down", "nosuch"), ("up",), ("nonsense",), ("up", "--nonsense", "x")):
            result = self.vern(*argv, check=False)
            self.assertNotIn(result.returncode, (0, -6, -11), argv)
            self.assertTrue(result.stderr, argv)

    def test_help(self):
        self.assertIn("up", self.vern("--help").stdout)
        for command in ("up", "down", "show", "save", "check", "genkey", "pubkey", "genpsk"):
            self.assertIn(f"vern {command}", self.vern("help", command).stdout)
            self.assertEqual(self.vern("help", command).stdout, self.vern(command, "--help").stdout)


if __name__ == "__main__":
    unittest.main()
