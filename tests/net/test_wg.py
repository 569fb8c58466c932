"""`wg` against a running interface: everything it can ask and change, while sessions live."""

import os
import signal
import unittest

from lab import Lab, LabError, wait_until
from tunnel import PORT, SUBJECT, SUBJECT_IS_VERN, at, genkey, genpsk, host_routes, pair, pubkey


class Wg(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        self.internet = self.lab.internet()
        self.a, self.b = pair(self.internet, SUBJECT, SUBJECT)
        self.a.host.ping(self.b.addresses[0])

    def alive(self):
        self.a.host.ping(self.b.addresses[0])
        self.b.host.ping(self.a.addresses[1])

    def configuration(self, text):
        return self.a.host.write("given.conf", text)

    def test_show(self):
        a, b = self.a, self.b
        text = a.wg("show", "wg0").stdout
        for part in (f"public key: {a.public}", f"listening port: {PORT}", f"peer: {b.public}", f"endpoint: {at(b.host.v4)}",
                     "allowed ips: 10.77.0.2/32, fd77::2/128", "latest handshake:", "received,"):
            self.assertIn(part, text)
        self.assertEqual(a.wg("show", "interfaces").stdout.split(), ["wg0"])
        self.assertEqual(a.wg("show", "wg0", "private-key").stdout.strip(), a.private)

    def test_dump(self):
        a, b = self.a, self.b
        device, peer = (line.split("\t") for line in a.wg("show", "wg0", "dump").stdout.splitlines())
        self.assertEqual(device, [a.private, a.public, str(PORT), "off"])
        self.assertEqual(peer[:4], [b.public, "(none)", at(b.host.v4), "10.77.0.2/32,fd77::2/128"])
        self.assertGreater(int(peer[4]), 1_500_000_000)  # a wall clock's seconds
        self.assertEqual(peer[7], "off")

    def test_transfer_counts_messages(self):
        # On the wire an echo request of 84 bytes is a message of 16 + 96 + 16: padded to 16.
        a, b = self.a, self.b
        before = a.transfer(b)
        requests = a.host.ping(b.addresses[0], count=10)
        received, sent = (now - then for now, then in zip(a.transfer(b), before))
        self.assertEqual(sent, requests * 128)
        # The last answer may be on its way still; b may have answered something with a keepalive meanwhile.
        self.assertIn(received, [answers * 128 + keepalive for answers in range(10, requests + 1) for keepalive in (0, 32)])

    def test_handshakes_go_first(self):
        # DSCP AF41 on the messages of a handshake, none on data: 148 and 92 bytes with UDP's 8.
        if not SUBJECT_IS_VERN:
            self.skipTest("vernd only")
        a, b = self.a, self.b
        counts = [host.count_packets("prerouting", f"udp dport {PORT} udp length {length} ip dscp af41") for host, length in ((b.host, 156), (a.host, 100))]
        data = b.host.count_packets("prerouting", f"udp dport {PORT} udp length 136 ip dscp cs0")
        a.wg("set", "wg0", "peer", b.public, "remove")
        a.peer(b, host_routes(b), endpoint=at(b.host.v4))
        a.host.ping(b.addresses[0])
        self.assertEqual([count() for count in counts], [1, 1])
        self.assertGreaterEqual(data(), 2)

    def test_setconf_replaces_addconf_adds_syncconf_changes_only_what_differs(self):
        a, b = self.a, self.b
        strangers = [pubkey(genkey()) for _ in range(3)]
        text = a.wg("showconf", "wg0").stdout
        peer = "[Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.{}/32\n"
        a.wg("addconf", "wg0", self.configuration(peer.format(strangers[0], 1) + peer.format(strangers[1], 2)))
        self.assertEqual(set(a.show("allowed-ips")), {b.public, *strangers[:2]})
        handshake = a.handshake(b)
        self.alive()
        # syncconf: one stranger goes, one comes, b stays as it is with its session
        a.wg("syncconf", "wg0", self.configuration(text + peer.format(strangers[1], 2) + peer.format(strangers[2], 3)))
        self.assertEqual(set(a.show("allowed-ips")), {b.public, *strangers[1:]})
        self.alive()
        self.assertEqual(a.handshake(b), handshake)
        # setconf: nothing but what it says, sessions anew
        a.wg("setconf", "wg0", self.configuration(text))
        self.assertEqual(set(a.show("allowed-ips")), {b.public})
        self.alive()
        self.assertEqual(sorted(a.wg("showconf", "wg0").stdout.split()), sorted(text.split()))

    def test_many_peers_come_back_as_given(self):
        given = {pubkey(genkey()): (f"10.{n // 256}.{n % 256}.0/24", genpsk() if n % 3 == 0 else None, n % 50) for n in range(200)}
        text = "".join(f"[Peer]\nPublicKey = {key}\nAllowedIPs = {prefix}\nPersistentKeepalive = {keepalive}\n"
                       + (f"PresharedKey = {psk}\n" if psk else "") for key, (prefix, psk, keepalive) in given.items())
        self.a.wg("addconf", "wg0", self.configuration(text))
        shown = {line.split("\t")[0]: line.split("\t") for line in self.a.wg("show", "wg0", "dump").stdout.splitlines()[1:]}
        for key, (prefix, psk, keepalive) in given.items():
            self.assertEqual([shown[key][1], shown[key][3], shown[key][7]], [psk or "(none)", prefix, str(keepalive) if keepalive else "off"])
        self.alive()

    def test_listen_port(self):
        a = self.a
        a.wg("set", "wg0", "listen-port", "0")
        port = int(a.wg("show", "wg0", "listen-port").stdout)
        self.assertNotIn(port, (0, PORT))
        self.assertTrue(a.host.listening(port, "udp"))
        self.alive()

    def test_a_port_that_is_taken_is_refused(self):
        a = self.a
        a.host.start("python3", "-c", "import socket, signal; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 777)); signal.pause()")
        wait_until(lambda: a.host.listening(777, "udp"), "the other program")
        result = a.wg("set", "wg0", "listen-port", "777", check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("Address already in use", result.stderr)
        if SUBJECT_IS_VERN:  # nothing has changed then
            self.assertEqual(a.wg("show", "wg0", "listen-port").stdout.strip(), str(PORT))
            self.alive()

    def test_fwmark(self):
        a, b = self.a, self.b
        a.wg("set", "wg0", "fwmark", "0x1234")
        self.assertEqual(a.wg("show", "wg0", "fwmark").stdout.strip(), "0x1234")
        count = a.host.count_packets("output", f"meta mark 0x1234 udp dport {PORT}")
        requests = a.host.ping(b.addresses[0], count=10)
        marked = count()
        self.assertGreaterEqual(marked, requests)
        a.wg("set", "wg0", "fwmark", "off")
        self.alive()
        self.assertEqual(count(), marked)

    def test_a_preshared_key_waits_for_the_next_handshake(self):
        a, b = self.a, self.b
        psk, handshake = genpsk(), a.handshake(b)
        a.peer(b, None, psk=psk)
        self.alive()  # b does not know it yet
        b.peer(a, None, psk=psk)
        self.alive()
        self.assertEqual(a.handshake(b), handshake)
        self.assertEqual([a.show("preshared-keys", b), b.show("preshared-keys", a)], [psk, psk])
        a.peer(b, None, psk="")
        self.assertEqual(a.show("preshared-keys", b), "(none)")

    def test_allowed_ips_change(self):
        a, b = self.a, self.b
        a.peer(b, ["10.77.0.2/32"])
        a.host.ping(b.addresses[0])
        with self.assertRaises(LabError):
            a.host.ping(b.addresses[1], "-w", "1", count=1)
        a.peer(b, ["10.77.0.0/24", "fd77::/64"])
        self.alive()
        self.assertEqual(set(a.show("allowed-ips", b).split()), {"10.77.0.0/24", "fd77::/64"})

    def test_the_private_key_changes(self):
        a, b = self.a, self.b
        private = genkey()
        b.wg("set", "wg0", "peer", a.public, "remove")
        a.wg("set", "wg0", "private-key", a.host.write("new.key", private))
        a.private, a.public = private, pubkey(private)
        self.assertEqual(a.wg("show", "wg0", "public-key").stdout.strip(), a.public)
        b.peer(a, ["10.77.0.1/32", "fd77::1/128"], endpoint=at(a.host.v4))
        b.host.ping(a.addresses[0])
        self.alive()

    def test_an_unknown_peer_is_not_made_by_an_update(self):
        # `wg set peer K remove` of a peer that is not there is no error and changes nothing.
        self.a.wg("set", "wg0", "peer", pubkey(genkey()), "remove")
        self.assertEqual(set(self.a.show("allowed-ips")), {self.b.public})
        self.alive()

    def test_a_down_interface_speaks_again_when_up(self):
        a, b = self.a, self.b
        a.host.ip("link", "set", "wg0", "down")
        with self.assertRaises(LabError):
            a.host.ping(b.addresses[0], "-w", "1", count=1)
        a.host.ip("link", "set", "wg0", "up")
        a.host.ping(b.addresses[0])

    @unittest.skipUnless(SUBJECT_IS_VERN, "a promise of vernd")
    def test_more_news_than_fit_lose_no_state(self):
        # While the daemon waits for a disk, say, more happens to routes than its socket holds; and the interface comes up.
        a, b = self.a, self.b
        a.host.ip("link", "set", "wg0", "down")
        with self.assertRaises(LabError):
            a.host.ping(b.addresses[0], "-w", "1", count=1)
        batch = a.host.write("routes", "".join(f"route {what} 10.{20 + i // 250}.{i % 250}.0/24 dev eth0\n" for what in ("add", "del") for i in range(8000)))
        os.kill(a.process.pid, signal.SIGSTOP)
        try:
            a.host.ip("-batch", batch)
            a.host.ip("link", "set", "wg0", "mtu", 1300, "up")
        finally:
            os.kill(a.process.pid, signal.SIGCONT)
        a.host.ping(b.addresses[0])
        wait_until(lambda: a.status()["vern"]["mtu"] == 1300, "the MTU to be known")


if __name__ == "__main__":
    unittest.main()
