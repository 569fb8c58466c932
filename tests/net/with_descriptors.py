"""Runs vernd as a manager does that made the devices itself: with an open TUN device in WG_TUN_FD, a listening socket in WG_UAPI_FD, or both.

    with_descriptors.py tun,uapi IFNAME PROGRAM ARGUMENT...
"""

import fcntl
import os
import socket
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x400454CA, 0x0001, 0x1000, 0x4000, 0x0100

what, name, *command = sys.argv[1:]
if "tun" in what:
    tun = os.open("/dev/net/tun", os.O_RDWR)
    flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if "vnet" in what else 0) | (IFF_MULTI_QUEUE if "multi" in what else 0)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    os.set_blocking(tun, "blocking" in what)
    os.set_inheritable(tun, True)
    os.environ["WG_TUN_FD"] = str(tun)
if "uapi" in what:
    path = f"/var/run/wireguard/{name}.sock"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(8)
    listener.set_inheritable(True)
    os.environ["WG_UAPI_FD"] = str(listener.fileno())
os.execvp(command[0], command)
