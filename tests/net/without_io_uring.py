"""Runs a program under a seccomp filter that answers io_uring_setup with EPERM, as container runtimes do.

    without_io_uring.py PROGRAM ARGUMENT...
"""

import ctypes
import errno
import os
import struct
import sys

IO_URING_SETUP = 425  # on every architecture
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
BPF_LD_W_ABS, BPF_JEQ_K, BPF_RET_K = 0x20, 0x15, 0x06
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000

instructions = [
    struct.pack("HBBI", BPF_LD_W_ABS, 0, 0, 0),  # the system call's number
    struct.pack("HBBI", BPF_JEQ_K, 0, 1, IO_URING_SETUP),
    struct.pack("HBBI", BPF_RET_K, 0, 0, SECCOMP_RET_ERRNO | errno.EPERM),
    struct.pack("HBBI", BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW),
]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


code = b"".join(instructions)
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(instructions), code)), 0, 0) != 0:
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
