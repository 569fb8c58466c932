"""Tunnels between ours and the kernel's own WireGuard, which runs in QEMU (kernel_guest.py): all that test_interop.py does with other
programs, and what only the kernel's messages and counters can show. The guest boots once. The sessions that grow old begin first and are
looked at when all else is done; a flood that takes all of the guest's time comes after that. unittest goes by the alphabet, and so do the
classes: Kernel..., Messages, OldSessions, UnderLoad.
"""

import atexit
import base64
import shutil
import sys
import unittest

from kernel_guest import KERNEL, SLOWER, Guest, why_not
from lab import PATIENCE_S, Lab, LabError, answered, unable, wait_until
from test_interop import Interop
from test_rekey import INTERVAL_S, MAIN_SUBJECTS, PINGS
from tunnel import PORT, SUBJECT, SUBJECT_IS_VERN, SUBJECTS, Interface, at, genkey, genpsk, host_routes, join, pubkey

lab = internet = guest = hindrance = None

# Initiations whose mac1 is right and nothing else: each costs who gets it an X25519, until he asks for cookies. In bursts, many a system call.
FLOOD = """
import hashlib, os, socket, sys, time
address, port, key, burst, pause = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
text = bytes([1, 0, 0, 0]) + os.urandom(112)
mac1 = hashlib.blake2s(text, key=hashlib.blake2s(b"mac1----" + key).digest(), digest_size=16).digest()
message = text + mac1 + bytes(16)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_UDP if hasattr(socket, "SOL_UDP") else 17, 103, len(message))      # UDP_SEGMENT
s.connect((address, port))
while True:
    for _ in range(burst // 60):
        s.send(message * 60)
    time.sleep(pause)
"""


def boot():
    """The lab and the guest, made when the first test needs them; what was in the way then is in the way of all."""
    global lab, internet, guest, hindrance
    if guest is None and hindrance is None:
        try:
            if reason := unable() or why_not():
                raise unittest.SkipTest(reason)
            lab = Lab()
            lab.__enter__()
            atexit.register(lab.__exit__, None, None, None)  # a runner of single tests has no end of a module
            internet = lab.internet()
            booted = Guest(internet)
            atexit.register(booted.end)
            guest = booted
            OldSessions.begin()
        except (LabError, unittest.SkipTest) as error:
            hindrance = error
    if hindrance:
        raise hindrance


def our_host(name):
    return internet.host(name)


def wait_for(condition, what):
    return wait_until(condition, what, PATIENCE_S * SLOWER)


class OnTheLab(unittest.TestCase):
    """Each test has hosts and interfaces of its own; the guest and what was there before remain."""

    subject = SUBJECT

    def setUp(self):
        if reason := self.subject.why_not():
            self.skipTest(reason)
        boot()
        self.lab, self.internet, self.theirs_by = lab, internet, KERNEL
        self.addCleanup(self.leave, len(lab.hosts), len(guest.started), internet.next)

    @staticmethod
    def leave(hosts, started, number):
        try:
            for process in guest.started[started:]:
                process.stop()
        finally:
            del guest.started[started:]
            for host in reversed(lab.hosts[hosts:]):
                host.end()
                host.directory.rename(f"{host.directory}-{len(lab.processes)}")  # the next test's may have the same name
            del lab.hosts[hosts:]
        wait_for(lambda: not any(internet.has_interface(f"port{n}") for n in range(number, internet.next)), "hosts to go")
        internet.next = number
        guest.ip("neighbour", "flush", "dev", "eth0")
        internet.ip("neighbour", "flush", "dev", "br0")
        shutil.rmtree(guest.directory / "files", ignore_errors=True)

    def ends(self):
        self.ours = Interface(our_host("ours"), self.subject, addresses=["10.77.0.1/24", "fd77::1/64"])
        self.theirs = Interface(guest, KERNEL, addresses=["10.77.0.2/24", "fd77::2/64"])
        return self.ours, self.theirs

    def we_count(self, name):
        if SUBJECT_IS_VERN:
            wait_for(lambda: self.ours.counters()[name] > 0, f"{name} to be counted")

    def they_say(self, text):
        wait_for(lambda: text in guest.messages(), f"the kernel to say: {text}")


