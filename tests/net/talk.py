"""Small programs that tests run on hosts: servers that answer, and clients that say whether they were."""

# Answers on all the ports that it is given.
LISTEN = """
import select, socket, sys
listeners = []
for port in sys.argv[1:]:
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        s = socket.socket(family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind((any_address, int(port))); s.listen(64); listeners.append(s)
open_ones = []
while True:
    ready, _, _ = select.select(listeners + open_ones, [], [])
    for s in ready:
        if s in listeners: open_ones.append(s.accept()[0])
        else:
            try: data = s.recv(65536)
            except OSError: data = b""
            if data: s.send(data)
            else: open_ones.remove(s); s.close()
"""

# One word for each ADDRESS PORT: open, refused or silent.
PROBE = """
import socket, sys
words = []
for address, port in zip(sys.argv[1::2], sys.argv[2::2]):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.settimeout(0.7)
    try: s.connect((address, int(port))); words.append("open")
    except (socket.timeout, BlockingIOError): words.append("silent")
    except OSError as error: words.append("refused")
    s.close()
print(*words)
"""

# A connection that says a line and waits for it to come back, again for each line it is given; prints "yes" or "no".
TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.settimeout(2)
for line in sys.stdin:
    try: s.send(b"hello"); print("yes" if s.recv(100) else "no", flush=True)
    except OSError: print("no", flush=True)
"""

# A connection that is spoken on 50 times a second until nothing comes back any more; prints when the last answer came.
UNTIL_CUT = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
s.settimeout(2)
last = 0
print("connected", flush=True)
while True:
    try:
        s.send(b"hello")
        if not s.recv(100): break
    except OSError: break
    last = time.time()
    time.sleep(0.02)
print(last, flush=True)
"""
