"""Peers that move: other address, other port, other NAT binding; and what must not move an endpoint."""

import sys
import unittest

from lab import Lab, wait_until
from relay import Relay
from tunnel import PORT, SUBJECT, SUBJECT_IS_VERN, at, pair

GARBAGE = """
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for kind, size in ((1, 148), (2, 92), (3, 64), (4, 32), (4, 1452), (4, 65507), (9, 40)):
    s.sendto(bytes([kind, 0, 0, 0]) + os.urandom(size - 4), (sys.argv[1], int(sys.argv[2])))
"""


class Roaming(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        self.internet = self.lab.internet()

    def pair(self, **options):
        self.a, self.b = pair(self.internet, SUBJECT, SUBJECT, knows=(True, False), **options)
        self.a.host.ping(self.b.addresses[0])
        return self.a, self.b

    def change_address(self, family, length, new):
        a, b = self.pair(outer=family)
        old, gateway = getattr(a.host, family), getattr(self.internet, family)
        self.assertEqual(b.show("endpoints", a), at(old))
        a.host.ip("address", "del", f"{old}/{length}", "dev", "eth0")
        a.host.address("eth0", f"{new}/{length}")
        a.host.ip("-6" if family == "v6" else "-4", "route", "replace", "default", "via", gateway)
        a.host.ping(b.addresses[0])  # the source address that it kept is gone: it takes the new one
        self.assertEqual(b.show("endpoints", a), at(new))
        b.host.ping(a.addresses[0])

    def test_the_v4_address_changes(self):
        self.change_address("v4", 24, "192.0.2.101")

    def test_the_v6_address_changes(self):
        self.change_address("v6", 64, "2001:db8::101")

    def test_the_family_changes(self):
        a, b = self.pair()
        a.peer(b, None, endpoint=at(b.host.v6))
        a.host.ping(b.addresses[0])
        self.assertEqual(b.show("endpoints", a), at(a.host.v6))
        b.host.ping(a.addresses[0])

    def test_the_listen_port_changes(self):
        a, b = self.pair()
        for port in (51999, 52000):
            a.wg("set", "wg0", "listen-port", port)
            a.host.ping(b.addresses[0])
            self.assertEqual(b.show("endpoints", a), at(a.host.v4, port))
            b.host.ping(a.addresses[0])
            self.assertFalse(a.host.listening(PORT, "udp"))

    def test_a_nat_rebinds(self):
        a, b = self.pair()
        middle = self.internet.host("middle")
        middle.address("eth0", "192.0.2.200/24")
        relay = Relay(middle, at(middle.v4, 7001), at(b.host.v4))
        a.peer(b, None, endpoint=at(middle.v4, 7001))
        a.host.ping(b.addresses[0])
        seen = [b.show("endpoints", a)]
        for source in ((), ("192.0.2.200",), ()):
            relay("rebind", *source)
            a.host.ping(b.addresses[0])
            seen.append(b.show("endpoints", a))
            b.host.ping(a.addresses[0])  # and back the new way
        self.assertEqual(len(set(seen)), 4, seen)
        self.assertTrue(seen[2].startswith("192.0.2.200:"), seen)

    def test_a_stranger_moves_nothing(self):
        a, b = self.pair()
        before = b.show("endpoints", a)
        stranger = self.internet.host("stranger")
        stranger.run(sys.executable, "-c", GARBAGE, b.host.v4, PORT)
        if SUBJECT_IS_VERN:
            names = ("handshake_bad_mac1", "unknown_index", "underlay_type")
            wait_until(lambda: all(b.counters()[name] >= 1 for name in names), f"{names} to be counted")
        self.assertEqual(b.show("endpoints", a), before)
        b.host.ping(a.addresses[0])

    def test_a_replayed_message_moves_nothing(self):
        a, b = self.pair()
        middle = self.internet.host("middle")
        middle.address("eth0", "192.0.2.200/24")
        relay = Relay(middle, at(middle.v4, 7001), at(b.host.v4))
        a.peer(b, None, endpoint=at(middle.v4, 7001))
        a.host.ping(b.addresses[0])
        before = b.show("endpoints", a)
        relay("replay")
        if SUBJECT_IS_VERN:
            wait_until(lambda: b.counters()["replayed"] >= 1, "the replay to be counted")
        self.assertEqual(b.show("endpoints", a), before)
        b.host.ping(a.addresses[0])

    def test_an_endpoint_is_set_while_sessions_live(self):
        a, b = self.pair()
        b.host.address("eth0", "192.0.2.150/24")
        a.peer(b, None, endpoint=at("192.0.2.150"))
        a.host.ping(b.addresses[0])

    def test_answers_come_from_the_address_that_was_asked(self):
        # b has two addresses; a's endpoint is the second. An answer from the first would roam a's endpoint away from what was set.
        a, b = self.pair()
        b.host.address("eth0", "192.0.2.150/24", "2001:db8::150/64")
        for address in ("192.0.2.150", "2001:db8::150"):
            a.peer(b, None, endpoint=at(address))
            a.host.ping(b.addresses[0])
            b.host.ping(a.addresses[0])
            self.assertEqual(a.show("endpoints", b), at(address))

    def test_persistent_keepalive_without_traffic(self):
        a, b = self.pair()
        a.peer(b, None, keepalive=1)
        start = b.transfer(a)[0]
        wait_until(lambda: b.transfer(a)[0] >= start + 3 * 32, "three keepalives")
        self.assertEqual(a.show("persistent-keepalive", b), "1")
        a.peer(b, None, keepalive=0)
        self.assertEqual(a.show("persistent-keepalive", b), "off")

    def test_persistent_keepalive_makes_the_first_handshake(self):
        a, b = pair(self.internet, SUBJECT, SUBJECT, knows=(True, False))
        a.peer(b, None, keepalive=25)
        wait_until(lambda: b.handshake(a), "a handshake")
        b.host.ping(a.addresses[0])  # nobody but a could have begun


if __name__ == "__main__":
    unittest.main()
