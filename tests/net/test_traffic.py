"""Traffic of real programs between two of ours, for every engine, with offloads and without."""

import hashlib
import os
import random
import sys
import unittest

from lab import Lab, LabError, wait_until
from relay import Relay
from tunnel import PORT, SUBJECT_IS_VERN, SUBJECTS, at, genpsk, pair

STREAM_BYTES = 32 << 20

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
while True:
    text, where = s.recvfrom(65536)
    s.sendto(text, where)
"""

# Bursts of datagrams of many sizes, each with its own content; all must come back, none altered. What is lost on the way is sent again:
# UDP may be dropped, never changed.
ECHO_CLIENT = """
import random, socket, sys
address, port, seed, rounds = sys.argv[1], *map(int, sys.argv[2:])
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.settimeout(5)
s.connect((address, port))
dice = random.Random(seed)
for number in range(rounds):
    size = dice.choice((16, 100, 500, 1000, 1372))     # a run of equal size is a train, a shorter one ends it
    burst = [dice.randbytes(size) for _ in range(dice.randrange(1, 24))] + [dice.randbytes(dice.randrange(8, size))]
    burst = [number.to_bytes(4, "big") + bytes([i]) + text for i, text in enumerate(burst)]
    waiting = set(burst)
    for attempt in range(10):
        for text in burst:
            if text in waiting:
                s.send(text)
        try:
            while waiting:
                text = s.recv(65536)
                if text in waiting:
                    waiting.remove(text)
                elif text not in burst and text[:4] >= burst[0][:4]:
                    sys.exit(f"altered: {text[:64].hex()} of {len(text)} bytes")
        except TimeoutError:
            continue
        break
    else:
        sys.exit(f"round {number}: {len(waiting)} never came back")
