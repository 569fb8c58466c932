"""A lab: hosts made of namespaces, wires between them, programs that run on them, and nothing left when it ends.

    with Lab() as lab:
        internet = lab.internet()
        a, b = internet.host("a"), internet.host("b")     # eth0 with 192.0.2.1 and 2001:db8::1, ...2 and ::2
        a.run("ping", "-c", "1", b.v4)

Every host is a set of namespaces of its own (host_init.py), the interfaces are made inside them, and the machine's own network is
never touched. Leaving the lab, by return, exception or signal, ends the hosts by process id and with them all that ran there.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE_S = float(os.environ.get("VERN_LAB_PATIENCE", "30"))  # how long a condition may take before that is a failure; no test waits for it

# As `python3 -m http.server`, but for the look-up of its own name, which takes its time where nothing answers.
HTTP_SERVER = """
import functools, http.server, socketserver, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socketserver.socket.AF_INET6 if ":" in sys.argv[1] else socketserver.socket.AF_INET
    server_bind = socketserver.TCPServer.server_bind
Server((sys.argv[1], int(sys.argv[2])), functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[3])).serve_forever()
"""


class LabError(Exception):
    pass


def wait_until(condition, what, timeout=None):
    """Polls until condition() is true and returns its value. Time only decides when to give up."""
    end = time.monotonic() + (timeout or PATIENCE_S)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise LabError(f"gave up waiting for: {what}")
        time.sleep(0.02)


def describe(argv, result):
    return (f"$ {' '.join(map(str, argv))}\nexit status {result.returncode}\n"
            f"--- stdout\n{result.stdout}\n--- stderr\n{result.stderr}")


def answered(output):
    """The sequence numbers that ping had an answer to."""
    return {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", output)}


class Process:
    """A program in the background on a host. `log` has its standard output and error together."""

    def __init__(self, host, name, argv, popen, log):
        self.host, self.name, self.argv, self.popen, self.log = host, name, argv, popen, log

    @property
    def pid(self):
        """As the machine sees it: the child of the nsenter that we started."""
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    stat = pathlib.Path("/proc", entry, "stat").read_text()
                    if int(stat.rsplit(")", 1)[1].split()[1]) == self.popen.pid:
                        return int(entry)
        return None

    def alive(self):
        return self.popen.poll() is None

    def send_signal(self, number):
        wait_until(lambda: self.pid is not None or not self.alive(), f"{self.name} to begin")
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self, timeout=None):
        """Its exit status (negative: the signal that ended it)."""
        try:
            return self.popen.wait(timeout or PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} does not end:\n{self.output()}") from None

    def stop(self, number=signal.SIGTERM):
        if self.alive():
            self.send_signal(number)
        return self.wait()

    def output(self):
        return pathlib.Path(self.log).read_text(errors="replace")


class Host:
    iperf3_ports = 5201  # the last that a server here had

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.directory = lab.directory / name
        self.directory.mkdir(mode=0o755)
        self.bin = self.directory / "bin"  # first in PATH on this host only
        self.bin.mkdir()
        # Its own /var/lib/vern: what a daemon keeps there outlives it, and is nobody else's.
        self.environment = dict(lab.environment, PATH=f"{self.bin}:{lab.environment['PATH']}", VERN_STATE_DIR=str(self.directory / "state"))
        self.v4 = self.v6 = None
        with open(self.directory / "host_init.log", "w") as log:
            self.init = subprocess.Popen([sys.executable, str(HERE / "host_init.py"), name, str(self.directory)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        line = self.init.stdout.readline()
        if not line:
            self.init.wait()
            raise LabError(f"host {name}: {(self.directory / 'host_init.log').read_text().strip()}")
        self.pid = int(line)
        self.ip("link", "set", "lo", "up")

    def __repr__(self):
        return f"<host {self.name}, pid {self.pid}>"

    def end(self):
        self.init.stdin.close()
        try:
            self.init.wait(10)
        except subprocess.TimeoutExpired:
            self.init.kill()
            self.init.wait()
        self.init.stdout.close()

    # Programs

    def _enter(self, argv):
        return ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--ipc", "--uts", "--", *map(str, argv)]

    def run(self, *argv, check=True, timeout=60, input=None, env=None):
        """Runs a program to its end; its outputs go through files, so that a daemon it leaves behind does not hold us up."""
        with tempfile.TemporaryFile("w+", dir=self.directory) as out, tempfile.TemporaryFile("w+", dir=self.directory) as err, \
                tempfile.TemporaryFile("w+", dir=self.directory) as given:
            given.write(input or "")
            given.seek(0)
            with subprocess.Popen(self._enter(argv), stdin=given, stdout=out, stderr=err, cwd=self.directory,
                                  env=dict(self.environment, **(env or {}))) as process:
                try:
                    code = process.wait(timeout)
                except subprocess.TimeoutExpired:
                    Process(self, argv[0], argv, process, None).send_signal(signal.SIGKILL)
                    process.kill()
                    code = "still running, ended"
            out.seek(0)
            err.seek(0)
            result = subprocess.CompletedProcess(argv, code, out.read(), err.read())
        if not isinstance(code, int) or (check and code != 0):
            raise LabError(f"on {self.name}: {describe(argv, result)}")
        return result

    def start(self, *argv, name=None, env=None, stdin=subprocess.DEVNULL):
        name = name or pathlib.Path(str(argv[0])).name
        log = self.directory / f"{len(self.lab.processes):02}-{name}.log"
        with open(log, "w") as sink:
            popen = subprocess.Popen(self._enter(argv), stdin=stdin, stdout=sink, stderr=subprocess.STDOUT, cwd=self.directory,
                                     env=dict(self.environment, **(env or {})), text=True)
        process = Process(self, name, argv, popen, log)
        self.lab.processes.append(process)
        return process

    def processes(self):
        """Names of what runs here, but for pid 1 and its outer half: one line of /proc/PID/cmdline each."""
        mine, found = os.readlink(f"/proc/{self.pid}/ns/pid"), []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != self.pid:
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{entry}/ns/pid") == mine:
                        command = pathlib.Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                        if command:  # a process that ended and waits to be reaped has none
                            found.append(command)
        return found

    def install(self, name, text):
        """A program of this host's own, before all others in its PATH."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def write(self, name, text, mode=0o600):
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path

    # Network

    def ip(self, *argv, check=True):
        return self.run("ip", *argv, check=check).stdout

    def address(self, device, *addresses):
        for text in addresses:
            self.ip("address", "add", text, "dev", device, *(["nodad"] if ":" in text else []))

    def wire(self, name, other, other_name, mtu=1500):
        """A cable to another host, both ends down. Process ids are the machine's, so only the network namespace is entered."""
        subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", "ip", "link", "add", name, "mtu", str(mtu), "type", "veth",
                        "peer", "name", other_name, "mtu", str(mtu), "netns", str(other.pid)], check=True)

    def has_interface(self, name):
        return self.run("ip", "link", "show", "dev", name, check=False).returncode == 0

    def sysctl(self, key, value):
        self.run("sh", "-c", f"echo {value} > /proc/sys/{key.replace('.', '/')}")

    def listening(self, port, protocol="tcp"):
        """Whether a socket here has this port, by the kernel's own table."""
        state = {"tcp": "0A", "udp": "07"}[protocol]
        for table in (protocol, protocol + "6"):
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == state and int(fields[1].rsplit(":", 1)[1], 16) == port:
                        return True
        return False

    def count_packets(self, hook, rule):
        """Counts what a rule of nftables matches from now on; the result is called for the number so far."""
        self.counters = getattr(self, "counters", 0) + 1
        table = f"count{self.counters}"
        self.run("nft", "-f", "-", input=f"""table inet {table} {{
            counter seen {{ }}
            chain c {{ type filter hook {hook} priority -400; {rule} counter name seen; }}
        }}""")
        return lambda: int(self.run("nft", "list", "counter", "inet", table, "seen").stdout.split("packets ")[1].split()[0])

    # What tests do all the time

    def ping(self, target, *options, count=3):
        """Every one of the first `count` requests must be answered, however late: -w makes ping go on until so many answers are there.
        Returns how many requests were sent: more than `count` if an answer was late."""
        result = self.run("ping", "-n", "-c", count, "-i", "0.02", "-w", int(PATIENCE_S), *options, target, check=False)
        if not answered(result.stdout) >= set(range(1, count + 1)):
            raise LabError(f"on {self.name}: {describe(result.args, result)}")
        return int(re.search(r"(\d+) packets transmitted", result.stdout)[1])

    def serve_files(self, directory, address, port=8080):
        process = self.start(sys.executable, "-c", HTTP_SERVER, address, port, directory, name="http.server")
        wait_until(lambda: self.listening(port) or not process.alive(), f"HTTP server on {self.name}")
        return process

    def fetch(self, url, timeout=120):
        """SHA-256 of what is there."""
        target = self.directory / f"fetched-{time.monotonic_ns()}"
        self.run("curl", "--silent", "--show-error", "--fail", "--globoff", "--max-time", timeout, "--output", target, url, timeout=timeout + 10)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        target.unlink()
        return digest

    def iperf3_server(self, port=5201):
        """Serves one client. The next needs a server of its own: this one takes nobody else until it has read the client's last
        word, and where that is lost on the way, a client that begins at once comes before it is sent again."""
        process = self.start("iperf3", "--server", "--one-off", "--port", port)
        wait_until(lambda: self.listening(port) or not process.alive(), f"iperf3 server on {self.name}")
        return process

    def iperf3(self, server, address, *options, timeout=180):
        """A stream to `address` of the host `server`. iperf3's own report, of its end."""
        server.iperf3_ports += 1
        server.iperf3_server(server.iperf3_ports)
        result = self.run("iperf3", "--client", address, "--port", server.iperf3_ports, "--json", *options, check=False, timeout=timeout)
        report = json.loads(result.stdout or "{}")
        if result.returncode != 0 or "error" in report:
            raise LabError(f"iperf3 on {self.name}: {report.get('error')} {result.stderr}")
        return report["end"]


