#!/usr/bin/env python3
"""Says which files include a layer above their own. The first layer here is the lowest."""

import pathlib
import re
import sys

LAYERS = ["crypto", "dataplane/base", "dataplane/policy", "dataplane/core", "dataplane/io", "dataplane/runtime", "control"]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def layer_of(path):
    return next((rank for rank, layer in enumerate(LAYERS) if path.startswith(layer + "/")), None)


def check(source):
    """Of each include that goes upwards, or to no layer at all, a line. The number of files is the second answer."""
    wrong, files = [], 0
    for path in sorted([*source.rglob("*.h"), *source.rglob("*.cpp")]):
        name = path.relative_to(source).as_posix()
        rank = layer_of(name)
        if rank is None:
            wrong.append(f"{name}: in no layer")
            continue
        files += 1
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not (found := INCLUDE.match(line)):
                continue
            # From src, or beside it.
            included = found[1] if (source / found[1]).exists() else (path.parent / found[1]).relative_to(source).as_posix()
            above = layer_of(included)
            if above is None or above > rank:
                wrong.append(f"{name}:{number}: {LAYERS[rank]} includes {found[1]}")
    return wrong, files


if __name__ == "__main__":
    mistakes, count = check(pathlib.Path(sys.argv[1]))
    for mistake in mistakes:
        print(mistake)
    print(f"{count} files, {len(mistakes)} mistakes")
    sys.exit(1 if mistakes or count == 0 else 0)