"""


def stream(client, server, address, *options, streams=1):
    wanted = streams * STREAM_BYTES
    end = client.iperf3(server, address, "--bytes", wanted, "--parallel", streams, *options)
    # The receiver's figure is of the moment at which the sender had sent all, so it may lack what was on the way: of each
    # stream what is in the buffers at its ends. So every stream has to carry more than those hold.
    assert end["sum_received"]["bytes"] > wanted / 2, end
    return end["sum_sent"]["bytes"]


class Traffic:
    """One variant of the program under test; the classes below are made from it."""

    subject = None

    def setUp(self):
        if reason := self.subject.why_not():
            self.skipTest(reason)
        self.lab = self.enterContext(Lab())
        self.internet = self.lab.internet()

    def pair(self, **options):
        return pair(self.internet, self.subject, self.subject, **options)

    def test_ping_over_v4(self):
        a, b = self.pair()
        for one, other in ((a, b), (b, a)):
            for address in other.addresses:
                one.host.ping(address, count=20)

    def test_ping_over_v6(self):
        a, b = self.pair(outer="v6")
        for one, other in ((a, b), (b, a)):
            for address in other.addresses:
                one.host.ping(address, count=20)

    def test_only_one_side_knows_the_other(self):
        a, b = self.pair(knows=(True, False))
        a.host.ping(b.addresses[0])
        b.host.ping(a.addresses[0])
        self.assertEqual(b.show("endpoints", a), at(a.host.v4))

    def test_large_pings_in_fragments(self):
        a, b = self.pair()
        for size in (1392, 1393, 2800, 9000, 65507):
            a.host.ping(b.addresses[0], "-s", size)
            a.host.ping(b.addresses[1], "-s", min(size, 65487))

    def test_tcp_both_ways(self):
        a, b = self.pair()
        for address in b.addresses:
            self.assertGreaterEqual(stream(a.host, b.host, address), STREAM_BYTES)
            self.assertGreaterEqual(stream(a.host, b.host, address, "--reverse"), STREAM_BYTES)

    def test_tcp_over_v6_many_streams(self):
        a, b = self.pair(outer="v6")
        self.assertGreaterEqual(stream(a.host, b.host, b.addresses[0], streams=8), 8 * STREAM_BYTES)

    def test_file_over_http(self):
        a, b = self.pair()
        content = random.Random("file").randbytes(5_000_011)
        files = b.host.directory / "files"
        files.mkdir()
        (files / "f").write_bytes(content)
        for port, address in enumerate(b.addresses, 8080):
            b.host.serve_files(files, address, port)
            self.assertEqual(a.host.fetch(f"http://{at(address, port)}/f"), hashlib.sha256(content).hexdigest())

    def test_datagrams_of_all_sizes_come_back_unaltered(self):
        a, b = self.pair()
        for port, address in enumerate(b.addresses, 7000):
            b.host.start(sys.executable, "-c", ECHO, address, port, name="echo")
            wait_until(lambda port=port: b.host.listening(port, "udp"), "echo")
            a.host.run(sys.executable, "-c", ECHO_CLIENT, address, port, 1, 60, timeout=180)

    def test_mtu_larger_than_the_path(self):
        # Outer packets are cut by IP then; a segmented send is refused by the kernel and must be repaired.
        a, b = self.pair(mtu=1500)
        a.host.ping(b.addresses[0], "-M", "do", "-s", 1472)
        self.assertGreaterEqual(stream(a.host, b.host, b.addresses[0]), STREAM_BYTES)
        self.assertGreaterEqual(stream(a.host, b.host, b.addresses[1], "--reverse"), STREAM_BYTES)

    def test_jumbo_frames(self):
        a, b = self.pair(veth_mtu=9000, mtu=8920)
        a.host.ping(b.addresses[0], "-M", "do", "-s", 8892)
        self.assertGreaterEqual(stream(a.host, b.host, b.addresses[0]), STREAM_BYTES)

    def test_mtu_changes_while_traffic_runs(self):
        a, b = self.pair()
        b.host.iperf3_server()
        running = a.host.start("iperf3", "--client", b.addresses[0], "--bytes", 4 * STREAM_BYTES)
        wait_until(lambda: a.transfer(b)[1] > 100_000, "traffic")
        for mtu in (1280, 1400, 1320, 1420):
            for side in (a, b):
                side.host.ip("link", "set", side.name, "mtu", str(mtu))
            before = a.transfer(b)[1]
            wait_until(lambda: a.transfer(b)[1] > before + 100_000 or not running.alive(), f"traffic at MTU {mtu}")
        self.assertEqual(running.wait(180), 0, running.output())
        for mtu in (1280, 1500):
            for side in (a, b):
                side.host.ip("link", "set", side.name, "mtu", str(mtu))
            a.host.ping(b.addresses[0], "-M", "do", "-s", mtu - 28)
            with self.assertRaises(LabError):
                a.host.ping(b.addresses[0], "-M", "do", "-s", mtu - 27, "-w", "1", count=1)

    def test_preshared_key(self):
        psk = genpsk()
        a, b = self.pair(psk=psk)
        a.host.ping(b.addresses[0])
        self.assertEqual(a.show("preshared-keys", b), psk)

    def test_a_wrong_preshared_key_lets_nothing_through(self):
        a, b = self.pair(psk=genpsk())
        b.peer(a, None, psk=genpsk())
        with self.assertRaises(LabError):
            a.host.ping(b.addresses[0], "-w", "2", count=1)
        self.assertEqual(a.handshake(b), 0)

    def test_congestion_marks_cross_the_tunnel_both_layers(self):
        # RFC 6040: what the inner packet says goes on the outer one, and what the network marks on the outer one comes out on the inner one.
        if not SUBJECT_IS_VERN:
            self.skipTest("vernd only")
        for outer, family in (("v4", "ip"), ("v6", "ip6")):
            host_a, host_b = f"a{outer}", f"b{outer}"
            a, b = self.pair(outer=outer, names=(host_a, host_b))
            a.host.ping(b.addresses[0])
            capable = b.host.count_packets("prerouting", f'iifname "eth0" udp dport {PORT} {family} ecn ect0')
            requests = a.host.ping(b.addresses[0], "-Q", 2, count=4)
            self.assertEqual(capable(), requests)
            b.host.run("nft", "-f", "-", input=f'table inet congested {{ chain c {{ type filter hook prerouting priority -300; '
                                               f'iifname "eth0" udp dport {PORT} {family} ecn set ce\n}}\n}}')
            marked = b.host.count_packets("prerouting", 'iifname "wg0" ip ecn ce')
            marked6 = b.host.count_packets("prerouting", 'iifname "wg0" ip6 ecn ce')
            requests = [a.host.ping(address, "-Q", 2, count=4) for address in b.addresses]
            self.assertEqual([marked(), marked6()], requests)

    def test_bad_network(self):
        # Through a relay that loses, doubles and swaps datagrams: TCP gets everything, in time, unaltered.
        a, b = self.pair()
        middle = self.internet.host("middle")
        relay = Relay(middle, at(middle.v4, 7001), at(b.host.v4), drop=0.02, duplicate=0.05, reorder=0.1)
        b.peer(a, None, endpoint=at("192.0.2.253", 9))  # answers must come back the way the question came
        a.peer(b, None, endpoint=at(middle.v4, 7001))
        content = random.Random("bad network").randbytes(1_100_003)
        files = b.host.directory / "files"
        files.mkdir()
        (files / "f").write_bytes(content)
        b.host.serve_files(files, b.addresses[0])
        self.assertEqual(a.host.fetch(f"http://{b.addresses[0]}:8080/f"), hashlib.sha256(content).hexdigest())
        self.assertGreater(min(relay.count()), 100)


for _name, _subject in SUBJECTS.items():
    if _name in os.environ.get("VERN_NET_ENGINES", _name).split(","):
        globals()[f"Traffic_{_name}"] = type(f"Traffic_{_name}", (Traffic, unittest.TestCase), {"subject": _subject})


if __name__ == "__main__":
    unittest.main()
