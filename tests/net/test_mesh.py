"""Three hosts: who may speak for which address, and where a packet goes."""

import unittest

from lab import Lab, LabError
from tunnel import SUBJECT, SUBJECT_IS_VERN, Interface, at


class Mesh(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        internet = self.lab.internet()
        self.hosts = [internet.host(name) for name in ("a", "b", "c")]
        self.interfaces = [Interface(host, SUBJECT, addresses=[f"10.77.0.{number}/24", f"fd77::{number}/64"])
                           for number, host in enumerate(self.hosts, 1)]

    def mesh(self):
        for one in self.interfaces:
            for number, other in enumerate(self.interfaces, 1):
                if one is not other:
                    one.peer(other, [f"10.77.0.{number}/32", f"fd77::{number}/128"], endpoint=at(other.host.v4))

    def hub(self):
        """a is the hub; b and c know only a."""
        a, *spokes = self.interfaces
        a.host.sysctl("net.ipv4.ip_forward", 1)
        a.host.sysctl("net.ipv6.conf.all.forwarding", 1)
        for number, spoke in enumerate(spokes, 2):
            a.peer(spoke, [f"10.77.0.{number}/32", f"fd77::{number}/128"])
            spoke.peer(a, ["10.77.0.0/24", "fd77::/64"], endpoint=at(a.host.v4))
        for spoke in spokes:
            spoke.host.ping(a.addresses[0])
            spoke.host.ping(a.addresses[1])

    def test_mesh_everyone_reaches_everyone(self):
        self.mesh()
        for one in self.interfaces:
            for other in self.interfaces:
                if one is not other:
                    for address in other.addresses:
                        one.host.ping(address)

    def test_hub_forwards_between_spokes(self):
        self.hub()
        _, b, c = self.interfaces
        for address in c.addresses:
            b.host.ping(address, count=10)
        # A stream in and out of one interface: what is coalesced on the way in is a superpacket on the way out.
        for address in c.addresses:
            b.host.iperf3(c.host, address, "--bytes", "16M")
            b.host.iperf3(c.host, address, "--bytes", "16M", "--reverse")

    def spoof(self, sender, receiver, v4, v6):
        """Sends from addresses that are not the sender's own. How many of them the receiver's interface gave to its kernel."""
        counts = [receiver.host.count_packets("prerouting", f'iifname "wg0" {family} saddr {address}') for family, address in (("ip", v4), ("ip6", v6))]
        sender.host.address(sender.name, f"{v4}/32", f"{v6}/128")
        for source, target in ((v4, receiver.addresses[0]), (v6, receiver.addresses[1])):
            sender.host.run("ping", "-n", "-c", "3", "-i", "0.02", "-W", "0.1", "-I", source, target, check=False)
        # What is sent later arrives later: when this is answered, the others have been judged.
        sender.host.ping(receiver.addresses[0], "-I", sender.addresses[0])
        sender.host.ping(receiver.addresses[1], "-I", sender.addresses[1])
        seen = sum(count() for count in counts)
        if SUBJECT_IS_VERN:
            self.assertEqual(receiver.counters()["inner_source"], 6 - seen)
        return seen

    def test_an_address_nobody_has_is_refused(self):
        self.mesh()
        a, b, _ = self.interfaces
        self.assertEqual(self.spoof(b, a, "10.77.0.99", "fd77::99"), 0)

    def test_an_address_of_another_peer_is_refused(self):
        self.mesh()
        a, b, _ = self.interfaces
        self.assertEqual(self.spoof(b, a, "10.77.0.3", "fd77::3"), 0)

    def test_an_allowed_source_is_counted(self):
        # The opposite of the two above, so that they can fail.
        self.mesh()
        a, b, _ = self.interfaces
        a.peer(b, ["10.77.0.2/32", "10.77.0.99/32", "fd77::2/128", "fd77::99/128"])
        self.assertEqual(self.spoof(b, a, "10.77.0.99", "fd77::99"), 6)

    def test_a_wide_prefix_does_not_cover_anothers_longer_one(self):
        # b has the whole /24, but .3 is c's: b must not speak as .3, and what goes to .3 goes to c.
        self.mesh()
        a, b, c = self.interfaces
        a.peer(b, ["10.77.0.0/24", "fd77::/64"])
        a.peer(c, ["10.77.0.3/32", "fd77::3/128"])
        self.assertEqual(self.spoof(b, a, "10.77.0.3", "fd77::3"), 0)
        b.host.ip("address", "del", "10.77.0.3/32", "dev", "wg0")
        b.host.ip("address", "del", "fd77::3/128", "dev", "wg0")
        a.host.ping("10.77.0.3")
        a.host.ping("fd77::3")
        self.assertGreater(c.transfer(a)[0], 0)

    def test_a_prefix_moves_to_another_peer_while_sessions_live(self):
        self.mesh()
        a, b, c = self.interfaces
        for side in (b, c):
            side.host.address("lo", "10.88.0.1/32", "fd88::1/128")
        a.host.ip("route", "add", "10.88.0.1", "dev", "wg0")
        a.host.ip("route", "add", "fd88::1", "dev", "wg0")
        for side, number in ((b, 2), (c, 3), (b, 2)):
            a.peer(side, [f"10.77.0.{number}/32", f"fd77::{number}/128", "10.88.0.1/32", "fd88::1/128"])
            before = side.transfer(a)[0]
            a.host.ping("10.88.0.1")
            a.host.ping("fd88::1")
            self.assertGreater(side.transfer(a)[0], before)

    def test_removing_a_peer_ends_its_traffic_and_no_others(self):
        self.mesh()
        a, b, c = self.interfaces
        b.host.ping(a.addresses[0])
        c.host.ping(a.addresses[0])
        a.wg("set", "wg0", "peer", b.public, "remove")
        with self.assertRaises(LabError):
            b.host.ping(a.addresses[0], "-w", "1", count=1)
        c.host.ping(a.addresses[0])
        a.peer(b, ["10.77.0.2/32"], endpoint=at(b.host.v4))
        a.host.ping(b.addresses[0])  # a's new handshake replaces the session that b still thinks it has


if __name__ == "__main__":
    unittest.main()
