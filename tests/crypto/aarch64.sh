#!/bin/sh
# The aarch64 kernel on a host that is something else: built by a cross compiler, run by qemu-user, compared with
# what libsodium computed here. Arguments: the host's digest program, the source folder. 77: skipped.
set -eu
host_digest=$1
source=$2
compiler=${AARCH64_CXX:-aarch64-linux-gnu-g++}
command -v "$compiler" >/dev/null || { echo "skipped: no $compiler (Debian: g++-aarch64-linux-gnu)"; exit 77; }
emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64) ||
    { echo "skipped: no qemu-aarch64 (Debian: qemu-user-static)"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$host_digest" >"$folder/expected"
for kernel in neon portable; do
    case $kernel in neon) name=kNeon ;; portable) name=kPortable ;; esac
    "$compiler" -std=c++20 -O2 -static -Wall -Wextra -Wconversion -Wshadow -Werror -I"$source/src" \
        -DVERN_IMPLEMENTATION="$name" "$source/tests/crypto/aead_digest.cpp" "$source/src/crypto/aead_$kernel.cpp" \
        -o "$folder/digest"
    "$emulator" "$folder/digest" >"$folder/answer"
    cmp "$folder/expected" "$folder/answer"
    echo "aarch64 $kernel: $(wc -l <"$folder/answer") digests agree"
done
