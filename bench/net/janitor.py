"""Puts the machine back as it was, however the benchmark ends: also when it is killed without a word.

A process of its own waits for the benchmark's end (its standard input is closed then), ignores signals meanwhile, and
restores the sysctls that it was told of and removes directories of labs that were left.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator


def sysctl_path(key: str) -> pathlib.Path:
    return pathlib.Path("/proc/sys", key.replace(".", "/"))


@contextlib.contextmanager
def janitor(sysctls: dict[str, int]) -> Iterator[None]:
    """Raises each sysctl to at least its value for as long as the context lasts."""
    before = {key: int(sysctl_path(key).read_text()) for key in sysctls}
    labs = os.path.join(tempfile.gettempdir(), f"vern-lab-{os.getpid()}-*")
    argv = [sys.executable, __file__, labs, *(f"{key}={value}" for key, value in before.items())]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        process.stdout.readline()  # it deaf to signals from here on
        for key, value in sysctls.items():
            sysctl_path(key).write_text(str(max(value, before[key])))
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def remove(directories: str) -> None:
    for attempt in range(50):  # the last programs in them may be ending just now
        left = glob.glob(directories)
        for directory in left:
            shutil.rmtree(directory, ignore_errors=True)
        if not left:
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