class Kernel(Interop):
    """One engine; the classes below are made from it. `ours` is our end, `theirs` the kernel's."""

    setUp, ends = OnTheLab.setUp, OnTheLab.ends

    def test_our_listen_port_changes(self):
        ours, theirs = self.pair(knows=(True, False))
        ours.host.ping(theirs.addresses[0])
        for port in (51999, 52000):
            ours.wg("set", ours.name, "listen-port", port)
            ours.host.ping(theirs.addresses[0])
            self.assertEqual(theirs.show("endpoints", ours), at(ours.host.v4, port))
            theirs.host.ping(ours.addresses[0])

    def test_their_listen_port_changes(self):
        ours, theirs = self.pair(knows=(False, True))
        theirs.host.ping(ours.addresses[0])
        for port in (51999, 52000):
            theirs.wg("set", theirs.name, "listen-port", port)
            theirs.host.ping(ours.addresses[0])
            self.assertEqual(ours.show("endpoints", theirs), at(theirs.host.v4, port))
            ours.host.ping(theirs.addresses[0])

    def their_address_changes(self, outer, first, second):
        ours, theirs = self.ends()
        join(ours, theirs, outer=outer, knows=(False, True))
        length = 128 if outer == "v6" else 32
        for address in (first, second):
            guest.address("eth0", f"{address}/{length}")
            guest.ip("route", "replace", f"{getattr(ours.host, outer)}/{length}", "dev", "eth0", "src", address)
            theirs.host.ping(ours.addresses[0])
            self.assertEqual(ours.show("endpoints", theirs), at(address))
            ours.host.ping(theirs.addresses[1])
            guest.ip("address", "del", f"{address}/{length}", "dev", "eth0")
        guest.ip("route", "flush", f"{getattr(ours.host, outer)}/{length}")

    def test_their_v4_address_changes(self):
        self.their_address_changes("v4", "192.0.2.150", "192.0.2.151")

    def test_their_v6_address_changes(self):
        self.their_address_changes("v6", "2001:db8::150", "2001:db8::151")

    # Sizes

    def test_streams_both_ways(self):  # of less than others send: the guest is slow
        ours, theirs = self.pair()
        ours.host.ping(theirs.addresses[0])
        for one, other in ((ours, theirs), (theirs, ours)):
            for address in other.addresses:
                one.host.iperf3(other.host, address, "--bytes", "4M")

    def test_packets_that_just_fit(self):
        ours, theirs = self.pair(outer="v6")
        for one, other in ((ours, theirs), (theirs, ours)):
            one.host.ping(other.addresses[0], "-M", "do", "-s", 1420 - 28)
            one.host.ping(other.addresses[1], "-M", "do", "-s", 1420 - 48)
            with self.assertRaises(LabError):
                one.host.ping(other.addresses[0], "-M", "do", "-s", 1420 - 27, count=1)

    def test_mtu_larger_than_the_path(self):
        ours, theirs = self.pair()
        for end in (ours, theirs):
            end.host.ip("link", "set", end.name, "mtu", "1500")
        for one, other in ((ours, theirs), (theirs, ours)):
            one.host.ping(other.addresses[0], "-M", "do", "-s", 1500 - 28)
            one.host.ping(other.addresses[1], "-M", "do", "-s", 1500 - 48)

    def test_packets_of_all_sizes(self):
        ours, theirs = self.pair()
        ours.host.ping(theirs.addresses[0])
        for one, other in ((ours, theirs), (theirs, ours)):
            for address in other.addresses:
                for size in range(0, 1300, 131):
                    one.host.ping(address, "-s", size, count=1)


for _name in MAIN_SUBJECTS:
    _class = f"Kernel_{_name}"
    globals()[_class] = type(_class, (Kernel, OnTheLab), {"subject": SUBJECTS[_name]})


