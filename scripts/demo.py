"""./run demo: three hosts in three places, joined by the files that people write for wg-quick, each brought up in another way:

    berlin   `vern up`
    oslo     `wg-quick up`, with vernd in the place of the kernel's WireGuard
    lisbon   `wg-quick up`, with wireguard-go (not ours, to show that we speak the same language)

Pings, a stream, a file over HTTP. Then a database host, a web server and a guest: a policy lets the web server reach the database and nobody else, and an
nftables ruleset becomes a policy with the same verdicts. Then a developer whose certificate, by a plain ssh-keygen CA, opens tcp/22 of the database for some
seconds: when it ends the open connection is cut, and the audit trail tells the story. Ends with a table and leaves nothing behind. The hosts are namespaces of
this machine.
"""

import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import hashlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "net"))
from lab import Lab, LabError, unable, wait_until  # noqa: E402
from talk import LISTEN, UNTIL_CUT  # noqa: E402
from tunnel import PEERS, SUBJECT, VERN, VERND, Implementation, Interface, at, genkey, genpsk, host_routes, path_with, pubkey  # noqa: E402

FILE = """[Interface]
# {name}
Address = 10.100.0.{number}/24, fd00:100::{number}/64
ListenPort = 51820
PrivateKey = {private}
PostUp = echo "%i is up on {name}" >> {directory}/hooks
PostDown = echo "%i is down on {name}" >> {directory}/hooks
"""

PEER = """
[Peer]
# {name}
PublicKey = {public}
PresharedKey = {psk}
AllowedIPs = 10.100.0.{number}/32, fd00:100::{number}/128
Endpoint = {endpoint}
PersistentKeepalive = 25
"""

IDENTITY_POLICY = """version = 1
name = "developers"

[peers]
laptop = "{laptop}"

[[rule]]
id = "proofs"
in = {{}}
allow = ["tcp/51821"]

[[rule]]
id = "ssh-for-dba"
in = {{ from = ["ssh:principal=dba;ca=corp"] }}
allow = ["tcp/22"]
log = true
"""

POLICY = """version = 1
name = "database"

[defaults]
log_denied = "[DROP]: "

[peers]
web = "{web}"
guest = "{guest}"

[[rule]]
id = "mysql-from-web"
in = {{ from = ["web"], to = ["10.100.0.1"] }}
allow = ["tcp/3306"]

[[rule]]
id = "out"
out = {{}}
allow = ["any"]

[[test]]
from = "web"
to = "10.100.0.1"
proto = "tcp"
port = 3306
expect = "allow"

[[test]]
from = "guest"
to = "10.100.0.1"
proto = "tcp"
port = 3306
expect = "deny"
"""

RULESET = """table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        iif lo accept
        ct state established,related accept
        iifname "eth0" accept
        iifname "wg0" ip saddr 10.100.0.2 tcp dport 3306 accept
        tcp dport 22 ct state new limit rate 10/minute accept
        log prefix "[NFTABLES-DROP]: "
    }
}
"""
PORTS = (22, 80, 3306)

# One word for each port: open, refused or silent.
PROBE = """
import socket, sys
for port in sys.argv[2:]:
    s = socket.socket()
    s.settimeout(1)
    try: s.connect((sys.argv[1], int(port))); print("open", end=" ")
    except TimeoutError: print("silent", end=" ")
    except OSError: print("refused", end=" ")
"""

STREAM = "256M"
FILE_BYTES = 20 << 20


class Member:
    def __init__(self, name, number, tool, implementation, host):
        self.name, self.number, self.tool, self.implementation, self.host = name, number, tool, implementation, host
        self.private = genkey()
        self.v4, self.v6 = f"10.100.0.{number}", f"fd00:100::{number}"
        self.file = host.directory / "wg0.conf"
        self.environment = {"WG_QUICK_USERSPACE_IMPLEMENTATION": implementation} if tool == "wg-quick" else {}

    def tool_run(self, verb):
        return self.host.run(VERN if self.tool == "vern" else "wg-quick", verb, self.file, env=self.environment)

    def hooks(self):
        path = self.host.directory / "hooks"
        return path.read_text().splitlines() if path.exists() else []


