#!/usr/bin/env bash
# lint.sh BUILD_DIRECTORY: form and doubtful code. Says all that it finds, then fails if there was anything.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
build=$1
failed=0
check() { # NAME COMMAND...
    local name=$1
    shift
    printf '%s\n' "$name"
    "$@" || failed=1
}

# Files of the tree, committed or about to be; without git (an exported tree) all of them.
files() {
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do [[ ! -f $file ]] || echo "$file"; done
    else
        local pattern
        for pattern in "$@"; do find . -name "$pattern" -not -path './build*'; done
    fi
}

mapfile -t sources < <(files '*.cpp' '*.h')
mapfile -t units < <(files '*.cpp')
mapfile -t scripts < <(files run .ci/run '*.sh' | sort -u)
mapfile -t pages < <(files '*.[1-8]' | grep docs/man/)
mapfile -t python < <(files '*.py')

check "clang-format: ${#sources[@]} files" clang-format --dry-run -Werror "${sources[@]}"
check "shellcheck: ${#scripts[@]} files" shellcheck "${scripts[@]}"
[[ ${#pages[@]} -eq 0 ]] || check "mandoc: ${#pages[@]} pages" mandoc -Tlint -Wwarning "${pages[@]}"
check "python: ${#python[@]} files" python3 -c 'import ast, sys; [ast.parse(open(name).read(), name) for name in sys.argv[1:]]' "${python[@]}"

# Only what the build directory compiles: the fuzzers, for one, are not among it with g++.
# shellcheck disable=SC2317  # called by check
tidy() {
    local known
    known=$(python3 -c 'import json, os, sys
for entry in json.load(open(sys.argv[1])): print(os.path.relpath(os.path.join(entry["directory"], entry["file"])))' "$build/compile_commands.json") || return 1
    printf '%s\n' "${units[@]#./}" | grep -Fxf <(printf '%s\n' "$known") |
        xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option 2> >(grep -v 'warnings generated' >&2)
}
check "clang-tidy: ${#units[@]} files" tidy
exit "$failed"
