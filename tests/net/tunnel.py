"""WireGuard interfaces on lab hosts: which program runs them, their keys, their peers.

The program under test is vernd (VERND, VERN: paths, as meson gives them). VERN_NET_SUBJECT=wireguard-go puts another in its place,
which is how the tests themselves are tested.
"""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess

from lab import LabError, wait_until
import peers

PORT = 51820
BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"
VERND = os.environ.get("VERND") or str(BUILD / "tools" / "vernd")
VERN = os.environ.get("VERN") or str(BUILD / "tools" / "vern" / "vern")


class Implementation:
    """A program that makes a WireGuard interface: how it is called to stay in the foreground, and to go to the background."""

    def __init__(self, name, program, foreground=(), options=(), environment=None):
        self.name, self.program = name, program
        self.foreground, self.options = list(foreground), list(options)
        self.environment = environment or {}

    def __repr__(self):
        return self.name

    def why_not(self):
        """Why it cannot run on this machine, or nothing."""
        return why_no_io_uring() if "io_uring" in self.options else None

    def argv(self, interface, background=False):
        return [self.program, *self.options, *([] if background else self.foreground), interface]


def why_no_io_uring():
    """The kernel's answer to io_uring_setup here, or nothing if it works. The structure is zero but for what the kernel fills in."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(425, 1, ctypes.create_string_buffer(120))
    if descriptor < 0:
        return f"io_uring is not to be had here: {os.strerror(ctypes.get_errno())}"
    os.close(descriptor)
    return None


def vernd(name, *options):
    return Implementation(name, VERND, ["-f"], options, {"LOG_LEVEL": "debug"})


def wireguard_go(name, program):
    return Implementation(name, program, ["-f"], [], {"LOG_LEVEL": "error"})


SUBJECT_IS_VERN = os.environ.get("VERN_NET_SUBJECT", "vernd") == "vernd"
if SUBJECT_IS_VERN:
    SUBJECTS = {
        "io_uring": vernd("vernd-io_uring", "--engine", "io_uring"),
        "epoll": vernd("vernd-epoll", "--engine", "epoll"),
        "io_uring_plain": vernd("vernd-io_uring-plain", "--engine", "io_uring", "--offload", "none"),
        "epoll_plain": vernd("vernd-epoll-plain", "--engine", "epoll", "--offload", "none"),
    }
    SUBJECT = vernd("vernd")  # as it comes: engine and offloads by its own choice
else:
    SUBJECT = wireguard_go("wireguard-go", shutil.which("wireguard-go"))
    SUBJECTS = {"wireguard_go": SUBJECT}

PEERS = {}  # others, by name: Implementation, or a sentence that says why there is none
for _name, _found in peers.found().items():
    if _found.path is None:
        PEERS[_name] = _found.why_not
    elif _name.startswith("boringtun"):
        PEERS[_name] = Implementation(_name, _found.path, ["--foreground"], ["--disable-drop-privileges"], {"WG_LOG_LEVEL": "error"})
    else:
        PEERS[_name] = wireguard_go(_name, _found.path)


def genkey():
    return subprocess.run(["wg", "genkey"], check=True, capture_output=True, text=True).stdout.strip()


def pubkey(private):
    return subprocess.run(["wg", "pubkey"], check=True, capture_output=True, text=True, input=private).stdout.strip()


def genpsk():
    return subprocess.run(["wg", "genpsk"], check=True, capture_output=True, text=True).stdout.strip()


class Interface:
    """An interface made by a program in the foreground on a host. It has a key and a port and no peers yet."""

    def __init__(self, host, implementation, name="wg0", addresses=(), port=PORT, mtu=1420, private=None):
        self.host, self.implementation, self.name, self.port = host, implementation, name, port
        self.private = private or genkey()
        self.public = pubkey(self.private)
        self.networks = list(addresses)
        self.addresses = [address.split("/")[0] for address in addresses]
        self.process = host.start(*implementation.argv(name), name=f"{implementation.name}-{name}", env=implementation.environment)
        wait_until(lambda: self.ready() or not self.process.alive(), f"{implementation.name} on {host.name}")
        if not self.process.alive():
            raise LabError(f"{implementation.name} on {host.name} ended:\n{self.process.output()}")
        self.wg("set", name, "private-key", host.write(f"{name}.key", self.private), "listen-port", port)
        host.address(name, *addresses)
        host.ip("link", "set", name, "mtu", str(mtu))
        host.ip("link", "set", name, "addrgenmode", "none", check=False)
        host.ip("link", "set", name, "up")

    def ready(self):
        return self.host.run("wg", "show", self.name, "listen-port", check=False).returncode == 0 and self.host.has_interface(self.name)

    def wg(self, *argv, check=True):
        return self.host.run("wg", *argv, check=check)

    def peer(self, other, allowed, endpoint=None, psk=None, keepalive=None):
        """Adds or changes a peer: another Interface, or a public key."""
        key = other.public if isinstance(other, Interface) else other
        argv = ["set", self.name, "peer", key]
        if psk is not None:
            argv += ["preshared-key", self.host.write("psk", psk) if psk else "/dev/null"]
        if endpoint:
            argv += ["endpoint", endpoint]
        if keepalive is not None:
            argv += ["persistent-keepalive", keepalive]
        if allowed is not None:
            argv += ["allowed-ips", ",".join(allowed)]
        self.wg(*argv)

    def show(self, what, other=None):
        """{public key: value} as `wg show INTERFACE WHAT` prints it, or one peer's value."""
        lines = self.wg("show", self.name, what).stdout.splitlines()
        values = dict(line.split("\t", 1) for line in lines if "\t" in line)
        return values[other.public] if other else values

    def handshake(self, other):
        return int(self.show("latest-handshakes", other))

    def transfer(self, other):
        received, sent = self.show("transfer", other).split()
        return int(received), int(sent)

    def status(self):
        """What `vern show --json` says of it."""
        return json.loads(self.host.run(VERN, "show", self.name, "--json").stdout)[self.name]

    def counters(self):
        """What was dropped, by reason (vernd only)."""
        return self.status()["vern"]["counters"]

    def stop(self):
        return self.process.stop()

    def restart(self, how=signal.SIGTERM):
        """Ends the program and starts it again, with the configuration and addresses that it had."""
        configuration = self.wg("showconf", self.name).stdout
        self.process.stop(how)
        self.process = self.host.start(*self.implementation.argv(self.name), name=f"{self.implementation.name}-{self.name}",
                                       env=self.implementation.environment)
        wait_until(lambda: self.ready() or not self.process.alive(), f"{self.implementation.name} on {self.host.name} again")
        self.wg("setconf", self.name, self.host.write(f"{self.name}.again", configuration))
        self.host.address(self.name, *self.networks)
        self.host.ip("link", "set", self.name, "up")