class Report:
    def __init__(self):
        self.rows, self.failed = [], 0

    def check(self, what, action):
        """Runs one step; its result is a line of the table. A step that fails does not end the others."""
        try:
            value, ok = action() or "", True
        except (LabError, AssertionError, subprocess.SubprocessError, OSError) as error:
            value, ok = str(error).splitlines()[0] if str(error) else type(error).__name__, False
            print(f"{error}\n", file=sys.stderr)
            self.failed += 1
        self.rows.append((what, "ok" if ok else "FAILED", value))
        print(f"  {what}: {value or ('ok' if ok else 'FAILED')}", flush=True)

    def table(self):
        widths = [max(len(row[column]) for row in self.rows) for column in range(2)]
        for what, verdict, value in self.rows:
            print(f"  {what:<{widths[0]}}  {verdict:<{widths[1]}}  {value}")


def say(text):
    print(f"\n{text}", flush=True)


def write_files(members):
    psk = {frozenset((one.name, other.name)): genpsk() for one in members for other in members if one is not other}
    for one in members:
        text = FILE.format(name=one.name, number=one.number, private=one.private, directory=one.host.directory)
        for other in members:
            if other is not one:
                # berlin is reached over IPv6 from oslo, everything else over IPv4
                over_v6 = {one.name, other.name} == {"berlin", "oslo"}
                text += PEER.format(name=other.name, public=pubkey(other.private), psk=psk[frozenset((one.name, other.name))], number=other.number,
                                    endpoint=f"[{other.host.v6}]:51820" if over_v6 else f"{other.host.v4}:51820")
        one.file.write_text(text)
        one.file.chmod(0o600)


def ping(one, other):
    for address in (other.v4, other.v6):
        one.host.ping(address, count=5)
    return f"{other.v4} and {other.v6}, 5 of 5"


def stream(one, other):
    server = other.host.iperf3_server()
    output = one.host.run("iperf3", "--client", other.v4, "--bytes", STREAM, "--format", "m", timeout=300).stdout
    server.stop()
    rate = re.search(r"([\d.]+) Mbits/sec.*receiver", output).group(1)
    return f"{STREAM} at {rate} Mbit/s"


def fetch(one, other):
    content = random.randbytes(FILE_BYTES)
    directory = other.host.directory / "www"
    directory.mkdir(exist_ok=True)
    (directory / "file").write_bytes(content)
    server = other.host.serve_files(directory, other.v4)
    digest = one.host.fetch(f"http://{other.v4}:8080/file")
    server.stop()
    assert digest == hashlib.sha256(content).hexdigest(), "the file that came is another one"
    return f"{FILE_BYTES >> 20} MiB, SHA-256 {digest[:16]}... on both sides"


def come_down(member):
    member.tool_run("down")
    wait_until(lambda: not member.host.processes(), f"everything on {member.name} to end")
    wait_until(lambda: not member.host.has_interface("wg0"), "the interface to go")
    left = member.host.run("sh", "-c", "ls -A /run/wireguard 2>/dev/null; ip -4 route show table all | grep wg0; ip rule | grep -i wg; true").stdout
    assert not left, f"left: {left}"
    assert [line.split()[2] for line in member.hooks()] == ["up", "down"], f"hooks: {member.hooks()}"
    return "no interface, socket, route or process left; hooks ran"


def run(lab, report):
    lab.environment["PATH"] = f"{path_with(VERND, VERN)}:{lab.environment['PATH']}"
    internet = lab.internet()
    go = PEERS["wireguard-go-debian"]
    third = ("wg-quick", go.program) if isinstance(go, Implementation) else ("vern", "vernd")
    members = [Member("berlin", 1, "vern", "vernd", internet.host("berlin")),
               Member("oslo", 2, "wg-quick", "vernd", internet.host("oslo")),
               Member("lisbon", 3, *third, internet.host("lisbon"))]
    berlin, oslo, lisbon = members
    if not isinstance(go, Implementation):
        say(f"({go}: lisbon is run by vernd too)")
    if oslo.host.run("ip", "link", "add", "probe", "type", "wireguard", check=False).returncode == 0:
        oslo.host.ip("link", "del", "probe")
        say("(This kernel has WireGuard, and wg-quick prefers it: where it says wg-quick below, the kernel is at work.)")
    write_files(members)
    say(f"berlin's file, {berlin.file}:")
    print(re.sub(r"((?:Private|Preshared)Key = ).*", r"\1(hidden)", berlin.file.read_text()))

    say("Bringing them up")
    for member in members:
        command = f"vern up {member.file.name}" if member.tool == "vern" else f"WG_QUICK_USERSPACE_IMPLEMENTATION={pathlib.Path(member.implementation).name} wg-quick up {member.file.name}"
        report.check(f"{member.name}: {command}", lambda member=member: member.tool_run("up") and "")
    say("Pings, inner IPv4 and IPv6, every pair both ways")
    for one in members:
        for other in members:
            if one is not other:
                report.check(f"ping {one.name} -> {other.name}", lambda one=one, other=other: ping(one, other))
    say("A TCP stream (iperf3)")
    for one, other in ((berlin, oslo), (oslo, berlin), (berlin, lisbon), (lisbon, oslo)):
        report.check(f"iperf3 {one.name} -> {other.name}", lambda one=one, other=other: stream(one, other))
    say("A file over HTTP")
    for one, other in ((berlin, oslo), (berlin, lisbon), (lisbon, berlin)):
        report.check(f"curl {one.name} <- {other.name}", lambda one=one, other=other: fetch(one, other))
    say("vern show, on berlin")
    print(berlin.host.run(VERN, "show").stdout)
    say("Taking them down")
    for member in members:
        report.check(f"{member.name}: {member.tool} down {member.file.name}", lambda member=member: come_down(member))


