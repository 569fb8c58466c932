"""The first process of a lab host: makes the host's namespaces, then only reaps.

A host has network, mount, process, IPC and name namespaces of its own, none of which has a name or a file outside: when this
process ends, for whatever reason, the kernel ends everything that runs in them and removes interfaces, mounts and rules. It ends
when its standard input is closed, so a lab that dies without a word (kill -9) leaves nothing either.

Called by lab.py as: host_init.py NAME DIRECTORY; writes its process id, as the outside sees it, to standard output when ready.
"""

import ctypes
import os
import pathlib
import select
import signal
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source, target, kind, flags=0, data=None):
    check(libc.mount(source.encode(), str(target).encode(), kind.encode() if kind else None, flags, data.encode() if data else None),
          f"mount {source} at {target}")


def furnish(name, directory):
    """Inside the new namespaces: the parts of the file system that a real host has for itself."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)  # shows the interfaces of this host
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.makedirs("/run/lock", exist_ok=True)
    os.makedirs("/var/run", exist_ok=True)
    if not os.path.samefile("/var/run", "/run"):
        mount("/run", "/var/run", None, MS_BIND)
    configuration = pathlib.Path(directory, "etc-wireguard")
    configuration.mkdir(mode=0o700)
    if os.path.isdir("/etc/wireguard"):
        mount(str(configuration), "/etc/wireguard", None, MS_BIND)
    check(libc.sethostname(name.encode(), len(name)), "sethostname")


def reap_until_closed(descriptor):
    # pid 1 of the host: orphans (daemons) become our children. SIGCHLD wakes the select.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        ready, _, _ = select.select([reader, descriptor], [], [])
        if descriptor in ready and not os.read(descriptor, 64):
            return
        if reader in ready:
            os.read(reader, 4096)


def main():
    name, directory = sys.argv[1:3]
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a ^C is the lab's to handle
    # Processes see SIG_IGN inherited through exec only from here, and nothing is exec'ed from here: lab.py enters with nsenter.
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET), "unshare")
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(ready_read)
        furnish(name, directory)
        os.write(ready_write, b"y")
        os.close(ready_write)
        os.close(1)
        reap_until_closed(0)
        os._exit(0)
    os.close(ready_write)
    if os.read(ready_read, 1) != b"y":
        sys.exit(1)  # the child has said why on standard error
    print(child, flush=True)
    os.close(0)
    os.waitpid(child, 0)


main()