class Messages(OnTheLab):
    """What is the same for all engines, and shows in counters and in what the kernel says for developers."""

    pair, both_ways = Interop.pair, Interop.both_ways

    def test_both_count_the_same(self):
        ours, theirs = self.pair(psk=genpsk(), knows=(True, False))
        ours.host.ping(theirs.addresses[0], count=10)
        theirs.host.ping(ours.addresses[1], "-s", 1000, count=10)
        wait_for(lambda: ours.transfer(theirs) == theirs.transfer(ours)[::-1], "the same counts at both ends")
        # Handshake, echo requests of 84 bytes and their answers, of 1048 and theirs; each padded to 16, with 32 of message around it.
        sent, received = 148 + 10 * (96 + 32) + 10 * (1056 + 32), 92 + 10 * (96 + 32) + 10 * (1056 + 32)
        for count, least in zip(theirs.transfer(ours), (sent, received)):
            self.assertTrue(least <= count <= least + 2 * 32, (count, least))  # and a keepalive, which may be on its way or not
        self.assertLessEqual(abs(ours.handshake(theirs) - theirs.handshake(ours)), 5)
        self.assertEqual(theirs.show("endpoints", ours), at(ours.host.v4))
        self.assertEqual(theirs.show("preshared-keys", ours), ours.show("preshared-keys", theirs))

    # What must not become a tunnel

    def refused(self, one, other, condition):
        ping = one.host.start("ping", "-n", "-c", "1", "-W", "1", other.addresses[0])
        condition()
        self.assertEqual((self.ours.show("latest-handshakes"), self.theirs.show("latest-handshakes")),
                         tuple({key: "0" for key in end.show("latest-handshakes")} for end in (self.ours, self.theirs)))
        self.assertNotEqual(ping.wait(), 0)

    def test_a_key_that_we_do_not_know(self):
        ours, theirs = self.ends()
        theirs.peer(ours, host_routes(ours), endpoint=at(ours.host.v4))
        ours.peer(pubkey(genkey()), host_routes(theirs))
        self.refused(theirs, ours, lambda: self.we_count("handshake_unknown_peer"))

    def test_a_key_that_they_do_not_know(self):
        ours, theirs = self.ends()
        ours.peer(theirs, host_routes(theirs), endpoint=at(theirs.host.v4))
        theirs.peer(pubkey(genkey()), host_routes(ours))
        guest.messages(forget=True)
        self.refused(ours, theirs, lambda: self.they_say(f"Invalid handshake initiation from {at(ours.host.v4)}"))

    def test_a_message_for_another_key_than_ours(self):
        ours, theirs = self.ends()
        ours.peer(theirs, host_routes(theirs))
        stranger = pubkey(genkey())
        theirs.peer(stranger, host_routes(ours), endpoint=at(ours.host.v4))
        self.refused(theirs, ours, lambda: self.we_count("handshake_bad_mac1"))

    def test_a_message_for_another_key_than_theirs(self):
        ours, theirs = self.ends()
        theirs.peer(ours, host_routes(ours))
        ours.peer(pubkey(genkey()), host_routes(theirs), endpoint=at(theirs.host.v4))
        guest.messages(forget=True)
        self.refused(ours, theirs, lambda: self.they_say(f"Invalid MAC of handshake, dropping packet from {at(ours.host.v4)}"))

    def test_other_preshared_keys_we_begin(self):
        ours, theirs = self.pair(psk=genpsk(), knows=(True, False))
        theirs.peer(ours, None, psk=genpsk())
        self.refused(ours, theirs, lambda: self.we_count("handshake_bad_response"))

    def test_other_preshared_keys_they_begin(self):
        ours, theirs = self.pair(psk=genpsk(), knows=(False, True))
        ours.peer(theirs, None, psk=genpsk())
        guest.messages(forget=True)
        self.refused(theirs, ours, lambda: self.they_say(f"Invalid handshake response from {at(ours.host.v4)}"))

    def test_inner_sources_that_are_not_allowed(self):
        ours, theirs = self.pair()
        ours.host.ping(theirs.addresses[0])
        guest.messages(forget=True)
        for one, other, source in ((ours, theirs, "10.77.0.98"), (theirs, ours, "10.77.0.99")):
            one.host.address(one.name, f"{source}/32")
            self.assertNotEqual(one.host.run("ping", "-n", "-c", "1", "-W", "1", "-I", source, other.addresses[0], check=False).returncode, 0)
        self.we_count("inner_source")
        self.they_say("Packet has unallowed src IP (10.77.0.98)")
        self.both_ways()

    # Who hears and has nothing to say answers with a keepalive after 10 s.

    def test_passive_keepalives(self):
        ours, theirs = self.pair()
        self.both_ways()
        for one, other, nowhere in ((ours, theirs, "10.77.0.78"), (theirs, ours, "10.77.0.79")):
            other.host.sysctl("net.ipv4.ip_forward", 0)  # so that what is for others is dropped without a word
            one.peer(other, [*host_routes(other), f"{nowhere}/32"])
            # One direction, its keepalive, then the other: who has sent since it heard owes nothing.
            count = one.host.count_packets("input", f"udp sport {PORT} ip saddr {other.host.v4} meta length 60")
            one.host.start("ping", "-n", "-c", "1", "-W", "1", nowhere)
            wait_for(lambda: count() > 0, f"{other.host.name}'s keepalive")