class Internet(Host):
    """A bridge that joins hosts: 192.0.2.0/24 and 2001:db8::/64 (the documentation's ranges). Itself .254 and ::fe."""

    def __init__(self, lab, name="internet"):
        super().__init__(lab, name)
        self.next = 1
        self.ip("link", "add", "br0", "type", "bridge")
        self.ip("link", "set", "br0", "addrgenmode", "none", "up")
        self.address("br0", "192.0.2.254/24", "2001:db8::fe/64")
        self.v4, self.v6 = "192.0.2.254", "2001:db8::fe"

    def host(self, name, mtu=1500):
        host, number = Host(self.lab, name), self.next
        self.next += 1
        self.lab.hosts.append(host)
        self.wire(f"port{number}", host, "eth0", mtu)
        self.ip("link", "set", f"port{number}", "master", "br0", "addrgenmode", "none", "up")
        host.ip("link", "set", "eth0", "addrgenmode", "none", "up")
        host.v4, host.v6 = f"192.0.2.{number}", f"2001:db8::{number:x}"
        host.address("eth0", f"{host.v4}/24", f"{host.v6}/64")
        host.ip("route", "add", "default", "via", self.v4)
        host.ip("-6", "route", "add", "default", "via", self.v6)
        return host


class Lab:
    def __init__(self):
        self.hosts, self.processes = [], []
        self.environment = {key: value for key, value in os.environ.items()
                            if key.startswith(("PATH", "VERN", "LANG", "ASAN", "UBSAN", "TSAN", "LSAN"))}
        self.environment.update(LC_ALL="C", HOME="/nonexistent", TMPDIR="/tmp")

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"vern-lab-{os.getpid()}-"))
        self.directory.chmod(0o755)  # programs that have dropped their rights are still to be found
        self.environment["PATH"] = ":".join(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        # A signal unwinds the stack, so that everything is put away. As ^C does: unittest takes other exceptions for a failed test and goes on.
        self.handlers = {number: signal.signal(number, self._leave) for number in (signal.SIGTERM, signal.SIGHUP)}
        return self

    @staticmethod
    def _leave(number, _frame):
        raise KeyboardInterrupt(f"signal {number}")

    def __exit__(self, *_):
        for host in reversed(self.hosts):
            host.end()
        for process in self.processes:  # their hosts are gone, and they with them; what is left is the outer half, our nsenter
            process.popen.kill()
            process.popen.wait()
            if process.popen.stdin:
                process.popen.stdin.close()
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if os.environ.get("VERN_LAB_KEEP"):
            print(f"lab's files: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def internet(self, name="internet"):
        host = Internet(self, name)
        self.hosts.append(host)
        return host

    def logs(self, lines=40):
        """The ends of all programs' outputs, for a failed test's report."""
        parts = []
        for path in sorted(self.directory.glob("*/*.log")):
            text = [line for line in path.read_text(errors="replace").splitlines() if not line.startswith(("┌", "│", "└"))][-lines:]  # a banner
            if text:
                parts.append("\n".join([f"=== {path.parent.name}: {path.name}", *text]))
        return "\n".join(parts)


def unable():
    """Why a lab cannot be made here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("ip", "nsenter", "wg", "ping"):
        if not shutil.which(program):
            return f"needs {program}"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    try:
        with Lab() as lab:
            lab.internet().host("probe")
    except LabError as error:
        return f"no namespaces: {error}"
    return None
