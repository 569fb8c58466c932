"""What `run bench policy` compares: vern without a policy, with policies of many rules, and with nftables doing the same job.

Both hosts have the same rules, 100,000 live flows where there are any, and the same traffic over the same tunnel.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable

import contenders
from contenders import Contender
from lab import LabError
from tunnel import VERN, Interface

FLOWS = 100_000
FLOW_PORTS = (20_000, 20_001)  # a rule of their own; half of the flows each

# So many UDP packets, each from a port of its own, or, with "reply", what answers them.
SEND_FLOWS = """
import socket, struct, sys, time
source, target, count, reply = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "reply"
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
addresses = socket.inet_aton(source) + socket.inet_aton(target)
ip = struct.pack("!BBHHHBBH", 0x45, 0, 32, 0, 0, 64, 17, 0) + addresses
for number in range(count):
    if number % 500 == 0: time.sleep(0.005)  # the interface's queue is no longer than that
    port, service = 10_000 + number // 2, 20_000 + number % 2
    ends = (service, port) if reply else (port, service)
    while True:
        try: raw.sendto(ip + struct.pack("!HHHH", *ends, 12, 0) + b"flow", (target, 0)); break
        except OSError: pass
"""


def rules(count: int) -> list[tuple[str, int]]:
    """Sources and ports that none of the traffic has."""
    dice = random.Random("rules")
    return [(f"10.{dice.randrange(128, 256)}.{dice.randrange(256)}.{dice.randrange(256)}", dice.randrange(1, 10_000)) for _ in range(count)]


def policy(count: int) -> str:
    text = ['version = 1\n[defaults]\nlog_denied = false\nflows_per_peer = 1000000\n']
    for number, (source, port) in enumerate(rules(count)):
        text.append(f'[[rule]]\nid = "r{number}"\nin = {{ from = ["{source}"] }}\nallow = ["tcp/{port}"]\n')
    services = '"icmp", "tcp/5201-5400", "udp/5201-5400", "udp/20000-20001"'
    text.append(f'[[rule]]\nid = "in"\nin = {{}}\nallow = [{services}]\n[[rule]]\nid = "out"\nout = {{}}\nallow = ["any"]\n')
    return "".join(text)


NFT_END = """    tcp dport 5201-5400 accept
    udp dport { 5201-5400, 20000-20001 } accept
    icmp type echo-request accept
  }
}
"""
NFT_HEAD = """table inet filter {
%s  chain input {
    type filter hook input priority 0; policy drop;
    iifname != "wg0" accept
    ct state established,related accept
    ct state invalid drop
"""


def nft_sets(count: int) -> str:
    elements = ", ".join(f"{source} . {port}" for source, port in sorted(set(rules(count))))
    return NFT_HEAD % f"  set allowed {{\n    type ipv4_addr . inet_service\n    elements = {{ {elements} }}\n  }}\n" + "    ip saddr . tcp dport @allowed accept\n" + NFT_END


def nft_linear(count: int) -> str:
    return NFT_HEAD % "" + "".join(f"    ip saddr {source} tcp dport {port} accept\n" for source, port in rules(count)) + NFT_END


def fill(ends: list[Interface]) -> None:
    """Flows that are answered, so that they live for two minutes."""
    near, far = ends
    near.host.run("python3", "-c", SEND_FLOWS, near.addresses[0], far.addresses[0], FLOWS, "begin")
    far.host.run("python3", "-c", SEND_FLOWS, far.addresses[0], near.addresses[0], FLOWS, "reply")


def with_policy(count: int) -> Callable[[list[Interface]], None]:
    def prepare(ends: list[Interface]) -> None:
        for end in ends:
            end.host.run(VERN, "policy", "apply", end.host.write("policy.toml", policy(count)))
        fill(ends)
        live = ends[1].status()["vern"]["policy"]["flows"]
        if live < 0.9 * FLOWS:
            raise LabError(f"{live} flows live, {FLOWS} were begun")
    return prepare


def with_nftables(text: str) -> Callable[[list[Interface]], None]:
    def prepare(ends: list[Interface]) -> None:
        for end in ends:
            end.host.run("nft", "-f", "-", input=text)
        fill(ends)
    return prepare


@functools.cache
def all_contenders() -> list[Contender]:
    plain = contenders.vern("no policy")
    made = [dataclasses.replace(plain, kind="peer")]
    for count in (10, 1_000, 10_000):
        made.append(dataclasses.replace(contenders.vern(f"vern {count:,} rules"), prepare=with_policy(count)))
    for name, text in (("nft sets 10,000", nft_sets(10_000)), ("nft linear 1,000", nft_linear(1_000))):
        made.append(dataclasses.replace(contenders.vern(name, kind="peer"), prepare=with_nftables(text)))
    return made
