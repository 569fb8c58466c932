"""Interfaces from wg-quick files, as people write them: brought up by `wg-quick` with vernd in the place of the kernel's, and by `vern up`.
Both must do the same, so the tests are the same."""

import os
import re
import shutil
import time
import unittest

from lab import Lab, LabError, wait_until
from tunnel import PORT, SUBJECT, SUBJECT_IS_VERN, VERN, VERND, Interface, at, genkey, genpsk, host_routes, path_with, pubkey

RESOLVCONF = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/../resolvconf.calls"
case "$1" in -l) ;; -a) cat >> "$(dirname "$0")/../resolvconf.calls";; esac
"""

FILE = """
# A file as people write them.
[Interface]
Address = {address4}, {address6}
ListenPort = 51820   # the usual one
privatekey={private}
{interface}

[Peer]
# the other side
PublicKey = {public}
PresharedKey = {psk}
AllowedIPs = {allowed}
Endpoint = {endpoint}
PersistentKeepalive = 25
"""


class Quick:
    """The far side is an interface made by hand; the near side is a file."""

    def setUp(self):
        self.lab = self.enterContext(Lab())
        self.lab.environment["PATH"] = f"{path_with(VERND, VERN, SUBJECT.program)}:{self.lab.environment['PATH']}"
        self.internet = self.lab.internet()
        self.near, host = self.internet.host("near"), self.internet.host("far")
        self.private, self.psk = genkey(), genpsk()
        self.public = pubkey(self.private)
        self.far = Interface(host, SUBJECT, addresses=["10.77.0.2/24", "fd77::2/64"])
        self.far.peer(self.public, ["10.77.0.1/32", "fd77::1/128"], psk=self.psk)
        if self.tool == "wg-quick":
            if not shutil.which("wg-quick"):
                self.skipTest("needs wg-quick")
            if self.near.run("ip", "link", "add", "probe", "type", "wireguard", check=False).returncode == 0:
                self.skipTest("this kernel has WireGuard, and wg-quick always prefers it")

    def file(self, interface="", allowed="10.77.0.2/32, fd77::2/128", endpoint=None, address4="10.77.0.1/24", name="wg0"):
        return self.near.write(f"{name}.conf", FILE.format(
            address4=address4, address6="fd77::1/64", private=self.private, interface=interface, public=self.far.public, psk=self.psk,
            allowed=allowed, endpoint=endpoint or at(self.far.host.v4)))

    def state(self):
        """What an interface could leave behind on a host."""
        return {what: self.near.run("sh", "-c", command).stdout for what, command in {
            "links": "ls /sys/class/net", "v4 rules": "ip -4 rule", "v6 rules": "ip -6 rule", "v4 routes": "ip -4 route show table all | sort",
            "v6 routes": "ip -6 route show table all | sort", "filters": "nft list ruleset", "sockets": "ls -A /run/wireguard 2>/dev/null || true"}.items()}

    def up(self, file, check=True):
        return self.near.run(self.tool_path, "up", file, check=check, env=self.tool_environment)

    def down(self, file, check=True):
        return self.near.run(self.tool_path, "down", file, check=check, env=self.tool_environment)

    def down_to(self, file, before):
        self.down(file)
        wait_until(lambda: not self.near.processes(), f"all to end; there is {self.near.processes()}")
        wait_until(lambda: not self.near.has_interface("wg0"), "the interface to go")
        after = self.state()
        self.assertEqual(after, before)

    def talk(self):
        for address in self.far.addresses:
            self.near.ping(address)
        for address in ("10.77.0.1", "fd77::1"):
            self.far.host.ping(address)

    def test_up_and_down(self):
        file, before = self.file(), self.state()
        self.up(file)
        self.talk()
        self.assertEqual(self.near.run("wg", "show", "wg0", "persistent-keepalive").stdout.split()[1], "25")
        self.assertIn("mtu 1420", self.near.ip("link", "show", "wg0"))
        self.down_to(file, before)
        self.up(file)  # and again
        self.talk()
        self.down_to(file, before)

    def test_by_name_in_the_usual_directory(self):
        if not os.path.isdir("/etc/wireguard"):
            self.skipTest("no /etc/wireguard on this machine")
        file = self.file()
        self.near.run("cp", file, "/etc/wireguard/wg0.conf")
        self.up("wg0")
        self.talk()
        self.down("wg0")

    def test_endpoint_in_v6(self):
        self.up(self.file(endpoint=at(self.far.host.v6)))
        self.talk()

    def test_endpoint_by_name(self):
        hosts = self.near.write("hosts", f"127.0.0.1 localhost\n{self.far.host.v4} far.example\n", 0o644)
        self.near.run("mount", "--bind", hosts, "/etc/hosts")
        self.up(self.file(endpoint=f"far.example:{PORT}"))
        self.talk()

    def test_mtu(self):
        self.up(self.file("MTU = 1300"))
        self.assertIn("mtu 1300", self.near.ip("link", "show", "wg0"))
        self.talk()

    def test_hooks_run_in_order_with_the_name(self):
        file, calls = self.file("".join(f"{when} = echo {when} {number} %i >> {self.near.directory}/calls\n"
                                        for when in ("PreUp", "PostUp", "PreDown", "PostDown") for number in (1, 2))), self.near.directory / "calls"
        self.up(file)
        self.assertEqual(calls.read_text().splitlines(), [f"{when} {n} wg0" for when in ("PreUp", "PostUp") for n in (1, 2)])
        calls.unlink()
        self.down(file)
        self.assertEqual(calls.read_text().splitlines(), [f"{when} {n} wg0" for when in ("PreDown", "PostDown") for n in (1, 2)])

    def test_post_up_sees_the_interface_and_may_use_the_shell(self):
        file = self.file("PostUp = cd %s && ip link show dev %%i > seen && wg show %%i public-key | cat >> seen; echo 'a b' >> seen" % self.near.directory)
        self.up(file)
        seen = (self.near.directory / "seen").read_text()
        for part in ("wg0:", self.public, "a b"):
            self.assertIn(part, seen)

    def test_a_failing_hook_undoes_everything(self):
        for when in ("PreUp", "PostUp"):
            before = self.state()
            self.assertNotEqual(self.up(self.file(f"{when} = false"), check=False).returncode, 0)
            wait_until(lambda: not self.near.processes(), f"all to end after {when}; there is {self.near.processes()}")
            self.assertEqual(self.state(), before)

    def test_an_address_that_cannot_be_set_undoes_everything(self):
        before = self.state()
        self.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        self.near.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
        self.assertNotEqual(self.up(self.file(), check=False).returncode, 0)
        wait_until(lambda: not self.near.processes(), f"all to end; there is {self.near.processes()}")
        after = self.state()
        for what in ("links", "v4 rules", "v4 routes", "filters", "sockets"):
            self.assertEqual(after[what], before[what])

    def test_dns(self):
        self.near.install("resolvconf", RESOLVCONF)
        calls = self.near.directory / "resolvconf.calls"
        file = self.file("DNS = 10.77.0.2, fd77::2, corp.example\nDNS = 10.77.0.3")
        self.up(file)
        text = calls.read_text()
        self.assertRegex(text, r"-a (tun\.)?wg0 -m 0 -x")
        self.assertEqual(re.findall("nameserver (.*)", text), ["10.77.0.2", "fd77::2", "10.77.0.3"])
        self.assertIn("search corp.example", text)
        calls.unlink()
        self.down(file)
        self.assertRegex(calls.read_text(), r"-d (tun\.)?wg0 -f")

    def test_routes(self):
        file, before = self.file(allowed="10.77.0.2/32, fd77::2/128, 10.200.0.0/16, fd20::/48"), self.state()
        self.up(file)
        self.assertIn("dev wg0", self.near.ip("route", "get", "10.200.1.1"))
        self.assertIn("dev wg0", self.near.ip("-6", "route", "get", "fd20::1"))
        self.down_to(file, before)

    def test_table_off(self):
        self.up(self.file("Table = off", allowed="10.77.0.2/32, fd77::2/128, 10.200.0.0/16, 0.0.0.0/0"))
        self.assertNotIn("wg0", self.near.ip("route", "get", "10.200.1.1"))
        self.assertNotIn("fwmark", self.near.ip("rule"))
        self.talk()

    def test_table_number(self):
        file, before = self.file("Table = 1234", allowed="10.77.0.2/32, fd77::2/128, 10.200.0.0/16"), self.state()
        self.up(file)
        self.assertIn("10.200.0.0/16 dev wg0", self.near.ip("route", "show", "table", "1234"))
        self.assertNotIn("wg0", self.near.ip("route", "get", "10.200.1.1"))
        self.down_to(file, before)

    def test_full_tunnel(self):
        # The far side is the whole world; only the tunnel's own datagrams go around it.
        self.far.host.address("lo", "198.51.100.1/32", "2001:db8:ffff::1/128")
        file, before = self.file(allowed="0.0.0.0/0, ::/0"), self.state()
        self.up(file)
        self.talk()
        for address in ("198.51.100.1", "2001:db8:ffff::1"):
            self.near.ping(address)
        self.assertIn("dev wg0", self.near.ip("route", "get", "198.51.100.1"))
        self.assertIn("dev wg0", self.near.ip("-6", "route", "get", "2001:db8:ffff::1"))
        mark = self.near.run("wg", "show", "wg0", "fwmark").stdout.strip()
        self.assertNotEqual(mark, "off")
        self.assertNotIn("wg0", self.near.ip("route", "get", self.far.host.v4, "mark", mark))
        self.near.ping(self.internet.v4)  # its own network stays reachable: the main table's longer prefixes go first
        self.down_to(file, before)

    def test_fwmark(self):
        self.up(self.file("FwMark = 0x77"))
        self.assertEqual(self.near.run("wg", "show", "wg0", "fwmark").stdout.strip(), "0x77")
        self.talk()

    def test_save_config(self):
        file = self.file("SaveConfig = true\nPostUp = true\nMTU = 1380")
        self.up(file)
        newcomer = pubkey(genkey())
        self.near.run("wg", "set", "wg0", "peer", newcomer, "allowed-ips", "10.99.0.1/32")
        self.talk()
        self.down(file)
        saved = file.read_text()
        for part in (self.private, self.far.public, self.psk, newcomer, "10.99.0.1/32", "PostUp = true", "MTU = 1380", "SaveConfig = true", "10.77.0.1/24", "fd77::1/64"):
            self.assertIn(part, saved)
        self.assertEqual(file.stat().st_mode & 0o077, 0)
        self.up(file)  # what was saved can be read again, and says the same
        self.talk()
        self.assertEqual(set(self.near.run("wg", "show", "wg0", "peers").stdout.split()), {self.far.public, newcomer})

    def test_save(self):
        file = self.file()
        self.up(file)
        newcomer = pubkey(genkey())
        self.near.run("wg", "set", "wg0", "peer", newcomer, "allowed-ips", "10.99.0.1/32")
        self.near.run(self.tool_path, "save", file, env=self.tool_environment)
        self.assertIn(newcomer, file.read_text())

    def test_twice_up_is_refused_and_the_first_stays(self):
        file = self.file()
        self.up(file)
        result = self.up(file, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("wg0", result.stderr)
        self.talk()

    def test_down_of_what_is_not_up_is_an_error(self):
        result = self.down(self.file(), check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("wg0", result.stderr)

    def test_a_file_that_is_wrong_changes_nothing(self):
        before = self.state()
        good = self.file().read_text()
        wrongs = [("10.77.0.2/32", "10.77.0.2/33"), (self.far.public, "short"), ("Endpoint = ", "Endpoint = :"), ("PersistentKeepalive = 25", "Keep = 25")]
        if self.tool == "vern":
            wrongs += [("51820 ", "518200 ")]  # wg takes the lower 16 bits
        for right, wrong in wrongs:
            result = self.up(self.near.write("wg0.conf", good.replace(right, wrong)), check=False)
            self.assertNotEqual(result.returncode, 0, wrong)
            wait_until(lambda: not self.near.processes(), f"all to end; there is {self.near.processes()}")
            self.assertEqual(self.state(), before)

    def test_two_interfaces(self):
        first, before = self.file(), self.state()
        self.up(first)
        other, key = self.file(address4="10.78.0.1/24", name="wg1"), genkey()
        other.write_text(other.read_text().replace("51820 ", "51821 ").replace(self.private, key).replace("fd77::1/64", "fd78::1/64")
                         .replace("10.77.0.2/32, fd77::2/128", "10.78.0.2/32"))
        self.far.peer(pubkey(key), ["10.78.0.1/32"], psk=self.psk)
        self.far.host.address("wg0", "10.78.0.2/24")
        self.up(other)
        self.talk()
        self.near.ping("10.78.0.2")
        self.down(other)
        self.talk()
        self.down_to(first, before)


class WgQuick(Quick, unittest.TestCase):
    tool, tool_path = "wg-quick", "wg-quick"
    tool_environment = {"WG_QUICK_USERSPACE_IMPLEMENTATION": os.path.basename(SUBJECT.program or "vernd")}


if SUBJECT_IS_VERN:
    class VernUp(Quick, unittest.TestCase):
        tool, tool_path = "vern", VERN
        tool_environment = {}

        def sync(self, file, check=True):
            return self.near.run(VERN, "sync", file, check=check)

        def settings(self):
            """All that `sync` may change: what the daemon was given, and the routes."""
            return self.near.run("wg", "showconf", "wg0").stdout, self.state()

        def test_sync_follows_the_file_and_sessions_go_on(self):
            file = self.file(allowed="10.77.0.2/32, fd77::2/128, 10.88.0.0/24")
            other = pubkey(genkey())
            alone = file.read_text()
            file.write_text(alone + f"[Peer]\nPublicKey = {other}\nAllowedIPs = 10.99.0.0/24, fd99::/64\nPresharedKey = {genpsk()}\nPersistentKeepalive = 9\n")
            self.up(file)
            self.near.ip("route", "add", "10.66.0.0/24", "dev", "wg0")  # somebody else's
            self.talk()
            handshake = lambda: re.search(re.escape(self.far.public) + r"\t\d+", self.near.run("wg", "show", "wg0", "latest-handshakes").stdout)[0]
            session = handshake()
            wait_until(lambda: time.time() > int(session.split()[1]) + 1, "the second of the handshake to be over")
            self.assertIn("10.99.0.0/24", self.near.ip("route", "show", "dev", "wg0"))

            # Allowed IPs and key of the other change, and what is left out is none.
            file.write_text(alone.replace("10.88.0.0/24", "10.89.0.0/24") + f"[Peer]\nPublicKey = {other}\nAllowedIPs = 10.88.0.0/24, fd99::/64\n")
            self.sync(file)
            shown = self.near.run("wg", "showconf", "wg0").stdout.partition(other)[2]
            self.assertIn("10.88.0.0/24", shown)
            self.assertNotIn("10.99.0.0/24", shown)
            self.assertNotIn("PresharedKey", shown)
            self.assertNotIn("PersistentKeepalive", shown)
            routes = self.near.ip("route", "show", "dev", "wg0")
            for route in ("10.88.0.0/24", "10.89.0.0/24", "10.66.0.0/24", "10.77.0.0/24"):
                self.assertIn(route, routes)
            self.assertNotIn("10.99.0.0/24", routes)
            self.assertIn("fd99::/64", self.near.ip("-6", "route", "show", "dev", "wg0"))

            # The other goes, and is back.
            file.write_text(alone)
            self.sync(file)
            self.assertEqual(self.near.run("wg", "show", "wg0", "peers").stdout.split(), [self.far.public])
            routes = self.near.ip("route", "show", "dev", "wg0")
            self.assertIn("10.88.0.0/24", routes)
            self.assertNotIn("10.89.0.0/24", routes)
            self.assertNotIn("fd99", self.near.ip("-6", "route", "show", "dev", "wg0"))
            before = self.settings()
            self.sync(file)
            self.assertEqual(self.settings(), before)
            self.talk()
            # Nobody had to shake hands again.
            self.assertEqual(handshake(), session)
            self.down(file)

        def test_sync_of_another_table(self):
            file = self.file("Table = 123", allowed="0.0.0.0/0, ::/0")
            self.up(file)
            self.sync(file)
            self.assertIn("default", self.near.ip("route", "show", "table", "123"))
            file.write_text(file.read_text().replace("0.0.0.0/0, ::/0", "10.77.0.2/32"))
            self.sync(file)
            self.assertEqual(self.near.ip("route", "show", "table", "123").split()[:3], ["10.77.0.2", "dev", "wg0"])
            self.assertEqual(self.near.ip("-6", "route", "show", "table", "123", check=False).strip(), "")
            self.near.ping("10.77.0.2")

        def test_sync_that_cannot_be_changes_nothing(self):
            file = self.file("FwMark = 0x77")
            good = file.read_text()
            result = self.sync(file, check=False)
            self.assertIn("wg0 is not up", result.stderr)
            self.assertEqual(result.returncode, 1)
            self.up(file)
            self.talk()
            self.near.start("python3", "-c", "import socket, time; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 5000)); time.sleep(100)")
            wait_until(lambda: ":5000" in self.near.run("ss", "-Huln").stdout, "the port to be in use")
            before = self.settings()
            for right, wrong, why in [("10.77.0.2/32", "10.77.0.2/33", ":13: "), (self.private, "short", "PrivateKey"), ("10.77.0.2/32", "0.0.0.0/0", "default route"),
                                      ("51820 ", "5000 ", "ListenPort 5000 is in use"), (at(self.far.host.v4), "nowhere.invalid:1", "nowhere.invalid")]:
                file.write_text(good.replace(right, wrong, 1))
                result = self.near.run(VERN, "sync", file, check=False, env={"WG_ENDPOINT_RESOLUTION_RETRIES": "0"})
                self.assertEqual(result.returncode, 1, wrong)
                self.assertIn(why, result.stderr)
                self.assertEqual(self.settings(), before, wrong)
            self.talk()

        def test_sync_of_a_key_that_a_hook_gives(self):
            key = self.near.write("key", self.private)
            file = self.file(f"PostUp = wg set %i private-key {key}")
            file.write_text(re.sub(r"(?m)^PrivateKey.*\n", "", file.read_text()) + f"[Peer]\nPublicKey = {pubkey(self.private)}\nAllowedIPs = 0.0.0.0/0\n")
            self.up(file)
            self.sync(file)  # this host itself is in its own list: no default route
            self.near.ping("10.77.0.2")

        def test_a_sync_that_waits_for_a_name_holds_up_no_other(self):
            file = self.file()
            self.up(file)
            self.near.install("hold", f"#!/bin/sh\nexec 9> /run/vern-sync-other.lock\nflock 9\necho held\nsleep 1000\n")
            held = self.near.start("hold")
            wait_until(lambda: "held" in held.output(), "the other's lock")
            self.assertNotIn("another sync", self.sync(file).stderr)

        def test_what_the_daemon_goes_on_without_is_told(self):
            state = self.near.directory / "state" / "wg0"
            state.mkdir(parents=True)
            (state / "audit").write_text("in the way")
            self.assertIn("audit: no trail is kept for now", self.up(self.file()).stderr)

        def test_sync_tells_of_an_address_and_an_mtu_that_stay(self):
            file = self.file()
            self.up(file)
            self.assertNotIn("Warning", self.sync(file).stderr)
            file.write_text(file.read_text().replace("[Interface]\n", "[Interface]\nAddress = 10.77.9.1/24\nMTU = 1300\n", 1))
            said = self.sync(file).stderr
            self.assertIn("Warning: wg0 does not have the address 10.77.9.1/24 (", said)
            self.assertRegex(said, r"Warning: the MTU of wg0 is 1\d{3} \(")

        def test_sync_finds_routes_that_were_left_behind(self):
            file = self.file(allowed="10.77.0.2/32, fd77::2/128, 10.88.0.0/24")
            alone = file.read_text()
            other = pubkey(genkey())
            file.write_text(alone + f"[Peer]\nPublicKey = {other}\nAllowedIPs = 10.99.0.0/24\n")
            self.up(file)
            # A sync that came to its peers only; and routes of others to the same places.
            self.near.run("wg", "set", "wg0", "peer", other, "remove")
            self.near.ip("route", "add", "10.99.0.0/24", "dev", "wg0", "metric", "77")
            self.near.ip("-6", "route", "add", "fd77::/64", "dev", "wg0", "metric", "77")
            file.write_text(alone.replace(", 10.88.0.0/24", ""))
            self.sync(file)
            routes = self.near.ip("route", "show", "dev", "wg0")
            self.assertNotIn("10.88.0.0/24", routes)
            self.assertEqual(re.findall("10.99.*", routes)[0].split(), "10.99.0.0/24 scope link metric 77".split())
            self.assertIn("fd77::/64 proto kernel", self.near.ip("-6", "route", "show", "dev", "wg0"))

        def test_sync_does_all_that_can_be_done_and_says_what_cannot(self):
            file = self.file()
            self.up(file)
            self.near.ip("route", "add", "10.50.0.0/24", "via", self.internet.v4)
            file.write_text(file.read_text().replace("fd77::2/128", "fd77::2/128, 10.50.0.0/24, 10.51.0.0/24, fd50::/64"))
            result = self.sync(file, check=False)
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, r"route add 10.50.0.0/24 .*exists; wg0's peers are as .* says, its routes are not")
            self.assertIn("10.51.0.0/24", self.near.ip("route", "show", "dev", "wg0"))
            self.assertIn("fd50::/64", self.near.ip("-6", "route", "show", "dev", "wg0"))
            self.near.ip("route", "delete", "10.50.0.0/24")
            self.sync(file)
            self.assertIn("10.50.0.0/24", self.near.ip("route", "show", "dev", "wg0"))
            self.near.ip("link", "set", "wg0", "down")
            before = self.settings()
            result = self.sync(file, check=False)
            self.assertIn("wg0 is down", result.stderr)
            self.assertEqual(self.settings(), before)

        def stays_in_its_table(self, first, then):
            file = self.file(first, allowed="0.0.0.0/0, ::/0")
            self.up(file)
            before = self.settings()
            file.write_text(self.file(then, allowed="0.0.0.0/0, ::/0").read_text().replace("ListenPort", "FwMark = 5\nListenPort"))
            result = self.sync(file, check=False)
            self.assertEqual(result.returncode, 1)
            self.assertIn("which takes vern down and vern up; nothing was changed", result.stderr)
            self.assertEqual(self.settings(), before)

        def test_sync_leaves_the_usual_table_for_none(self):
            self.stays_in_its_table("", "Table = off")

        def test_sync_leaves_the_usual_table_for_another(self):
            self.stays_in_its_table("", "Table = 123")

        def test_sync_leaves_another_table(self):
            self.stays_in_its_table("Table = 123", "")

        def test_sync_makes_no_table_where_there_was_none(self):
            self.stays_in_its_table("Table = off", "")

        def test_sync_of_what_wg_quick_brought_up(self):
            """Its routes have no protocol of their own; they follow the file, but for those of others."""
            file = self.file(allowed="10.77.0.2/32, fd77::2/128, 10.88.0.0/24")
            self.up(file)
            for route in ("10.88.0.0/24", "10.66.0.0/24"):
                self.near.run("ip", "route", "delete", route, "dev", "wg0", check=False)
                self.near.ip("route", "add", route, "dev", "wg0")
            file.write_text(file.read_text().replace(", 10.88.0.0/24", ""))
            self.sync(file)
            routes = self.near.ip("route", "show", "dev", "wg0")
            self.assertNotIn("10.88.0.0/24", routes)
            self.assertIn("10.66.0.0/24", routes)

        def test_sync_of_what_up_took_is_no_change(self):
            """What is chosen for a port or a mark of 0 stays, as does a file that names this host itself; a default route by hand covers nothing."""
            file = self.file("FwMark = off\nPostUp = ip route add default dev %i metric 9999", allowed="0.0.0.0/0, ::/0")
            text = file.read_text().replace("51820 ", "0 ") + f"[Peer]\nPublicKey = {self.public}\nAllowedIPs = 0.0.0.0/0\n"
            file.write_text(text)
            self.up(file)
            before = self.settings()
            self.sync(file)
            self.near.run("sh", "-c", f"exec {VERN} sync {file} <&-", timeout=20)  # no standard input at all
            self.assertEqual(self.settings(), before)
            file.write_text(text.replace("0.0.0.0/0, ::/0", "0.0.0.0/0, ::/0, 10.99.0.0/24", 1))
            self.sync(file)
            self.assertIn("10.99.0.0/24", self.near.ip("route", "show", "dev", "wg0"))

        def test_sync_leaves_a_full_tunnels_mark(self):
            file = self.file(allowed="0.0.0.0/0, ::/0")
            self.up(file)
            before = self.settings()
            self.sync(file)
            self.assertEqual(self.settings(), before)
            file.write_text(file.read_text().replace("ListenPort", "FwMark = 5\nListenPort"))
            result = self.sync(file, check=False)
            self.assertIn("FwMark changes under a default route", result.stderr)
            self.assertEqual(self.settings(), before)
            self.talk()


if __name__ == "__main__":
    unittest.main()
