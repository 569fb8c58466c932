"""Other people's WireGuard programs, to talk to: Debian's wireguard-go, the current Go module, boringtun.

`peers.py build` builds those that the machine has a toolchain for into a cache of the user's (never into the tree) and is quick when they
are there; what cannot be built is no error. Tests take what is there and name what is not.
"""

import collections
import os
import pathlib
import shutil
import subprocess
import sys
import time

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path(os.environ.get("HOME") or "/root", ".cache")) / "vern-peers"
BUILD_S = 600  # for one of them
GO_MODULE = "golang.zx2c4.com/wireguard"
CRATE = "boringtun-cli"

Found = collections.namedtuple("Found", "path why_not")


def cached(path, tool, what):
    """A program that build_one() makes: where it is, or why it is not."""
    if path.exists():
        return Found(str(path), None)
    if not shutil.which(tool):
        return Found(None, f"{what}: this host has no {tool} to build it with")
    failed = CACHE / f"{path.name}.failed"
    return Found(None, f"{what}: could not be built here ({failed})" if failed.exists() else f"{what}: not built yet")


def found():
    """{name: Found}, quickly and without network."""
    debian = shutil.which("wireguard-go", path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    current, boringtun = CACHE / "bin" / "wireguard", CACHE / "bin" / CRATE

    return {
        "wireguard-go-debian": Found(debian, None if debian else "wireguard-go: the package is not installed"),
        "wireguard-go-current": cached(current, "go", f"Go module {GO_MODULE}"),
        "boringtun": cached(boringtun, "cargo", f"crate {CRATE}"),
    }


def version(name):
    """What exactly a found program is, for reports."""
    path = found()[name].path
    if name == "wireguard-go-debian":
        return subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "wireguard-go"], capture_output=True, text=True).stdout
    if name == "wireguard-go-current":
        lines = subprocess.run(["go", "version", "-m", path], capture_output=True, text=True).stdout.splitlines()
        return next((line.split()[2] for line in lines if line.split()[:1] == ["mod"]), "")
    return subprocess.run([path, "--version"], capture_output=True, text=True).stdout.split()[-1]


def build_one(name, target, argv, environment, limit_s=BUILD_S):
    failed = CACHE / f"{target.name}.failed"
    if target.exists() or (failed.exists() and time.time() - failed.stat().st_mtime < 86400):
        return
    if not shutil.which(argv[0]):
        return
    print(f"building {name} into {CACHE} (once)", flush=True)
    log = CACHE / f"{target.name}.log"
    try:
        with open(log, "w") as sink:
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, timeout=limit_s, cwd=CACHE,
                           env=dict(os.environ, **environment))
        failed.unlink(missing_ok=True)
    except (subprocess.SubprocessError, OSError) as error:
        failed.write_text(f"{error}\n{log.read_text()[-4000:]}")
        print(f"{name} could not be built ({error.__class__.__name__}); goes on without. See {log}", flush=True)


def build():
    (CACHE / "bin").mkdir(parents=True, exist_ok=True)
    build_one(f"Go module {GO_MODULE}", CACHE / "bin" / "wireguard", ["go", "install", f"{GO_MODULE}@latest"], {"GOBIN": str(CACHE / "bin"), "GOFLAGS": "-trimpath"})
    build_one(f"crate {CRATE}", CACHE / "bin" / CRATE, ["cargo", "install", "--quiet", "--locked", "--root", str(CACHE), CRATE],
              {"CARGO_TARGET_DIR": str(CACHE / "target")})
    shutil.rmtree(CACHE / "target", ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["build"]:
        build()
    for item, where in found().items():
        print(f"{item}: {where.path + ' ' + version(item) if where.path else 'none, ' + where.why_not}")