def probe(one, other, *ports):
    return one.host.run("python3", "-c", PROBE, other.addresses[0], *ports).stdout.split()


def expect(found, wanted):
    assert found == wanted, f"{found} instead of {wanted}"
    return " ".join(found) if isinstance(found, list) else found


def in_log(database, line):
    found = wait_until(lambda: re.search(line + ".*", database.process.output()), f"'{line}' in the log")
    return found.group()


def policies(lab, report):
    """A database that only the web server may reach."""
    internet = lab.internet("policies")
    database, web, guest = [Interface(internet.host(name), SUBJECT, addresses=[f"10.100.0.{number}/24"]) for number, name in enumerate(("database", "web", "guest"), 1)]
    for peer in (web, guest):
        database.peer(peer, host_routes(peer), endpoint=at(peer.host.v4))
        peer.peer(database, host_routes(database), endpoint=at(database.host.v4))
    for port in PORTS:
        database.host.serve_files(database.host.directory, database.addresses[0], port)
    vern = lambda *argv, **options: database.host.run(VERN, *argv, **options)  # noqa: E731
    file = database.host.write("db.toml", POLICY.format(web=web.public, guest=guest.public))
    say(f"The database's policy, {file}:")
    print(file.read_text())
    report.check("vern policy check db.toml", lambda: vern("policy", "check", file).stdout.strip().rpartition("/")[2])
    report.check("before it, guest -> database 22 80 3306", lambda: expect(probe(guest, database, *PORTS), ["open"] * 3))
    report.check("vern policy apply db.toml --confirm 60s", lambda: vern("policy", "apply", file, "--confirm", "60s").stdout.splitlines()[0])
    report.check("web -> database 22 80 3306", lambda: expect(probe(web, database, *PORTS), ["silent", "silent", "open"]))
    report.check("guest -> database 22 80 3306", lambda: expect(probe(guest, database, *PORTS), ["silent", "silent", "silent"]))
    report.check("the database's log", lambda: in_log(database, r"\[DROP\]: denied in guest tcp \S+ > 10\.100\.0\.1:3306"))
    report.check("vern policy confirm", lambda: vern("policy", "confirm").stdout.splitlines()[0])
    print(vern("explain", "in guest tcp 10.100.0.3:40000 > 10.100.0.1:3306").stdout)
    print(vern("policy", "counters").stdout)

    say("The same with nftables, and the policy made out of it")
    print(RULESET)
    vern("policy", "apply", database.host.write("open.toml", 'version = 1\n[[rule]]\nid = "in"\nin = {}\nallow = ["any"]\n[[rule]]\nid = "out"\nout = {}\nallow = ["any"]\n'))
    database.host.run("nft", "-f", "-", input=RULESET)
    by_nft = probe(web, database, *PORTS) + probe(guest, database, *PORTS)
    ruleset = database.host.write("ruleset.json", database.host.run("nft", "-j", "list", "ruleset").stdout)
    database.host.run("nft", "flush", "ruleset")
    written = vern("policy", "from-nft", ruleset, "--local", database.addresses[0])
    print(written.stdout)
    vern("policy", "apply", "-", input=written.stdout)
    report.check("by nft: web, guest -> 22 80 3306", lambda: expect(by_nft, ["open", "silent", "open", "open", "silent", "silent"]))
    report.check("by vern policy from-nft: the same", lambda: expect(probe(web, database, *PORTS) + probe(guest, database, *PORTS), by_nft))
    report.check("the database's log", lambda: in_log(database, r"\[NFTABLES-DROP\]: denied in \S+ tcp \S+ > 10\.100\.0\.1:3306"))


