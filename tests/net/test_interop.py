"""Tunnels between ours and other people's: each of them, both roles, both families outside, psk, roaming, keepalive, streams."""

import hashlib
import random
import unittest

from lab import Lab, wait_until
from relay import Relay
from tunnel import PEERS, PORT, SUBJECT, Implementation, Interface, at, ends, genpsk, host_routes, join


class Interop:
    """One other implementation; the classes below are made from it. `ours` and `theirs` are the two ends."""

    name = None

    def setUp(self):
        self.theirs_by = PEERS[self.name]
        if not isinstance(self.theirs_by, Implementation):
            self.skipTest(self.theirs_by)
        self.lab = self.enterContext(Lab())
        self.internet = self.lab.internet()

    # Some of them cannot change a peer that they have: a tunnel is configured in one go.

    def ends(self):
        self.ours, self.theirs = ends(self.internet, SUBJECT, self.theirs_by, names=("ours", "theirs"))
        return self.ours, self.theirs

    def pair(self, **options):
        join(*self.ends(), **options)
        return self.ours, self.theirs

    def both_ways(self):
        for one, other in ((self.ours, self.theirs), (self.theirs, self.ours)):
            for address in other.addresses:
                one.host.ping(address, count=5)

    def test_we_begin_over_v4(self):
        ours, theirs = self.pair(knows=(True, False))
        ours.host.ping(theirs.addresses[0])
        self.both_ways()

    def test_we_begin_over_v6(self):
        ours, theirs = self.pair(knows=(True, False), outer="v6")
        ours.host.ping(theirs.addresses[1])
        self.both_ways()

    def test_they_begin_over_v4(self):
        ours, theirs = self.pair(knows=(False, True))
        theirs.host.ping(ours.addresses[0])
        self.both_ways()

    def test_they_begin_over_v6(self):
        ours, theirs = self.pair(knows=(False, True), outer="v6")
        theirs.host.ping(ours.addresses[1])
        self.both_ways()

    def test_both_begin_at_once(self):
        ours, theirs = self.pair()
        pings = [one.host.start("ping", "-n", "-c", "20", "-i", "0.02", "-w", "30", other.addresses[0]) for one, other in ((ours, theirs), (theirs, ours))]
        for ping in pings:
            self.assertEqual(ping.wait(), 0, ping.output())
        self.both_ways()

    def test_preshared_key_we_begin(self):
        ours, theirs = self.pair(psk=genpsk(), knows=(True, False))
        ours.host.ping(theirs.addresses[0])
        self.both_ways()

    def test_preshared_key_they_begin(self):
        ours, theirs = self.pair(psk=genpsk(), knows=(False, True))
        theirs.host.ping(ours.addresses[0])
        self.both_ways()

    def test_streams_both_ways(self):
        ours, theirs = self.pair()
        ours.host.ping(theirs.addresses[0])
        for one, other in ((ours, theirs), (theirs, ours)):
            for address in other.addresses:
                one.host.iperf3(other.host, address, "--bytes", "16M")

    def test_file_both_ways(self):
        ours, theirs = self.pair(outer="v6")
        ours.host.ping(theirs.addresses[0])
        for one, other in ((ours, theirs), (theirs, ours)):
            content = random.Random(other.public).randbytes(3_000_007)
            files = other.host.directory / "files"
            files.mkdir()
            (files / "f").write_bytes(content)
            other.host.serve_files(files, other.addresses[0])
            self.assertEqual(one.host.fetch(f"http://{other.addresses[0]}:8080/f"), hashlib.sha256(content).hexdigest())

    def test_large_pings_in_fragments(self):
        ours, theirs = self.pair()
        ours.host.ping(theirs.addresses[0])
        for one, other in ((ours, theirs), (theirs, ours)):
            for size in (1392, 1393, 9000):
                one.host.ping(other.addresses[0], "-s", size)

    def through_nat(self, outside, inside):
        middle = self.internet.host("middle")
        middle.address("eth0", "192.0.2.200/24")
        relay = Relay(middle, at(middle.v4, 7001), at(inside.host.v4))
        join(outside, inside, knows=(True, False), way=at(middle.v4, 7001))
        outside.host.ping(inside.addresses[0])
        seen = [inside.show("endpoints", outside)]
        for source in ((), ("192.0.2.200",)):
            relay("rebind", *source)
            outside.host.ping(inside.addresses[0])
            seen.append(inside.show("endpoints", outside))
            inside.host.ping(outside.addresses[0])
        self.assertEqual(len(set(seen)), 3, seen)

    def test_they_roam(self):
        ours, theirs = self.ends()
        self.through_nat(theirs, ours)

    def test_we_roam(self):
        self.through_nat(*self.ends())

    def keepalive(self, one, other):
        count = other.host.count_packets("input", f"udp sport {PORT} meta length 60")  # a message without content: 32, UDP 8, IP 20
        join(one, other, knows=(True, False), keepalive=(1, None))
        wait_until(lambda: other.handshake(one), "the handshake that the keepalive begins")
        wait_until(lambda: count() >= 3, "three keepalives")

    def test_our_keepalive(self):
        self.keepalive(*self.ends())

    def test_their_keepalive(self):
        ours, theirs = self.ends()
        self.keepalive(theirs, ours)

    def test_they_restart(self):
        ours, theirs = self.pair()
        ours.host.ping(theirs.addresses[0])
        private = theirs.private
        theirs.stop()
        wait_until(lambda: not theirs.host.has_interface("wg0"), "their interface to go")
        again = Interface(theirs.host, self.theirs_by, addresses=[f"{theirs.addresses[0]}/24", f"{theirs.addresses[1]}/64"], private=private)
        again.peer(ours, host_routes(ours), endpoint=at(ours.host.v4))
        again.host.ping(ours.addresses[0])
        self.both_ways()


for _name in PEERS:
    _class = "Interop_" + _name.replace("-", "_")
    globals()[_class] = type(_class, (Interop, unittest.TestCase), {"name": _name})


if __name__ == "__main__":
    unittest.main()
