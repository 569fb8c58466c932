"""How vernd begins and ends: as a daemon, in the foreground, with descriptors given to it; and that nothing stays when it is gone."""

import json
import os
import signal
import subprocess
import sys
import unittest

from lab import HERE, Lab, wait_until
from tunnel import PORT, SUBJECT, SUBJECT_IS_VERN, SUBJECTS, VERN, Interface, at, genkey, pair, pubkey

SOCKET = "/run/wireguard/wg0.sock"

MANAGER = """
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    print(s.recv(4096).decode(), flush=True)
"""


class OneHost(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        self.internet = self.lab.internet()
        self.host = self.internet.host("a")

    def start(self, *options, implementation=SUBJECT, name="wg0", wrapper=(), env=None):
        process = self.host.start(*wrapper, *implementation.argv(name), *options, name="vernd", env=dict(implementation.environment, **(env or {})))
        wait_until(lambda: self.answers(name) or not process.alive(), "the interface")
        self.assertTrue(process.alive(), process.output())
        return process

    def answers(self, name="wg0"):
        return self.host.run("wg", "show", name, "listen-port", check=False).returncode == 0 and self.host.has_interface(name)

    def exists(self, path):
        return self.host.run("test", "-e", path, check=False).returncode == 0

    def assert_nothing_left(self, name="wg0"):
        wait_until(lambda: not self.host.processes(), f"all to end; there is {self.host.processes()}")
        wait_until(lambda: not self.host.has_interface(name), "the interface to go")
        self.assertFalse(self.exists(f"/run/wireguard/{name}.sock"))
        # The kernel lets go of a ring's sockets by a worker of its own, a moment after the process.
        wait_until(lambda: not self.host.listening(PORT, "udp"), "the port to be free")


class Lifecycle(OneHost):
    def test_goes_to_the_background_when_ready(self):
        result = self.host.run(*SUBJECT.argv("wg0", background=True))
        # It is ready when the first process has returned, not some time after. (wireguard-go's interface may come a moment later.)
        if SUBJECT_IS_VERN:
            self.assertTrue(self.answers(), result.stdout + result.stderr)
        self.assertEqual(len(self.host.processes()), 1)
        self.host.ip("link", "del", "wg0")
        self.assert_nothing_left()

    def test_the_environment_can_keep_it_in_the_foreground(self):
        process = self.host.start(*SUBJECT.argv("wg0", background=True), name="vernd", env={"WG_PROCESS_FOREGROUND": "1"})
        wait_until(self.answers, "the interface")
        self.assertTrue(process.alive())
        process.stop()
        self.assert_nothing_left()

    def test_a_background_daemon_ends_on_sigterm(self):
        self.host.run(*SUBJECT.argv("wg0", background=True))
        wait_until(self.answers, "the interface")
        pid = self.host.run("pidof", SUBJECT.program).stdout.strip()
        self.host.run("kill", pid)
        self.assert_nothing_left()

    def test_a_daemon_holds_no_terminal_and_no_directory(self):
        if not SUBJECT_IS_VERN:
            self.skipTest("vernd only")
        self.host.run(*SUBJECT.argv("wg0", background=True))
        pid = self.host.run("pidof", SUBJECT.program).stdout.strip()
        self.assertEqual(self.host.run("readlink", f"/proc/{pid}/cwd").stdout.strip(), "/")
        self.assertEqual(self.host.run("ps", "-o", "sid=", "-p", pid).stdout.strip(), pid)
        self.host.run("kill", pid)
        self.assert_nothing_left()

    def end_by(self, number):
        process = self.start()
        self.host.run("wg", "set", "wg0", "listen-port", PORT, "private-key", self.host.write("key", genkey()))
        self.host.ip("link", "set", "wg0", "up")
        self.assertEqual(process.stop(number), 0, process.output())
        self.assert_nothing_left()

    def test_sigterm(self):
        self.end_by(signal.SIGTERM)

    def test_sigint(self):
        self.end_by(signal.SIGINT)

    def able(self, subject):
        if reason := subject.why_not():
            self.skipTest(reason)

    def sigterm_with_sessions_and_traffic(self, subject):
        self.able(subject)
        a, b = pair(self.internet, subject, subject, names=("near", "far"))
        a.host.ping(b.addresses[0])
        flood = a.host.start("ping", "-f", "-q", b.addresses[0])
        before = a.transfer(b)[1]
        wait_until(lambda: a.transfer(b)[1] > before + 10_000, "traffic")
        self.assertEqual(a.stop(), 0, a.process.output())
        self.assertEqual(b.stop(), 0, b.process.output())
        flood.stop(signal.SIGKILL)
        for side in (a, b):
            wait_until(lambda side=side: not side.host.processes(), "all to end")
            self.assertFalse(side.host.has_interface("wg0"))

    def test_the_first_mtu_leaves_room_for_the_tunnel(self):
        # As the kernel's WireGuard and wireguard-go: what a v6 path of 1500 bytes can carry.
        self.start()
        self.assertIn("mtu 1420", self.host.ip("link", "show", "wg0"))

    def test_the_unit_files_rights_are_enough(self):
        # As packaging/vernd@.service: two capabilities, and a manager that waits for READY=1.
        if not SUBJECT_IS_VERN:
            self.skipTest("vernd only")
        manager = self.host.start(sys.executable, "-c", MANAGER, "/run/notify", name="manager")
        wait_until(lambda: self.exists("/run/notify"), "the manager's socket")
        rights = "-all,+net_admin,+net_bind_service"
        process = self.start(wrapper=("setpriv", f"--bounding-set={rights}", "--inh-caps=-all", "--no-new-privs"), env={"NOTIFY_SOCKET": "/run/notify"})
        wait_until(lambda: "READY=1" in manager.output(), "READY=1")
        self.host.run("wg", "set", "wg0", "listen-port", "53", "fwmark", "0x1", "private-key", self.host.write("key", genkey()))
        self.assertEqual(process.stop(), 0, process.output())
        wait_until(lambda: "STOPPING=1" in manager.output(), "STOPPING=1")
        manager.stop()
        self.assert_nothing_left()

    def test_sigkill_and_again(self):
        # Nobody can clean up after kill -9 but the next start: the socket's file is still there.
        process = self.start()
        process.stop(signal.SIGKILL)
        self.assertTrue(self.exists(SOCKET))
        process = self.start()
        process.stop()
        self.assert_nothing_left()

    def the_interface_is_deleted_from_outside(self, subject):
        self.able(subject)
        process = self.start(implementation=subject)
        self.host.ip("link", "set", "wg0", "up")
        self.host.ip("link", "del", "wg0")
        self.assertEqual(process.wait(), 0, process.output())
        self.assert_nothing_left()

    def test_the_socket_is_deleted_from_outside(self):
        process = self.start()
        self.host.run("rm", SOCKET)
        self.assertEqual(process.wait(), 0, process.output())
        self.assert_nothing_left()

    def move(self, *wrapper):
        # The interface moved to another namespace keeps its UDP sockets in the first: the usual way to put a container behind a tunnel.
        far = Interface(self.internet.host("far"), SUBJECT, addresses=["10.77.0.2/24"])
        inner, private = self.internet.host("inner"), genkey()
        process = self.start(wrapper=wrapper)
        self.host.run("wg", "set", "wg0", "private-key", self.host.write("key", private), "listen-port", PORT,
                      "peer", far.public, "allowed-ips", "10.77.0.2/32", "endpoint", at(far.host.v4))
        far.peer(pubkey(private), ["10.77.0.1/32"])
        subprocess.run(["nsenter", f"--net=/proc/{self.host.pid}/ns/net", "ip", "link", "set", "wg0", "netns", str(inner.pid)], check=True)
        inner.address("wg0", "10.77.0.1/24")
        inner.ip("link", "set", "wg0", "up")
        inner.ping("10.77.0.2")
        self.assertEqual(process.stop(), 0, process.output())
        self.assertFalse(inner.has_interface("wg0"))

    def test_the_interface_may_move_to_another_namespace(self):
        self.move()

    @unittest.skipUnless(SUBJECT_IS_VERN, "a promise of vernd")
    def test_a_namespace_that_the_interface_moved_to_may_end(self):
        # Nobody but what runs there keeps it, and with it the interface ends, and the daemon.
        process = self.start()
        with subprocess.Popen(["unshare", "--net", "sleep", "100"]) as inside:
            try:
                own = os.readlink("/proc/self/ns/net")
                wait_until(lambda: os.readlink(f"/proc/{inside.pid}/ns/net") != own, "a namespace")
                in_it = ["nsenter", f"--net=/proc/{inside.pid}/ns/net", "ip"]
                subprocess.run(["nsenter", f"--net=/proc/{self.host.pid}/ns/net", "ip", "link", "set", "wg0", "netns", str(inside.pid)], check=True)
                # It is seen there, too.
                subprocess.run([*in_it, "link", "set", "wg0", "mtu", "1300", "up"], check=True)
                wait_until(lambda: json.loads(self.host.run(VERN, "show", "wg0", "--json").stdout)["wg0"]["vern"]["mtu"] == 1300, "the MTU to be known")
            finally:
                inside.kill()
        self.assertEqual(process.wait(), 0, process.output())

    def test_the_interface_may_move_though_we_may_not_follow(self):
        # As packaging/vernd@.service: no CAP_SYS_ADMIN, so the daemon cannot look into the other namespace.
        self.move("setpriv", "--bounding-set=-all,+net_admin,+net_bind_service", "--inh-caps=-all", "--no-new-privs")


for _name, _subject in SUBJECTS.items():
    for _what in ("sigterm_with_sessions_and_traffic", "the_interface_is_deleted_from_outside"):
        setattr(Lifecycle, f"test_{_what}_{_name}", lambda self, what=_what, subject=_subject: getattr(self, what)(subject))


@unittest.skipUnless(SUBJECT_IS_VERN, "vernd only")
class Descriptors(OneHost):
    def wrapper(self, what):
        return (sys.executable, HERE / "with_descriptors.py", what, "wg0")

    def talk(self, process):
        other = Interface(self.internet.host("b"), SUBJECT, addresses=["10.77.0.2/24"])
        private = genkey()
        self.host.run("wg", "set", "wg0", "private-key", self.host.write("key", private), "listen-port", PORT,
                      "peer", other.public, "allowed-ips", "10.77.0.2/32", "endpoint", at(other.host.v4))
        other.peer(pubkey(private), ["10.77.0.1/32"])
        self.host.address("wg0", "10.77.0.1/24")
        self.host.ip("link", "set", "wg0", "up")
        self.host.ping("10.77.0.2")
        self.host.iperf3(other.host, "10.77.0.2", "--bytes", "8M")
        self.host.iperf3(other.host, "10.77.0.2", "--bytes", "8M", "--reverse")
        self.assertEqual(process.stop(), 0, process.output())

    def test_tun_with_header(self):
        self.talk(self.start(wrapper=self.wrapper("tun+vnet")))

    def test_tun_without_header(self):
        self.talk(self.start(wrapper=self.wrapper("tun")))

    def test_blocking_multi_queue_tun(self):
        self.talk(self.start(wrapper=self.wrapper("tun+vnet+multi+blocking")))

    def test_uapi(self):
        self.talk(self.start(wrapper=self.wrapper("uapi")))

    def test_both(self):
        self.talk(self.start(wrapper=self.wrapper("tun+vnet,uapi")))

    def test_a_descriptor_that_is_none(self):
        for env in ({"WG_TUN_FD": "77"}, {"WG_TUN_FD": "x"}, {"WG_UAPI_FD": "77"}):
            result = self.host.run(*SUBJECT.argv("wg0"), check=False, env=env)
            self.assertNotIn(result.returncode, (0, -6, -11))
            self.assertRegex(result.stderr, "77|WG_")
            self.assert_nothing_left()


@unittest.skipUnless(SUBJECT_IS_VERN, "vernd only")
class Refusals(OneHost):
    """What cannot be: a sentence that says what and what to do, a status that is not 0, and nothing left or harmed."""

    def refused(self, *command, words, env=None):
        result = self.host.run(*command, check=False, timeout=20, env=env)
        self.assertNotIn(result.returncode, (0, -6, -11), result.stderr)
        text = result.stderr.lower()
        for word in words:
            self.assertIn(word.lower(), text)
        self.assertLessEqual(len(result.stderr.strip().splitlines()), 3, result.stderr)
        return result

    def test_interface_is_there_and_is_another_programs(self):
        self.host.ip("tuntap", "add", "dev", "wg0", "mode", "tun")
        self.refused(*SUBJECT.argv("wg0"), words=["wg0"])
        self.assertTrue(self.host.has_interface("wg0"))
        self.host.ip("link", "del", "wg0")
        self.host.ip("link", "add", "wg0", "type", "veth", "peer", "name", "x")
        self.refused(*SUBJECT.argv("wg0"), words=["wg0"])
        self.assertTrue(self.host.has_interface("wg0"))

    def test_interface_is_there_and_is_a_vernds(self):
        for background in (False, True):
            other = Interface(self.internet.host(f"b{background:d}"), SUBJECT, addresses=["10.77.0.2/24"])
            first = self.start()
            private = genkey()
            self.host.run("wg", "set", "wg0", "private-key", self.host.write("key", private), "listen-port", PORT,
                          "peer", other.public, "allowed-ips", "10.77.0.2/32", "endpoint", at(other.host.v4))
            other.peer(pubkey(private), ["10.77.0.1/32"])
            self.host.address("wg0", "10.77.0.1/24")
            self.host.ip("link", "set", "wg0", "up")
            self.refused(*SUBJECT.argv("wg0", background=background), words=["wg0"])
            self.host.ping("10.77.0.2")  # the first has all its packets still
            self.assertTrue(self.answers())
            first.stop()
            self.assert_nothing_left()

    def test_no_capabilities(self):
        self.refused("setpriv", "--bounding-set=-all", "--inh-caps=-all", *SUBJECT.argv("wg0"), words=["wg0", "cap_net_admin"])
        self.assert_nothing_left()

    def test_another_user(self):
        program = self.host.install("vernd-for-all", "")
        self.host.run("cp", SUBJECT.program, program)
        self.host.run("chmod", "755", program)
        self.refused("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "-f", "wg0", words=["/dev/net/tun"])
        self.assert_nothing_left()

    def test_no_tun_device(self):
        self.host.run("mount", "-t", "tmpfs", "none", "/dev/net")
        self.refused(*SUBJECT.argv("wg0"), words=["/dev/net/tun"])
        self.refused(*SUBJECT.argv("wg0", background=True), words=["/dev/net/tun"])
        self.assert_nothing_left()

    def test_socket_directory_cannot_be_written(self):
        self.host.run("mkdir", "-p", "/run/wireguard")
        self.host.run("mount", "-t", "tmpfs", "-o", "ro", "none", "/run/wireguard")
        self.refused(*SUBJECT.argv("wg0"), words=["/wireguard"])
        wait_until(lambda: not self.host.has_interface("wg0"), "the interface to go")

    def test_names_that_are_none(self):
        for name in ("", "a" * 16, "a/b", ".", "..", "a b", "wg%d"):
            self.refused(SUBJECT.program, "-f", name, words=["name"])
        self.assertEqual(self.host.run("ls", "/sys/class/net").stdout.split(), ["eth0", "lo"])

    def test_options_that_are_none(self):
        for options, words in ((["--engine", "kqueue"], ["kqueue", "epoll"]), (["--offload", "gso,warp"], ["warp", "gso"]), (["--aead", "rot13"], ["rot13"]),
                               (["--workers", "-1"], ["workers"]), (["--helpers", "33"], ["helpers"]), (["--hand-over", "maybe"], ["maybe", "never"]), (["--nonsense"], ["nonsense"]), ([], ["usage"])):
            self.refused(SUBJECT.program, "-f", *options, *(["wg0"] if options else []), words=words)
        self.refused(SUBJECT.program, "-f", "wg0", "wg1", words=["--help"])
        self.assert_nothing_left()

    def test_help_and_version_make_no_interface(self):
        for option in ("--help", "--version"):
            result = self.host.run(SUBJECT.program, option)
            self.assertIn("vern", result.stdout)
        self.assertEqual(self.host.run("ls", "/sys/class/net").stdout.split(), ["eth0", "lo"])

    def test_io_uring_refused(self):
        wrapper = (sys.executable, HERE / "without_io_uring.py")
        self.refused(*wrapper, SUBJECT.program, "-f", "--engine", "io_uring", "wg0", words=["io_uring"])
        process = self.start(wrapper=wrapper)
        text = self.host.run(VERN, "show", "wg0").stdout
        self.assertRegex(text, r"engine:.*epoll")
        self.assertRegex(text, r"io_uring is forbidden")
        self.assertEqual(process.stop(), 0)
        self.assert_nothing_left()

    def test_few_descriptors(self):
        self.refused("prlimit", "--nofile=6:6", *SUBJECT.argv("wg0"), words=["open files"])
        self.assert_nothing_left()

    def test_little_locked_memory(self):
        # The default of many systems: a guarded page that cannot be locked must not end the daemon without a word.
        process = self.host.start("prlimit", "--memlock=0:0", "setpriv", "--bounding-set=-ipc_lock,-sys_resource", "--inh-caps=-all", *SUBJECT.argv("wg0"), name="vernd")
        wait_until(lambda: self.answers() or not process.alive(), "the interface, or the end")
        if process.alive():
            self.assertEqual(process.stop(), 0)
        else:
            self.assertRegex(process.output(), r"(?i)lock")
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main()
