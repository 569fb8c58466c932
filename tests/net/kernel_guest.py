"""A machine with the kernel's own WireGuard: Debian's cloud kernel (Ubuntu's virtual one) in QEMU, in a lab like any host of it.

The kernel's package is fetched into a cache of the user's, not installed, and only if no kernel is; what cannot be had is named by
why_not(), for tests to be skipped. `python3 kernel_guest.py` does that ahead of the tests.

The guest's file system is made at each start: busybox, the modules, and this machine's `ip`, `wg`, `ping`, ... with their libraries. Its
first process reads commands from a virtio port, a line each, and answers with a line and the outputs. Few processes are made for one: the
guest is slow.

    NUMBER SECONDS base64(input)|- COMMAND   ->   NUMBER STATUS BYTES-OF-OUTPUT BYTES-OF-ERRORS
"""

import base64
import gzip
import hashlib
import itertools
import lzma
import os
import pathlib
import platform
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from lab import PATIENCE_S, Host, LabError, describe, wait_until
from tunnel import Implementation

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path(os.environ.get("HOME") or "/root", ".cache")) / "vern-kernel"
PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual")  # Debian's name, Ubuntu's name
MODULES = ("virtio_pci", "virtio_net", "virtio_console", "wireguard", "nf_tables")
WHERE_APART = ("nft_objref",)  # part of nf_tables in later kernels
PROGRAMS = ("ip", "wg", "ping", "nft", "iperf3")
QEMU = "qemu-system-x86_64"
ACCELERATOR = os.environ.get("VERN_GUEST_ACCEL", "tcg")  # kvm: where it is known to boot a guest
MEMORY_MB = 256
BOOT_S = 120
SLOWER = 4  # than a real machine

INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/opt:/bin HOME=/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t debugfs debugfs /sys/kernel/debug
mount -t tmpfs run /run
for module in /modules/*; do insmod "$module" || echo "cannot load $module"; done
echo "module wireguard +p" > /sys/kernel/debug/dynamic_debug/control
echo 0 > /proc/sys/net/core/message_cost
cd /run
until [ -e /dev/vport0p1 ]; do usleep 10000; done
exec 0<> /dev/vport0p1 1>&0
echo ready
while read -r number limit input command; do
    if [ "$input" = - ]; then : > .in; else echo "$input" | base64 -d > .in; fi
    timeout -s KILL "$limit" sh -c "$command" < .in > .out 2> .err
    echo "$number" $? $(stat -c %s .out .err)
    cat .out .err
done
"""

# background NAME PROGRAM...: leaves NAME.pid, NAME.log and, when it has ended, NAME.status.
BACKGROUND = r"""#!/bin/sh
name=$1; shift
(setsid sh -c 'echo $$ > "$0.pid"; exec "$@"' "$name" "$@" > "$name.log" 2>&1 < /dev/null; echo $? > "$name.new"; mv "$name.new" "$name.status") > /dev/null 2>&1 &
until [ -s "$name.pid" ]; do usleep 10000; done
"""

# An interface of the kernel's, as a program in the foreground, so that tests can treat it like all others.
WG_KERNEL = r"""#!/bin/sh
trap 'kill $waiting; /opt/ip link del dev "$1"; exit 0' TERM
sleep 1000000 &
waiting=$!
/opt/ip link add dev "$1" type wireguard || { kill $waiting; exit 1; }
wait $waiting
"""

KERNEL = Implementation("kernel", "wg-kernel")


class Unavailable(Exception):
    """What is missing on this machine, in words."""


# The kernel


def module_text(path):
    text = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(text)
    if path.suffix == ".gz":
        return gzip.decompress(text)
    if path.suffix == ".zst":
        if not shutil.which("zstd"):
            raise Unavailable("zstd is not installed; this kernel's modules need it")
        return subprocess.run(["zstd", "-d", "-c"], input=text, check=True, capture_output=True).stdout
    return text


def modules_in_order(directory):
    """[(name, content)] of MODULES and all they need, each after what it needs. What is built into the kernel needs none."""
    files = {re.sub(r"\.ko.*", "", path.name).replace("-", "_"): path for path in directory.rglob("*.ko*")}
    builtin = {pathlib.Path(line).stem.replace("-", "_") for line in (directory / "modules.builtin").read_text().split()}
    ordered = {}

    def take(name):
        if name in ordered or name in builtin:
            return
        if name not in files:
            raise Unavailable(f"{directory.name} has no module {name}")
        text = module_text(files[name])
        needs = re.search(rb"\0depends=([^\0]*)\0", text)
        for other in needs.group(1).decode().split(",") if needs else ():
            if other:
                take(other.replace("-", "_"))
        ordered[name] = text

    for name in (*MODULES, *(name for name in WHERE_APART if name in files)):
        take(name)
    return list(ordered.items())


def installed():
    """(image, directory of modules) of installed kernels, the newest first."""
    images = sorted(pathlib.Path("/boot").glob("vmlinuz-*"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)], reverse=True)
    for image in images:
        directory = pathlib.Path("/lib/modules", image.name.removeprefix("vmlinuz-"))
        if (directory / "modules.builtin").exists() and os.access(image, os.R_OK):
            yield image, directory


def depends(package):
    result = subprocess.run(["apt-cache", "depends", "--no-recommends", "--no-suggests", package], capture_output=True, text=True)
    return re.findall(r"Depends: (\S+)", result.stdout)


def fetch(into):
    """Unpacks the kernel's package there."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"no kernel is installed, and there is no {tool} to fetch one with")
    names = []
    for meta in PACKAGES:
        waiting = [meta]
        while waiting:
            for name in depends(waiting.pop()):
                if re.match(r"linux-(image|modules)-.*\d", name) and name not in names:
                    names.append(name)
                if re.match(r"linux-(image|modules)-", name):
                    waiting.append(name)
        if names:
            break
    else:
        raise Unavailable(f"no kernel is installed, and apt knows none of {', '.join(PACKAGES)}")
    result = subprocess.run(["apt-get", "download", *names], cwd=into, capture_output=True, text=True)
    packages = list(into.glob("*.deb"))
    if result.returncode != 0 or not packages:
        raise Unavailable(f"no kernel is installed, and {' '.join(names)} cannot be fetched: {result.stderr.strip()}")
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, into], check=True)


def kernel():
    """A directory with `vmlinuz`, `version` and modules/00-NAME, 01-NAME, ... in the order in which to load them; made if it is not there."""
    ready = CACHE / hashlib.sha256(" ".join(MODULES + WHERE_APART).encode()).hexdigest()[:12]
    if ready.exists():
        return ready
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="unpacked-") as unpacked, tempfile.TemporaryDirectory(dir=CACHE, prefix="made-") as made:
        os.chmod(unpacked, 0o755)
        found = reason = None
        for image, directory in installed():
            try:
                found = image, directory, modules_in_order(directory)
                break
            except Unavailable as error:
                reason = error
        if not found:
            unpacked = pathlib.Path(unpacked)
            fetch(unpacked)
            directory = next((path.parent for path in unpacked.glob("**/modules/*/modules.builtin")), None)
            image = next(unpacked.glob("boot/vmlinuz-*"), None)
            if not directory or not image:
                raise Unavailable(f"the kernel's package has no image or no modules{f' ({reason})' if reason else ''}")
            found = image, directory, modules_in_order(directory)
        image, directory, modules = found
        target = pathlib.Path(made) / "kernel"
        (target / "modules").mkdir(parents=True)
        for number, (name, text) in enumerate(modules):
            (target / "modules" / f"{number:02}-{name}").write_bytes(text)
        shutil.copyfile(image, target / "vmlinuz")
        (target / "version").write_text(directory.name)
        try:
            target.rename(ready)
        except OSError:  # another one was quicker
            if not ready.exists():
                raise
    return ready


# The file system


def cpio(entries):
    """A cpio archive, "newc", of (path, mode, content, device): what the kernel unpacks as its first file system."""
    out = bytearray()

    def add(number, path, mode, content, device):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
        out.extend(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        out.extend(bytes(-len(out) % 4))
        out.extend(content)
        out.extend(bytes(-len(out) % 4))

    for number, entry in enumerate(entries, 1):
        add(number, *entry)
    add(0, "TRAILER!!!", 0, b"", (0, 0))
    return bytes(out)


def libraries(program):
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return re.findall(r"(?:=> |^\s*)(/\S+) \(", text, re.MULTILINE)


def static_busybox():
    for path in filter(None, (shutil.which("busybox-static"), shutil.which("busybox"), "/usr/lib/busybox-static/busybox")):
        if os.path.exists(path) and subprocess.run(["ldd", path], capture_output=True).returncode != 0:
            return path
    return None


def file_system(modules):
    files = {"init": INIT, "opt/background": BACKGROUND, "opt/wg-kernel": WG_KERNEL, "bin/busybox": pathlib.Path(static_busybox()).read_bytes()}
    for program in PROGRAMS:
        path = shutil.which(program)
        files[f"opt/{program}"] = pathlib.Path(path).read_bytes()
        for library in libraries(path):
            files[library.lstrip("/")] = pathlib.Path(library).read_bytes()
    for path in modules.iterdir():
        files[f"modules/{path.name}"] = path.read_bytes()
    directories = {str(parent) for name in (*files, "proc/x", "sys/x", "dev/x", "run/x", "tmp/x")
                   for parent in pathlib.PurePath(name).parents} - {"."}
    entries = [(name, 0o040755, b"", (0, 0)) for name in sorted(directories)]
    entries += [("dev/console", 0o020600, b"", (5, 1))]
    entries += [(name, 0o100755, text.encode() if isinstance(text, str) else text, (0, 0)) for name, text in files.items()]
    return cpio(entries)


def why_not():
    """What keeps this machine from having such a guest, or nothing. Fetches the kernel if it must."""
    if platform.machine() != "x86_64":
        return f"the guest is for x86_64, this machine is {platform.machine()}"
    if not shutil.which(QEMU):
        return f"{QEMU} is not installed (package qemu-system-x86)"
    if not static_busybox():
        return "busybox is not installed (package busybox-static)"
    for program in PROGRAMS:
        if not shutil.which(program):
            return f"{program} is not installed"
    try:
        kernel()
    except Unavailable as error:
        return str(error)
    return None


# The machine


class GuestProcess:
    """A program in the background on the guest: as lab.Process."""

    def __init__(self, guest, name, argv, base):
        self.host, self.name, self.argv, self.base, self.status = guest, name, argv, base, None

    def alive(self):
        if self.status is None:
            text = self.host.run("cat", f"{self.base}.status", check=False).stdout.strip()
            self.status = int(text) if text else None
        return self.status is None

    def send_signal(self, number):
        self.host.run("sh", "-c", f"kill -{int(number)} $(cat {self.base}.pid)", check=False)

    def wait(self, timeout=None):
        wait_until(lambda: not self.alive(), f"{self.name} on the guest to end", timeout)
        return self.status

    def stop(self, number=15):
        if self.alive():
            self.send_signal(number)
        return self.wait()

    def output(self):
        return self.host.run("cat", f"{self.base}.log", check=False).stdout


class Guest(Host):
    """A machine on a lab's internet. What tests do with hosts they can do with it; each command takes 0.1 s or so."""

    def __init__(self, internet, name="kernel"):
        self.lab, self.internet, self.name = internet.lab, internet, name
        self.directory = self.lab.directory / name
        self.directory.mkdir(mode=0o755)
        self.numbers, self.received, self.control, self.started = itertools.count(1), b"", None, []
        self.lost = None
        number, internet.next = internet.next, internet.next + 1
        self.v4, self.v6 = f"192.0.2.{number}", f"2001:db8::{number:x}"
        # As long a queue as is needed for what a quick host sends at once: the guest is slow.
        internet.ip("tuntap", "add", "dev", f"tap{number}", "mode", "tap")
        internet.ip("link", "set", f"tap{number}", "master", "br0", "txqueuelen", "10000", "addrgenmode", "none", "up")
        self.boot(number)
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "addrgenmode", "none", "up")
        self.address("eth0", f"{self.v4}/24", f"{self.v6}/64")
        self.ip("route", "add", "default", "via", internet.v4)
        self.ip("-6", "route", "add", "default", "via", internet.v6)

    def boot(self, number):
        here = kernel()
        self.version = (here / "version").read_text()
        (self.directory / "initramfs").write_bytes(file_system(here / "modules"))
        self.console, line = self.directory / "console.log", self.directory / "control"
        self.qemu = self.internet.start(
            # With AVX2 in software the kernel's ciphers take twice the time.
            QEMU, "-accel", ACCELERATOR, "-cpu", "qemu64,+rdrand,+ssse3" if ACCELERATOR == "tcg" else "host", "-m", MEMORY_MB, "-smp", 1,
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-kernel", here / "vmlinuz", "-initrd", self.directory / "initramfs",
            "-append", "console=ttyS0 loglevel=5 panic=-1 random.trust_cpu=on mitigations=off net.ifnames=0",
            "-chardev", f"file,id=console,path={self.console}", "-device", "isa-serial,chardev=console",
            "-chardev", f"socket,id=control,path={line},server=on,wait=on", "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=control",
            "-netdev", f"tap,id=net,ifname=tap{number},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=net,mac=52:54:00:00:00:{number:02x},romfile=", name="qemu")
        wait_until(lambda: line.exists() or not self.qemu.alive(), "QEMU to begin")
        if not self.qemu.alive():
            raise LabError(f"QEMU ended:\n{self.qemu.output()}")
        self.control = socket.socket(socket.AF_UNIX)
        wait_until(lambda: self.control.connect_ex(str(line)) == 0, "QEMU to listen")
        end = time.monotonic() + BOOT_S
        while self.read_line(end, "the guest to boot") != "ready":
            pass

    def end(self):
        if self.control:
            self.control.close()
        self.qemu.stop(signal.SIGKILL)

    def receive(self, enough, end, what):
        """Reads until enough() of what was received."""
        while not enough():
            ready, _, _ = select.select([self.control], [], [], max(0, end - time.monotonic()))
            text = self.control.recv(65536) if ready else b""
            if not text:
                self.lost = what
                raise LabError(f"gave up waiting for: {what}\n{self.qemu.output()}\n{self.console.read_text(errors='replace')[-4000:]}")
            self.received += text

    def read_line(self, end, what):
        self.receive(lambda: b"\n" in self.received, end, what)
        line, self.received = self.received.split(b"\n", 1)
        return line.decode(errors="replace")

    def read(self, count, end, what):
        self.receive(lambda: len(self.received) >= count, end, what)
        text, self.received = self.received[:count], self.received[count:]
        return text.decode(errors="replace")

    @staticmethod
    def named(argv):
        """Busybox's shell takes its own `ip` and `ping` whatever PATH says, but for full names."""
        return [f"/opt/{argv[0]}" if argv[0] in PROGRAMS else str(argv[0]), *map(str, argv[1:])]

    def run(self, *argv, check=True, timeout=60, input=None, env=None):
        if self.lost:  # its next answer, if one comes, would be to another question
            raise LabError(f"the guest is lost since: {self.lost}")
        number, timeout = next(self.numbers), timeout * SLOWER
        command = "exec " + shlex.join([*(["env", *(f"{key}={value}" for key, value in env.items())] if env else []), *self.named(argv)])
        if "\n" in command:
            raise LabError(f"a command for the guest must be one line: {command}")
        given = base64.b64encode(input.encode()).decode() if input else "-"
        self.control.sendall(f"{number} {timeout} {given} {command}\n".encode())
        end, what = time.monotonic() + timeout + PATIENCE_S, f"the guest's answer to: {command}"
        answered, code, out, err = map(int, self.read_line(end, what).split())
        if answered != number:
            raise LabError(f"answer {answered} of the guest to command {number}")
        result = subprocess.CompletedProcess(argv, code, self.read(out, end, what), self.read(err, end, what))
        if check and code != 0:
            raise LabError(f"on {self.name}: {describe(argv, result)}")
        return result

    def start(self, *argv, name=None, env=None, stdin=None):
        name, base = name or pathlib.Path(str(argv[0])).name, f"/run/{next(self.numbers)}"
        self.run("background", base, *self.named(argv), env=env)
        self.started.append(GuestProcess(self, name, argv, base))
        return self.started[-1]

    def write(self, name, text, mode=0o600):
        path = f"/run/{name}"
        self.run("sh", "-c", f"cat > {path}; chmod {mode:o} {path}", input=text)
        return path

    def listening(self, port, protocol="tcp"):
        state = {"tcp": "0A", "udp": "07"}[protocol]
        table = self.run("sh", "-c", f"cat /proc/net/{protocol} /proc/net/{protocol}6").stdout
        return any(fields[3] == state and fields[1].endswith(f":{port:04X}") for fields in map(str.split, table.splitlines()))

    def serve_files(self, directory, address, port=8080):
        """The files of a directory of ours, which the guest fetches first, past the tunnel."""
        origin = self.internet.serve_files(directory, self.internet.v4, port)
        place = f"/run/files-{next(self.numbers)}"
        self.run("mkdir", place)
        for path in pathlib.Path(directory).iterdir():
            self.run("wget", "-q", "-O", f"{place}/{path.name}", f"http://{self.internet.v4}:{port}/{path.name}")
        origin.stop()
        process = self.start("httpd", "-f", "-p", f"[{address}]:{port}" if ":" in address else f"{address}:{port}", "-h", place)
        wait_until(lambda: self.listening(port) or not process.alive(), "HTTP server on the guest")
        return process

    def fetch(self, url, timeout=120):
        return self.run("sh", "-o", "pipefail", "-c", f"wget -q -O - {shlex.quote(url)} | sha256sum", timeout=timeout).stdout.split()[0]

    ping = Host.ping

    def messages(self, forget=False):
        """What the kernel said since it was last told to forget, with all that WireGuard says for developers."""
        return self.run("dmesg", *(["-c"] if forget else [])).stdout


if __name__ == "__main__":
    reason = why_not()
    print(f"no guest: {reason}" if reason else f"kernel {(kernel() / 'version').read_text()} in {kernel()}")
