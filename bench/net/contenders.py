"""What is compared: vern with each engine, other people's WireGuard programs, the kernel's own, and two floors.

The floors: vern with a cipher that does nothing (a build of its own), and the bare wire without any tunnel.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "net"))
import peers  # noqa: E402
from tunnel import VERND, Implementation, Interface, why_no_io_uring  # noqa: E402

NULL_CIPHER = "null (NO ENCRYPTION, bench only)"
NULL_VERND = os.environ.get("VERND_NULL") or str(ROOT / "build-null" / "tools" / "vernd")
TAILSCALE_MODULE = "github.com/tailscale/wireguard-go"
TAILSCALE_VERSION = "v0.0.0-20260928213032-417aef361226"
TAILSCALE = peers.CACHE / "tailscale" / "wireguard-go"
GOTATUN = peers.CACHE / "bin" / "gotatun"
BUILD_S = 1800
# A WireGuard interface of the kernel's, which lasts as long as the process that stands for it.
KERNEL = 'ip link add "$0" type wireguard && exec sleep infinity'


@dataclasses.dataclass(frozen=True)
class Contender:
    name: str
    implementation: Implementation | None  # None: no tunnel
    why_not: str | None = None             # why it cannot be measured here
    version: str = ""
    kind: str = "peer"                     # "vern", "peer" or "floor"
    has_process: bool = True               # whose CPU time and memory can be told
    prepare: Callable[[list[Interface]], None] | None = None  # what is done to both ends of a tunnel before it is measured

    @property
    def is_bare(self) -> bool:
        return self.implementation is None and self.why_not is None


def build(names: set[str]) -> None:
    """Builds into the cache what is wanted and not there; what fails is told by all_contenders()."""
    if names & {"wireguard-go", "boringtun"}:
        peers.build()
    if "tailscale" in names:
        TAILSCALE.parent.mkdir(parents=True, exist_ok=True)
        peers.build_one(f"Go module {TAILSCALE_MODULE}", TAILSCALE, ["go", "install", f"{TAILSCALE_MODULE}@{TAILSCALE_VERSION}"],
                        {"GOBIN": str(TAILSCALE.parent), "GOFLAGS": "-trimpath"}, BUILD_S)
    if "gotatun" in names:
        target = peers.CACHE / "target"
        peers.build_one("crate gotatun-cli", GOTATUN, ["cargo", "install", "--quiet", "--locked", "--root", str(peers.CACHE), "gotatun-cli"],
                        {"CARGO_TARGET_DIR": str(target)}, BUILD_S)
        shutil.rmtree(target, ignore_errors=True)


def first_word_with_digits(argv: list[str]) -> str:
    text = subprocess.run(argv, capture_output=True, text=True).stdout
    return next((word for word in text.split() if any(letter.isdigit() for letter in word)), "")


def vern(name: str, *options: str, program: str = VERND, kind: str = "vern") -> Contender:
    implementation = Implementation(name, program, ["-f"], options, {"LOG_LEVEL": "silent"})
    if not os.path.exists(program):
        return Contender(name, None, f"{program} is not built", kind=kind)
    if reason := implementation.why_not():
        return Contender(name, None, reason, kind=kind)
    return Contender(name, implementation, None, first_word_with_digits([program, "--version"]), kind)


def null_cipher() -> Contender:
    # The engine that vernd takes by itself.
    engine = "epoll" if why_no_io_uring() else "io_uring"
    contender = vern("vern-null", "--engine", engine, "--aead", NULL_CIPHER, program=NULL_VERND, kind="floor")
    return dataclasses.replace(contender, version=f"{contender.version} {engine}, {NULL_CIPHER}") if contender.implementation else contender


def go_program(name: str, found: peers.Found, version: str) -> Contender:
    if found.path is None:
        return Contender(name, None, found.why_not)
    return Contender(name, Implementation(name, found.path, ["-f"], [], {"LOG_LEVEL": "silent"}), None, version)


def rust_program(name: str, found: peers.Found) -> Contender:
    if found.path is None:
        return Contender(name, None, found.why_not)
    implementation = Implementation(name, found.path, ["--foreground"], ["--disable-drop-privileges"], {"WG_LOG_LEVEL": "error"})
    return Contender(name, implementation, None, first_word_with_digits([found.path, "--version"]))


def kernel() -> Contender:
    probe = subprocess.run(["unshare", "--net", "ip", "link", "add", "probe0", "type", "wireguard"], capture_output=True, text=True)
    if probe.returncode != 0:
        return Contender("kernel", None, f"this kernel has no WireGuard: {probe.stderr.strip()}", has_process=False)
    return Contender("kernel", Implementation("kernel", "sh", [], ["-c", KERNEL]), None, os.uname().release, has_process=False)


@functools.cache
def all_contenders() -> list[Contender]:
    """In the order in which they take turns and are shown."""
    found = peers.found()
    return [
        vern("vern-io_uring", "--engine", "io_uring"),
        vern("vern-epoll", "--engine", "epoll"),
        go_program("tailscale", peers.cached(TAILSCALE, "go", f"Go module {TAILSCALE_MODULE}"), TAILSCALE_VERSION),
        go_program("wireguard-go", found["wireguard-go-current"],
                   peers.version("wireguard-go-current") if found["wireguard-go-current"].path else ""),
        rust_program("gotatun", peers.cached(GOTATUN, "cargo", "crate gotatun-cli")),
        rust_program("boringtun", found["boringtun"]),
        kernel(),
        null_cipher(),
        Contender("raw-veth", None, None, "no tunnel", "floor", has_process=False),
    ]


NAMES = ["vern-io_uring", "vern-epoll", "tailscale", "wireguard-go", "gotatun", "boringtun", "kernel", "vern-null", "raw-veth"]


def select(wanted: str | None, names: list[str] = NAMES) -> set[str]:
    """Names that `--only` means: whole names or what they begin with."""
    if not wanted:
        return set(names)
    chosen = {name for name in names for word in wanted.split(",") if name.startswith(word.strip())}
    if not chosen:
        raise ValueError(f"--only {wanted}: none of {', '.join(names)}")
    return chosen