class OldSessions(unittest.TestCase):
    """As test_rekey.py: past 120 s the one who began a session begins the next, and traffic notices nothing."""

    running = {}

    def setUp(self):
        boot()
        self.lab = lab

    @classmethod
    def begin(cls):
        for number, (name, we_begin) in enumerate((name, we_begin) for name in MAIN_SUBJECTS for we_begin in (True, False)):
            if SUBJECTS[name].why_not():
                continue
            ours = Interface(our_host(f"old{number}"), SUBJECTS[name], addresses=[f"10.78.{number}.1/24"])
            theirs = Interface(guest, KERNEL, name=f"old{number}", port=PORT + 100 + number, addresses=[f"10.78.{number}.2/24"])
            join(ours, theirs, knows=(we_begin, not we_begin), psk=genpsk(), way=at(guest.v4, theirs.port) if we_begin else None)
            one, two = (ours, theirs) if we_begin else (theirs, ours)
            one.host.ping(two.addresses[0])
            ping = one.host.start("ping", "-n", "-c", PINGS, "-i", INTERVAL_S, "-w", int(PINGS * INTERVAL_S * 2), two.addresses[0])
            cls.running[name, we_begin] = one, two, (one.handshake(two), two.handshake(one)), ping

    def session(self, name, we_begin):
        if reason := SUBJECTS[name].why_not():
            self.skipTest(reason)
        one, two, before, ping = self.running[name, we_begin]
        ping.wait(PINGS * INTERVAL_S * 3)
        self.assertEqual(set(range(1, PINGS + 1)) - answered(ping.output()), set())  # not one is lost by it
        after = one.handshake(two), two.handshake(one)
        for then, now in zip(before, after):
            self.assertTrue(119 <= now - then <= 130, f"handshakes before: {before}, after: {after}")


for _name in MAIN_SUBJECTS:
    for _we_begin in (True, False):
        setattr(OldSessions, f"test_{_name}_{'we' if _we_begin else 'they'}_began",
                lambda self, key=(_name, _we_begin): self.session(*key))


class UnderLoad(OnTheLab):
    """Somebody sends handshakes by the thousand. Who is under load answers with cookies, and lets in who comes back with one."""

    both_ways = Interop.both_ways
    INITIATION, RESPONSE = (156, 132), (100, 76)  # length of the datagram, place of mac2

    def tunnel(self, we_are_flooded, we_begin):
        ours, theirs = self.ends()
        join(ours, theirs, knows=(we_begin, not we_begin))
        loaded, free = (ours, theirs) if we_are_flooded else (theirs, ours)
        inwards, outwards = ("output", "input") if we_are_flooded else ("input", "output")  # of the one who is free, counted on our side
        stranger = internet.host("stranger")
        refused = stranger.count_packets("input", f"udp sport {PORT} udp length 72")
        asked = ours.host.count_packets(inwards, f"ip saddr {loaded.host.v4} ip daddr {free.host.v4} udp length 72")
        length, mac2 = self.INITIATION if we_begin != we_are_flooded else self.RESPONSE
        returned = ours.host.count_packets(outwards, f"ip saddr {free.host.v4} udp length {length} @th,{8 * (8 + mac2)},128 != 0")
        flood = stranger.start(sys.executable, "-c", FLOOD, loaded.host.v4, PORT, base64.b64decode(loaded.public).hex(), 1500, 0.25, name="flood")
        wait_for(lambda: refused() > 0 or not flood.alive(), "a cookie for the one who floods")
        one, other = (ours, theirs) if we_begin else (theirs, ours)
        one.host.start("ping", "-n", "-c", "60", other.addresses[0])
        wait_for(lambda: asked() > 0, "a cookie")
        wait_for(lambda: returned() > 0, "a message with a cookie")
        wait_for(lambda: ours.handshake(theirs) and theirs.handshake(ours), "a session")
        self.assertTrue(flood.alive(), flood.output())
        flood.stop()
        self.both_ways()

    def test_they_are_and_we_begin(self):
        self.tunnel(we_are_flooded=False, we_begin=True)

    def test_they_are_and_they_begin(self):
        self.tunnel(we_are_flooded=False, we_begin=False)

    def test_we_are_and_we_begin(self):
        self.tunnel(we_are_flooded=True, we_begin=True)

    def test_we_are_and_they_begin(self):
        self.tunnel(we_are_flooded=True, we_begin=False)


if __name__ == "__main__":
    unittest.main()