def identities(lab, report):
    """A developer who may, for as long as a certificate says so."""
    internet = lab.internet("identities")
    database, laptop = [Interface(internet.host(name), SUBJECT, addresses=[f"10.100.0.{number}/24"]) for number, name in enumerate(("database-2", "laptop"), 1)]
    database.peer(laptop, host_routes(laptop), endpoint=at(laptop.host.v4))
    laptop.peer(database, host_routes(database), endpoint=at(database.host.v4))
    database.host.start("python3", "-c", LISTEN, "22", name="port-22")
    wait_until(lambda: database.host.listening(22), "port 22")
    vern = lambda *argv, **options: database.host.run(VERN, *argv, **options)  # noqa: E731
    ca, key = database.host.directory / "user_ca", laptop.host.directory / "id_ed25519"
    file = database.host.write("identity.toml", IDENTITY_POLICY.format(laptop=laptop.public))
    say(f"A policy that names people, {file}:")
    print(file.read_text())
    report.check("vern policy apply identity.toml", lambda: vern("policy", "apply", file).stdout.splitlines()[0])
    database.host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", ca)
    laptop.host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
    report.check("vern trust ssh add user_ca.pub", lambda: last_line(vern("trust", "ssh", "add", f"{ca}.pub", "--name", "corp")))
    report.check("laptop -> database 22, nobody yet", lambda: expect(probe(laptop, database, "22"), ["silent"]))
    shutil.copy(f"{key}.pub", database.host.directory / "ada.pub")
    database.host.run("ssh-keygen", "-q", "-s", ca, "-I", "ada@example.org", "-n", "dba", "-V", "+8s", database.host.directory / "ada.pub")
    shutil.copy(database.host.directory / "ada-cert.pub", f"{key}-cert.pub")
    present = lambda **options: laptop.host.run(VERN, "present", "--ssh", f"{key}-cert.pub", "--to", "10.100.0.1", **options)  # noqa: E731
    report.check("vern present --ssh id_ed25519-cert.pub", lambda: last_line(present()))
    talk = laptop.host.start("python3", "-c", UNTIL_CUT, "10.100.0.1", "22", name="connection")
    wait_until(lambda: "connected" in talk.output(), "the connection")
    report.check("laptop -> database 22", lambda: "open, and spoken on")
    report.check("vern whois 10.100.0.2", lambda: in_text("ada@example.org", vern("whois", "10.100.0.2").stdout))
    print(vern("whois", "10.100.0.2").stdout)
    report.check("the certificate ends, the connection is cut", lambda: expect(talk.wait(), 0) and None)
    report.check("vern present again", lambda: in_text("expired", present(check=False).stderr))
    report.check("vern audit verify", lambda: last_line(vern("audit", "verify")))
    say("The audit trail")
    print(vern("audit", "tail", "-n", "12").stdout)


def last_line(result):
    return result.stdout.strip().splitlines()[-1]


def in_text(word, text):
    return next(line.strip() for line in text.splitlines() if word in line)


def main():
    reason = unable()
    if reason:
        sys.exit(f"demo: {reason}")
    for program in ("wg-quick", "iperf3", "curl", "nft", "ssh-keygen"):
        if not shutil.which(program):
            sys.exit(f"demo: needs {program}")
    report = Report()
    links = set(os.listdir("/sys/class/net"))
    say("Three hosts on a small internet, 192.0.2.0/24 and 2001:db8::/64, each with its own network, processes and /run")
    with Lab() as lab:
        directory, hosts = lab.directory, lab.hosts
        run(lab, report)
        policies(lab, report)
        identities(lab, report)
    left = [str(host) for host in hosts if os.path.exists(f"/proc/{host.pid}")] + [name for name in os.listdir("/sys/class/net") if name not in links]
    if directory.exists() and not os.environ.get("VERN_LAB_KEEP"):
        left.append(str(directory))
    report.check("this machine is as it was", lambda: None if not left else (_ for _ in ()).throw(AssertionError(f"left: {left}")))
    say("Summary")
    report.table()
    print(f"\n{len(report.rows) - report.failed} of {len(report.rows)} steps worked")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; everything has been put away")
