"""A UDP relay: a bad network, or a NAT, between hosts of a lab. What it does to the n-th datagram is decided by its seed alone.

Run by the class Relay below on a host of its own. For every client it keeps a socket of its own towards the server, as a NAT does.
Commands come as lines on standard input, each is answered by a line `done N ...`:

    set NAME VALUE    drop, duplicate, reorder: probability of each; delay: milliseconds
    rebind [ADDRESS]  the server sees all clients at new ports (and this source address) from now on
    replay            the last data message of every client once more, from a port never seen before
    count             datagrams seen: from clients, from the server
"""

import argparse
import heapq
import itertools
import os
import random
import selectors
import socket
import subprocess
import sys
import time

from lab import wait_until

DATA = 4  # WireGuard's message type, first byte
REORDER_HOLD_S = 0.02  # one that waits to be overtaken is let go then, if nothing comes


def endpoint(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class Relaying:
    def __init__(self, listen, server, seed):
        self.server = server
        self.family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self.front = socket.socket(socket.AF_INET6 if ":" in listen[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.front.bind(listen)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.front, selectors.EVENT_READ, self.from_clients)
        self.settings = {"drop": 0.0, "duplicate": 0.0, "reorder": 0.0, "delay": 0.0}
        self.chance = {"up": random.Random(f"{seed} up"), "down": random.Random(f"{seed} down")}
        self.seen = {"up": 0, "down": 0}
        self.source = None
        self.back = {}        # client -> its socket towards the server
        self.last_data = {}   # client -> datagram
        self.queue, self.order = [], itertools.count()
        self.held = {"up": None, "down": None}

    def open_back(self, client):
        back = socket.socket(self.family, socket.SOCK_DGRAM)
        back.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        back.bind((self.source or ("::" if self.family == socket.AF_INET6 else "0.0.0.0"), 0))
        self.selector.register(back, selectors.EVENT_READ, lambda: self.from_server(back, client))
        return back

    def from_clients(self):
        datagram, client = self.front.recvfrom(65536)
        if client not in self.back:
            self.back[client] = self.open_back(client)
        if datagram[:1] == bytes([DATA]):
            self.last_data[client] = datagram
        self.pass_on("up", datagram, lambda: self.back[client].sendto(datagram, self.server))

    def from_server(self, back, client):
        datagram = back.recv(65536)
        self.pass_on("down", datagram, lambda: self.front.sendto(datagram, client))

    def pass_on(self, direction, datagram, send):
        self.seen[direction] += 1
        dice = self.chance[direction]
        # All three are thrown for every datagram, so that what happens to one does not hang on the settings before it.
        drop, duplicate, reorder = dice.random(), dice.random(), dice.random()
        if drop < self.settings["drop"]:
            return
        due = time.monotonic() + self.settings["delay"] / 1000
        if reorder < self.settings["reorder"] and self.held[direction] is None:
            self.held[direction] = send
            heapq.heappush(self.queue, (due + REORDER_HOLD_S, next(self.order), lambda: self.let_go(direction, send)))
            return
        heapq.heappush(self.queue, (due, next(self.order), send))
        if duplicate < self.settings["duplicate"]:
            heapq.heappush(self.queue, (due, next(self.order), send))
        if self.held[direction] is not None:
            heapq.heappush(self.queue, (due, next(self.order), self.held[direction]))
            self.held[direction] = None

    def let_go(self, direction, send):
        if self.held[direction] is send:
            self.held[direction] = None
            send()

    def command(self, words):
        if words[0] == "set":
            self.settings[words[1]] = float(words[2])
        elif words[0] == "rebind":
            self.source = words[1] if len(words) > 1 else None
            for client, back in list(self.back.items()):
                self.back[client] = self.open_back(client)  # first, so that the port is another one
                self.selector.unregister(back)
                back.close()
        elif words[0] == "replay":
            for datagram in self.last_data.values():
                with socket.socket(self.family, socket.SOCK_DGRAM) as stranger:
                    stranger.bind((self.source or "", 0))
                    stranger.sendto(datagram, self.server)
        elif words[0] != "count":
            raise ValueError(f"unknown command {words}")
        return f"{self.seen['up']} {self.seen['down']}"

    def run(self):
        pending, number = b"", 0
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ, None)
        print("ready", flush=True)
        while True:
            now = time.monotonic()
            while self.queue and self.queue[0][0] <= now:
                try:
                    heapq.heappop(self.queue)[2]()
                except OSError as error:  # as on a network: it did not arrive
                    print(f"lost: {error}", flush=True)
            timeout = max(0.0, self.queue[0][0] - now) if self.queue else None
            for key, _ in self.selector.select(timeout):
                if key.fd != 0:
                    try:
                        key.data()
                    except OSError as error:  # ICMP errors come as results of later calls
                        print(f"lost: {error}", flush=True)
                    continue
                chunk = os.read(0, 4096)
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    number += 1
                    print(f"done {number} {self.command(line.decode().split())}", flush=True)


class Relay:
    """The tests' side. `host` gets the relay's socket; clients are pointed to host:port."""

    def __init__(self, host, listen, server, seed=1, **settings):
        self.commands = 0
        self.process = host.start(sys.executable, __file__, "--listen", listen, "--to", server, "--seed", seed, name="relay", stdin=subprocess.PIPE)
        wait_until(lambda: "ready" in self.process.output() or not self.process.alive(), "the relay")
        for name, value in settings.items():
            self.set(name, value)

    def __call__(self, *words):
        self.commands += 1
        self.process.popen.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.popen.stdin.flush()
        start = f"done {self.commands} "
        return wait_until(lambda: next((line[len(start):].split() for line in self.process.output().splitlines() if line.startswith(start)), None),
                          f"the relay's answer to {words}")

    def set(self, name, value):
        self("set", name, value)

    def count(self):
        up, down = self("count")
        return int(up), int(down)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=endpoint, required=True)
    parser.add_argument("--to", type=endpoint, required=True)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    Relaying(options.listen, options.to, options.seed).run()
