"""Sessions grow old: after 120 s the one who began a session begins the next, and traffic notices nothing. All implementations and both
roles at the same time, so that it takes the time of one."""

import time
import unittest

from lab import Lab, answered
from tunnel import PEERS, SUBJECT, SUBJECT_IS_VERN, SUBJECTS, Implementation, Interface, at, genpsk

PINGS, INTERVAL_S = 680, 0.2  # 136 s: past REKEY_AFTER_TIME, before a second time could be
LOOK_S = 2  # less than REKEY_TIMEOUT: no handshake is missed


class Tunnel:
    """Traffic from one to the other, and the times of all handshakes that each of them tells of: whole seconds of the machine's clock."""

    def __init__(self, one, two):
        # boringtun tells the age where the protocol wants the time.
        self.ends = [(end, other, [end.handshake(other)]) for end, other in ((one, two), (two, one)) if end.implementation.name != "boringtun"]
        self.ping = one.host.start("ping", "-n", "-c", PINGS, "-i", INTERVAL_S, "-w", int(3 * PINGS * INTERVAL_S), two.addresses[0])

    def look(self):
        for end, other, times in self.ends:
            if (now := end.handshake(other)) != times[-1]:
                times.append(now)

    def gaps(self):
        """Seconds between handshakes, of each end. wireguard-go begins one more 5 s after one whose answer was there before it had set its
        timer, as happens on busy machines: that is not counted."""
        least = 6 if any("wireguard-go" in end.implementation.name for end, _, _ in self.ends) else 0
        return [[now - then for then, now in zip(times, times[1:]) if now - then > least] for _, _, times in self.ends]


class Rekey(unittest.TestCase):
    """All tunnels run once; each test looks at what one has shown."""

    def setUp(self):
        self.tunnels = type(self).all_tunnels()

    tunnels_made = None

    @classmethod
    def all_tunnels(cls):
        if cls.tunnels_made is None:
            cls.tunnels_made = {}
            with Lab() as lab:
                cls.run_all(lab.internet())
        return cls.tunnels_made

    @classmethod
    def run_all(cls, internet):
        number, running = 0, []
        for subject_name in MAIN_SUBJECTS:
            if SUBJECTS[subject_name].why_not():
                continue
            hub = Interface(internet.host(f"ours-{subject_name}"), SUBJECTS[subject_name], addresses=["10.77.255.1/16", "fd77::ffff/64"])
            for other_name, other in {**PEERS, "ours": SUBJECT}.items():
                for we_begin in (True, False):
                    if not isinstance(other, Implementation):
                        continue
                    number += 1
                    far = Interface(internet.host(f"n{number}"), other, addresses=[f"10.77.0.{number}/16", f"fd77::{number:x}/64"])
                    psk = genpsk() if we_begin else None
                    hub.peer(far, [f"10.77.0.{number}/32"], endpoint=at(far.host.v4) if we_begin else None, psk=psk)
                    far.peer(hub, ["10.77.255.1/32"], endpoint=None if we_begin else at(hub.host.v4), psk=psk)
                    one, two = (hub, far) if we_begin else (far, hub)
                    one.host.ping(two.addresses[0])
                    running.append(((subject_name, other_name, we_begin), Tunnel(one, two)))
        began = time.monotonic()
        while any(tunnel.ping.alive() for _, tunnel in running) and time.monotonic() - began < 4 * PINGS * INTERVAL_S:
            time.sleep(LOOK_S)
            for _, tunnel in running:
                tunnel.look()
        for key, tunnel in running:
            tunnel.ping.wait(1)
            cls.tunnels_made[key] = (tunnel.gaps(), tunnel.ping.output())

    def tunnel(self, subject_name, other_name, we_begin):
        if reason := SUBJECTS[subject_name].why_not():
            self.skipTest(reason)
        if isinstance(PEERS.get(other_name), str):
            self.skipTest(PEERS[other_name])
        all_gaps, output = self.tunnels[subject_name, other_name, we_begin]
        self.assertEqual(set(range(1, PINGS + 1)) - answered(output), set())  # not one is lost by it
        self.assertTrue(all_gaps)
        for gaps in all_gaps:
            # Begun by the first packet after 120 s; 5 s more if a handshake message was lost.
            self.assertEqual([119 <= gap <= 130 for gap in gaps], [True], all_gaps)


MAIN_SUBJECTS = ("io_uring", "epoll") if SUBJECT_IS_VERN else tuple(SUBJECTS)
for _subject in MAIN_SUBJECTS:
    for _other in (*PEERS, "ours"):
        for _we_begin in (True, False):
            setattr(Rekey, f"test_{_subject}_and_{_other.replace('-', '_')}_{'we' if _we_begin else 'they'}_began",
                    lambda self, key=(_subject, _other, _we_begin): self.tunnel(*key))


if __name__ == "__main__":
    unittest.main()
