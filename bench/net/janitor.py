"""Puts the machine back as it was, however the benchmark ends: also when it is killed without a word.

A process of its own waits for the benchmark's end (its standard input is closed then), ignores signals meanwhile, and
restores the sysctls that it was told of and removes directories of labs that were left. Until it has, no other begins.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator


def sysctl_path(key: str) -> pathlib.Path:
    return pathlib.Path("/proc/sys", key.replace(".", "/"))


def lock() -> socket.socket:
    """Held by whoever has it open. A name in the kernel only: no file is left. Two at a time would measure each other, and restore
    what the other has set."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for attempt in range(36_000):
        try:
            held.bind("\0vern-bench-net")
            return held
        except OSError:
            if attempt == 0:
                print("waiting for another benchmark on this machine to end", file=sys.stderr, flush=True)
            time.sleep(0.1)
    raise TimeoutError("another benchmark on this machine does not end")


@contextlib.contextmanager
def janitor(sysctls: dict[str, int]) -> Iterator[None]:
    """Raises each sysctl to at least its value for as long as the context lasts."""
    held = lock()
    before = {key: int(sysctl_path(key).read_text()) for key in sysctls}
    labs = os.path.join(tempfile.gettempdir(), f"vern-lab-{os.getpid()}-")
    argv = [sys.executable, __file__, labs, *(f"{key}={value}" for key, value in before.items())]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, pass_fds=[held.fileno()])
    try:
        process.stdout.readline()  # it deaf to signals from here on
        for key, value in sysctls.items():
            sysctl_path(key).write_text(str(max(value, before[key])))
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        held.close()


def processes_in(prefix: str) -> list[str]:
    """Command lines of programs that were told of a directory that begins so, or work in one."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            command = pathlib.Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if prefix in command or os.readlink(f"/proc/{entry}/cwd").startswith(prefix):
                found.append(command)
    return found


def remove(prefix: str) -> None:
    """Hosts end by themselves when the benchmark does; what they leave is files."""
    for _ in range(50):
        others = [command for command in processes_in(prefix) if __file__ not in command]
        left = glob.glob(f"{prefix}*")
        for directory in left:
            shutil.rmtree(directory, ignore_errors=True)
        if not left and not others:
            return
        time.sleep(0.1)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    labs, *values = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.read()
    for pair in values:
        key, value = pair.split("=")
        sysctl_path(key).write_text(value)
    remove(labs)


if __name__ == "__main__":
    main()
