"""The order within a flow, under load, while several threads share the AEAD of one tunnel."""

import json
import sys
import unittest

from lab import Lab
from tunnel import Implementation, SUBJECT_IS_VERN, VERND, pair, why_no_io_uring

# Numbered datagrams of several flows, in segmented sends: they come to the worker as superpackets, and a turn of them is worth sharing.
SENDER = """
import socket, struct, sys, time
address, flows, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
UDP_SEGMENT, SIZE, COUNT = 103, 1300, 44
sockets = []
for flow in range(flows):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
    s.connect((address, 7000))
    sockets.append(s)
number, filling, end = 0, bytes(SIZE - 12), time.monotonic() + seconds
while time.monotonic() < end:
    for _ in range(4):
        for flow, s in enumerate(sockets):
            try:
                s.send(b"".join(struct.pack("!IQ", flow, number + i) + filling for i in range(COUNT)))
            except OSError:
                pass
        number += COUNT
    time.sleep(0.0005)
"""

# Says for each flow how many came and how many of them after one with a higher number.
RECEIVER = """
import json, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
s.bind((sys.argv[1], 7000))
print("ready", flush=True)
last, came, late = {}, {}, {}
s.settimeout(30)
while True:
    try:
        flow, number = struct.unpack_from("!IQ", s.recv(2048))
    except TimeoutError:
        break
    s.settimeout(1.5)
    came[flow] = came.get(flow, 0) + 1
    late[flow] = late.get(flow, 0) + (number <= last.get(flow, -1))
    last[flow] = max(number, last.get(flow, -1))
print(json.dumps({"came": came, "late": late}), flush=True)
"""

# What tells a TCP that segments changed places; loss alone moves none of the first, and without loss nothing moves the second.
REORDERING = ("TcpExtTCPSACKReorder", "TcpExtTCPRenoReorder", "TcpExtTCPTSReorder")
OUT_OF_ORDER = ("TcpExtTCPOFOQueue",)
RETRANSMITTED = ("TcpRetransSegs",)


def counted(host, names):
    lines = host.run("nstat", "--ignore", "--noupdate", "--zeros", *names).stdout.splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))


class Order:
    engine, threads = None, None

    def setUp(self):
        if not SUBJECT_IS_VERN:
            self.skipTest("vernd only")
        if self.engine == "io_uring" and (reason := why_no_io_uring()):
            self.skipTest(reason)
        self.lab = self.enterContext(Lab())
        subject = Implementation(f"vernd-{self.engine}", VERND, ["-f"], ["--engine", self.engine, *self.threads, "--hand-over", "always"])
        self.a, self.b = pair(self.lab.internet(), subject, subject)
        self.a.host.ping(self.b.addresses[0])

    def handed_over(self):
        return sum(side.status()["vern"]["hand_over"]["tasks"] for side in (self.a, self.b))

    def test_order_within_udp_flows(self):
        receiver = self.b.host.start(sys.executable, "-c", RECEIVER, self.b.addresses[0], name="receiver")
        while "ready" not in receiver.output():
            self.assertTrue(receiver.alive(), receiver.output())
        self.a.host.run(sys.executable, "-c", SENDER, self.b.addresses[0], 3, 1.5)
        self.assertEqual(receiver.wait(), 0, receiver.output())
        result = json.loads(receiver.output().splitlines()[-1])
        self.assertEqual(len(result["came"]), 3, result)
        self.assertGreater(min(result["came"].values()), 1000, result)
        self.assertEqual(set(result["late"].values()), {0}, result)
        self.assertGreater(self.handed_over(), 0, [side.status()["vern"]["hand_over"] for side in (self.a, self.b)])

    def test_order_within_tcp_streams(self):
        for options in ((), ("--reverse", "--parallel", 3)):
            self.a.host.iperf3(self.b.host, self.b.addresses[0], "--time", 1, *options)
        for side in (self.a, self.b):
            self.assertEqual(counted(side.host, REORDERING), 0, side.host)
        if sum(counted(side.host, RETRANSMITTED) for side in (self.a, self.b)) == 0:
            self.assertEqual(sum(counted(side.host, OUT_OF_ORDER) for side in (self.a, self.b)), 0)
        self.assertGreater(self.handed_over(), 0, [side.status()["vern"]["hand_over"] for side in (self.a, self.b)])


for _name, _engine, _threads in (("io_uring", "io_uring", ("--workers", "2")), ("epoll", "epoll", ("--workers", "2")),
                                 ("helpers", "auto", ("--helpers", "2"))):
    globals()[f"Order_{_name}"] = type(f"Order_{_name}", (Order, unittest.TestCase), {"engine": _engine, "threads": _threads})


if __name__ == "__main__":
    unittest.main()