def at(address, port=PORT):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def host_routes(interface):
    """Both families' full-length prefixes of an interface's own addresses."""
    return [f"{address}/{128 if ':' in address else 32}" for address in interface.addresses]


def ends(internet, implementation_a, implementation_b, mtu=1420, veth_mtu=1500, names=("a", "b")):
    """Two hosts with an interface each, and no peers: 10.77.0.1 and fd77::1 on the first; .2 and ::2 on the second."""
    return tuple(Interface(internet.host(name, mtu=veth_mtu), implementation, mtu=mtu, addresses=[f"10.77.0.{number}/24", f"fd77::{number}/64"])
                 for number, (name, implementation) in enumerate(zip(names, (implementation_a, implementation_b)), 1))


def join(one, other, outer="v4", psk=None, knows=(True, True), keepalive=(None, None), way=None):
    """Makes two interfaces peers. `knows`: who has whose endpoint; `way`: the endpoint that is used instead of the true one."""
    for near, far, knows_far, interval in ((one, other, knows[0], keepalive[0]), (other, one, knows[1], keepalive[1])):
        near.peer(far, host_routes(far), endpoint=(way or at(getattr(far.host, outer))) if knows_far else None, psk=psk, keepalive=interval)


def pair(internet, implementation_a, implementation_b, outer="v4", psk=None, knows=(True, True), **options):
    """Two hosts and a tunnel between them."""
    a, b = ends(internet, implementation_a, implementation_b, **options)
    join(a, b, outer=outer, psk=psk, knows=knows)
    return a, b


def path_with(*programs):
    """Directories of our programs, for the PATH of those that call them by name (wg-quick, vern up)."""
    return ":".join(dict.fromkeys(str(pathlib.Path(program).parent) for program in programs if program))
