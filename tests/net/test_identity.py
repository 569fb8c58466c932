"""Who a peer is, by certificates of real CAs: rules that follow it, its end, and what sshd and nginx make of the same CAs."""

import calendar
import json
import random
import shutil
import signal
import time
import unittest

from lab import Lab, wait_until
from talk import LISTEN, PROBE, UNTIL_CUT
from tunnel import SUBJECT, SUBJECT_IS_VERN, VERN, Interface, at, host_routes, vernd

POLICY = """version = 1
name = "identities"
{top}
[peers]
laptop = "{laptop}"
[[rule]]
id = "proofs"
in = {{}}
allow = ["tcp/51821"]
[[rule]]
id = "ssh-for-dba"
in = {{ from = ["ssh:principal=dba;ca=corp", "x509:ou=DBA"] }}
allow = ["tcp/22"]
log = true
[[rule]]
id = "web"
in = {{}}
allow = ["tcp/80", "tcp/443"]
"""

SSHD = """Port 22
ListenAddress 10.100.0.1
HostKey {directory}/host_key
PidFile /run/sshd.pid
TrustedUserCAKeys {directory}/ca.pub
AuthorizedPrincipalsFile {directory}/principals
AuthorizedKeysFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
"""

NGINX = """daemon off;
user root;
pid /run/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  server {{
    listen 10.100.0.1:80;
    location / {{
      auth_request /whois;
      auth_request_set $who $upstream_http_x_vern_identity;
      add_header X-Who $who always;
      root {directory}/www;
    }}
    location /open {{ return 200 "open\\n"; }}
    location = /whois {{
      internal;
      proxy_pass http://unix:/run/vern/wg0.sock:/v1/whois?addr=$remote_addr&require=x509:ou=DBA;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Origin "";
      proxy_set_header Host vernd;
    }}
  }}
  server {{
    listen 10.100.0.1:443 ssl;
    ssl_certificate {directory}/server.pem;
    ssl_certificate_key {directory}/server.key;
    ssl_client_certificate {directory}/ca.pem;
    ssl_verify_client on;
    location / {{ return 200 "mtls $ssl_client_s_dn\\n"; }}
  }}
}}
"""

# Begins TLS until a connection is closed before the server has said anything.
HANDSHAKES = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for _ in range(1000):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as connection:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        channel = context.wrap_bio(incoming, outgoing)
        try: channel.do_handshake()
        except ssl.SSLWantReadError: pass
        try:
            connection.sendall(outgoing.read())
            if not connection.recv(1): sys.exit(0)
        except ConnectionError: sys.exit(0)
sys.exit("never turned away")
"""

EXTENSIONS = {
    "ca": "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    "client": "basicConstraints=CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    "server": "basicConstraints=CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
              "subjectAltName=IP:10.100.0.1\n",
}


class IdentityCase(unittest.TestCase):
    """A database host whose daemon asks who a laptop is, and what both take to settle it."""

    def setUp(self):
        self.lab = self.enterContext(Lab())
        internet = self.lab.internet()
        self.db, self.laptop = [self.interface(internet.host(name), number) for number, name in enumerate(("db", "laptop"), 1)]
        self.db.peer(self.laptop, host_routes(self.laptop), endpoint=at(self.laptop.host.v4))
        self.laptop.peer(self.db, host_routes(self.db), endpoint=at(self.db.host.v4))

    def interface(self, host, number):
        return Interface(host, SUBJECT, addresses=[f"10.100.0.{number}/24", f"fd00:100::{number}/64"])

    def vern(self, *argv, on=None, check=True, **options):
        return (on or self.db).host.run(VERN, *argv, check=check, **options)

    def file(self, name, on=None):
        return (on or self.db).host.directory / name

    # CAs and certificates; the CA is where the daemon is, the user's key never leaves the laptop.

    def ssh_ca(self, *trust_options):
        self.db.host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file("ca"))
        self.trust_ssh(*trust_options)

    def trust_ssh(self, *options):
        return self.vern("trust", "ssh", "add", self.file("ca.pub"), "--name", "corp", *options)

    def ssh_certificate(self, validity, principals="dba", *options):
        key = self.file("id", self.laptop)
        if not key.exists():
            self.laptop.host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        shutil.copy(f"{key}.pub", self.file("user.pub"))
        self.db.host.run("ssh-keygen", "-q", "-s", self.file("ca"), "-I", "ada@example.org", "-n", principals, "-V", validity, *options, self.file("user.pub"))
        shutil.copy(self.file("user-cert.pub"), f"{key}-cert.pub")
        return f"{key}-cert.pub"

    def x509(self, name, subject, kind, issuer="ca", on=None, days="1"):
        """NAME.key and NAME.pem on the daemon's host, and on another if one is given."""
        make = self.db.host.run
        make("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.file(f"{name}.key"))
        make("openssl", "req", "-new", "-key", self.file(f"{name}.key"), "-subj", subject, "-out", self.file(f"{name}.csr"))
        extensions = self.db.host.write(f"{name}.ext", EXTENSIONS[kind])
        signer = ["-signkey", self.file(f"{name}.key")] if name == issuer else ["-CA", self.file(f"{issuer}.pem"), "-CAkey", self.file(f"{issuer}.key"), "-CAcreateserial"]
        make("openssl", "x509", "-req", "-in", self.file(f"{name}.csr"), *signer, "-days", days, "-extfile", extensions, "-out", self.file(f"{name}.pem"))
        self.file(f"{name}.key").chmod(0o600)
        if on:
            for end in ("key", "pem"):
                shutil.copy(self.file(f"{name}.{end}"), self.file(f"{name}.{end}", on))

    def govern(self, top=""):
        self.vern("policy", "apply", self.db.host.write("policy.toml", POLICY.format(laptop=self.laptop.public, top=top)))

    def present(self, *options, check=True):
        return self.vern("present", "--to", "10.100.0.1", *options, on=self.laptop, check=check)

    def listen(self, *ports):
        self.db.host.start("python3", "-c", LISTEN, *ports, name="listen")
        for port in ports:
            wait_until(lambda port=port: self.db.host.listening(port), f"port {port}")

    def probe(self, *ports):
        return self.laptop.host.run("python3", "-c", PROBE, *[word for port in ports for word in ("10.100.0.1", port)]).stdout.split()

    def until_cut(self):
        process = self.laptop.host.start("python3", "-c", UNTIL_CUT, "10.100.0.1", "22", name="until-cut")
        wait_until(lambda: "connected" in process.output(), "the connection")
        return process

    def cut_at(self, process):
        self.assertEqual(process.wait(), 0, process.output())
        return float(process.output().split()[-1])

    def identities(self):
        return json.loads(self.vern("identity", "list", "--json").stdout)["identities"]

    def trail(self, *kinds):
        return [json.loads(line) for line in self.vern("audit", "export", "--kind", ",".join(kinds)).stdout.splitlines()]


@unittest.skipUnless(SUBJECT_IS_VERN, "vernd only")
class Identity(IdentityCase):
    # What is allowed to whom, and how it ends

    def test_access_ends_when_the_certificate_ends(self):
        self.listen(22)
        self.govern()
        self.ssh_ca("--group", "staff")
        self.assertEqual(self.probe(22), ["silent"])
        certificate = self.ssh_certificate("+6s")
        said = self.present("--ssh", certificate).stdout
        self.assertIn("ssh:ada@example.org@corp (dba)", said)
        ends = self.identities()[0]["ends"]
        talk = self.until_cut()
        who = self.vern("whois", "10.100.0.2:43210").stdout
        self.assertIn("ada@example.org", who)
        self.assertIn("laptop", who)
        self.assertEqual(self.vern("whois", "10.100.0.2", "--require", "ssh:group=staff").returncode, 0)
        self.assertEqual(self.vern("whois", "10.100.0.2", "--require", "ssh:principal=web", check=False).returncode, 1)
        end = calendar.timegm(time.strptime(ends, "%Y-%m-%dT%H:%M:%SZ"))
        last = self.cut_at(talk)
        self.assertLess(last, end + 1)
        self.assertGreater(last, end - 1)
        self.assertEqual(self.probe(22), ["silent"])
        self.assertEqual(self.identities(), [])
        self.assertIn("expired", self.present("--ssh", certificate, check=False).stderr)
        story = self.trail("trust-changed", "identity-bound", "flow-allowed", "identity-ended", "identity-refused")
        self.assertEqual([record["kind"] for record in story][:4], ["trust-changed", "identity-bound", "flow-allowed", "identity-ended"])
        self.assertEqual(story[1]["identity"], "ssh:ada@example.org@corp (dba)")
        self.assertEqual(story[2]["identity"], story[1]["identity"])
        self.assertEqual(story[3]["reason"], "expired")
        self.assertEqual(story[-1]["reason"], "expired")
        self.vern("audit", "verify")

    def test_renewal_keeps_an_identity_alive(self):
        self.govern()
        self.ssh_ca()
        certificate = self.ssh_certificate("+1h")
        keeper = self.laptop.host.start(VERN, "present", "--to", "10.100.0.1", "--ssh", certificate, "--renew", "--for", "3s", name="present")
        wait_until(lambda: self.identities(), "an identity")
        first = self.identities()[0]
        wait_until(lambda: self.identities()[0]["ends"] > first["ends"], "a renewal", timeout=10)
        self.assertEqual(self.identities()[0]["id"], first["id"])
        keeper.stop()
        wait_until(lambda: not self.identities(), "the end", timeout=10)

    def test_a_loop_of_tls_handshakes_is_turned_away(self):
        self.govern()
        self.ssh_ca()
        self.laptop.host.run("python3", "-c", HANDSHAKES, "10.100.0.1", "51821")
        metrics = self.db.host.run("curl", "-s", "--unix-socket", "/run/vern/wg0.sock", "http://vern/metrics").stdout
        self.assertRegex(metrics, r'vern_api_handshakes_limited_total\{interface="wg0",listener="peers"\} [1-9]')
        self.present("--ssh", self.ssh_certificate("+1h"))  # what is no handshake is not counted as one
        self.assertEqual(len(self.identities()), 1)

    def test_a_policy_says_how_long_a_proof_counts(self):
        self.listen(22)
        self.govern('identity_max = "3s"')
        self.ssh_ca()
        before = time.time()
        self.present("--ssh", self.ssh_certificate("+1h"))
        last = self.cut_at(self.until_cut())
        self.assertGreater(last, before + 1.5)
        self.assertLess(last, before + 5)
        self.assertEqual(self.identities(), [])
        self.assertEqual(self.trail("identity-ended")[-1]["reason"], "expired")

    def test_revocation_cuts_at_once(self):
        self.listen(22)
        self.govern()
        self.ssh_ca()
        self.present("--ssh", self.ssh_certificate("+1h", "dba", "-z", "4711"))
        talk = self.until_cut()
        specification = self.db.host.write("revoked", "serial: 4711\n")
        self.db.host.run("ssh-keygen", "-q", "-k", "-f", self.file("krl"), "-s", self.file("ca.pub"), "-z", "1", specification)
        before = time.time()
        self.trust_ssh("--krl", self.file("krl"))
        self.assertLess(self.cut_at(talk), before + 1)
        self.assertIn("revoked", self.present("--ssh", f"{self.file('id', self.laptop)}-cert.pub", check=False).stderr)
        self.assertEqual(self.trail("identity-ended")[-1]["reason"], "revoked")

    def test_killed_at_any_moment_trust_is_the_old_or_the_new(self):
        seed = 7
        print(f"# seed {seed}", flush=True)
        chance = random.Random(seed)
        self.ssh_ca()
        specification = self.db.host.write("revoked", "".join(f"serial: {2 * serial}\n" for serial in range(1, 20_000)))
        version = 0
        for _ in range(8):
            self.db.host.run("ssh-keygen", "-q", "-k", "-f", self.file("krl"), "-s", self.file("ca.pub"), "-z", str(version + 1), specification)
            adding = self.db.host.start(VERN, "trust", "ssh", "add", self.file("ca.pub"), "--name", "corp", "--krl", self.file("krl"), name="add")
            self.db.host.run("sleep", f"{chance.random() * 0.1:.3f}")
            self.db.restart(signal.SIGKILL)
            adding.wait()
            found = json.loads(self.vern("trust", "list", "--json").stdout)["authorities"]
            self.assertEqual([one["name"] for one in found], ["corp"])
            self.assertTrue(found[0]["usable"])
            now = int(found[0].get("revocations", "KRL version 0").split()[-1])
            self.assertIn(now, (version, version + 1))
            if adding.wait() == 0:
                self.assertEqual(now, version + 1)  # what was answered is kept
            version = now
        self.assertLessEqual({path.name for path in (self.db.host.directory / "state" / "wg0").iterdir()}, {"audit", "identities.json", "trust.json"})

    def test_lies_are_refused_each_by_its_name(self):
        self.govern()
        self.ssh_ca()
        certificate = self.ssh_certificate("+1h", "web")
        for options, words in {("--wg", self.db.public): "takes us for another peer",
                               ("--audience", self.laptop.public): "another key than the tunnel's other end"}.items():
            result = self.present("--ssh", certificate, *options, check=False)
            self.assertEqual(result.returncode, 1)
            self.assertIn(words, result.stderr)
        self.db.host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file("other-ca"))
        shutil.move(self.file("other-ca"), self.file("ca"))
        self.assertIn("unknown-ca", self.present("--ssh", self.ssh_certificate("+1h"), check=False).stderr)
        # From outside of the tunnel there is nobody, and in it nothing but this.
        self.assertEqual(self.laptop.host.run("python3", "-c", PROBE, self.db.host.v4, 51821).stdout.split(), ["refused"])
        for path in ("/v1/interface", "/v1/policy", "/v1/identities", "/metrics"):
            code = self.laptop.host.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://10.100.0.1:51821{path}").stdout
            self.assertEqual(code, "404", path)
        self.assertEqual(self.identities(), [])

    def test_mtls_through_the_tunnel(self):
        self.listen(22)
        self.govern()
        self.x509("ca", "/CN=Example CA", "ca")
        self.x509("ada", "/OU=DBA/CN=ada", "client", on=self.laptop)
        self.vern("trust", "x509", "add", self.file("ca.pem"), "--name", "pki")
        said = self.present("--x509", self.file("ada.pem", self.laptop), "--key", self.file("ada.key", self.laptop)).stdout
        self.assertIn("x509:ada@pki (DBA)", said)
        self.assertEqual(self.probe(22), ["open"])
        self.present("--x509", self.file("ada.pem", self.laptop), "--key", self.file("ada.key", self.laptop), "--for", "90s")
        ends = calendar.timegm(time.strptime(self.identities()[0]["ends"], "%Y-%m-%dT%H:%M:%SZ"))
        self.assertLessEqual(ends, time.time() + 91)
        self.x509("server", "/CN=db", "server", on=self.laptop)  # not a client's
        self.assertIn("purpose", self.present("--x509", self.file("server.pem", self.laptop), "--key", self.file("server.key", self.laptop), check=False).stderr)
        self.vern("trust", "remove", "x509", "pki")
        self.assertEqual(self.identities(), [])
        self.assertEqual(self.probe(22, 51821), ["silent", "refused"])

    def test_without_an_identity_no_session(self):
        self.ssh_ca()
        self.laptop.host.ping("10.100.0.1")
        certificate = self.ssh_certificate("+1h")
        statement = self.vern("statement", "--wg", self.laptop.public, "--audience", self.db.public).stdout
        signature = self.laptop.host.run("ssh-keygen", "-Y", "sign", "-n", "wg-binding@vern", "-f", certificate, input=statement).stdout
        handed_in = ["--statement", self.db.host.write("statement", statement), "--signature", self.db.host.write("signature", signature)]
        rule = '\n[[rule]]\nid = "ping"\nin = {}\nallow = ["icmp"]\n'
        text = POLICY.format(laptop=self.laptop.public, top="require_identity = true") + rule
        self.vern("policy", "apply", self.db.host.write("policy.toml", text))
        def pings():
            return self.laptop.host.run("ping", "-c", "1", "-W", "1", "10.100.0.1", check=False).returncode == 0
        self.assertFalse(pings())
        self.vern("identity", "add", *handed_in)
        wait_until(pings, "the tunnel", timeout=15)
        # It outlives a restart; and what is removed ends.
        self.db.restart()
        for state in ("down", "up"):  # it would take the old session for alive for some seconds
            self.laptop.host.ip("link", "set", "wg0", state)
        wait_until(pings, "the tunnel after a restart", timeout=15)
        self.vern("identity", "remove", str(self.identities()[0]["id"]))
        self.assertFalse(pings())
        counters = json.loads(self.vern("show", "wg0", "--json").stdout)
        self.assertIn("handshake_barred", json.dumps(counters))

    def test_a_renamed_interface_asks_who_its_peers_are(self):
        self.db.host.ip("link", "set", "wg0", "down")
        self.db.host.ip("link", "set", "wg0", "name", "wan")
        self.db.host.address("wan", "fd00:100::1/64")  # gone with "down"
        self.db.host.ip("link", "set", "wan", "up")
        self.ssh_ca()
        self.govern()
        self.present("--ssh", self.ssh_certificate("+1h"))
        self.assertEqual(len(self.identities()), 1)

    def test_an_interface_elsewhere_asks_nobody_and_asks_again_when_it_is_back(self):
        host = self.db.host
        self.ssh_ca()
        self.govern()
        listening = lambda: ":51821" in host.run("ss", "-Htln").stdout
        wait_until(listening, "the listener")
        host.ip("netns", "add", "elsewhere")
        host.ip("link", "add", "other", "type", "veth", "peer", "name", "end")  # called as ours is there
        host.ip("link", "set", "wg0", "netns", "elsewhere", "name", "other")
        wait_until(lambda: not listening(), "the listener to close")
        self.vern("trust", "remove", "ssh", "corp")
        self.trust_ssh()
        self.assertFalse(listening())
        wait_until(lambda: "peers cannot prove who they are: the interface is in another network namespace" in self.db.process.output(), "the reason")
        self.assertFalse(listening())
        host.ip("-n", "elsewhere", "link", "set", "other", "netns", "1", "name", "wg0")
        host.address("wg0", "10.100.0.1/24", "fd00:100::1/64")
        host.ip("link", "set", "wg0", "up")
        wait_until(listening, "the listener to open again", timeout=20)
        self.present("--ssh", self.ssh_certificate("+1h"))

    def test_operators_by_certificate(self):
        self.x509("ca", "/CN=Operators CA", "ca")
        self.x509("api", "/CN=db", "server")
        for name, unit in (("ada", "Ops"), ("mon", "Monitoring"), ("eve", "Sales")):
            self.x509(name, f"/OU={unit}/CN={name}", "client")
        other = self.db.host
        listening = vernd("vernd-api", "--api-listen", "127.0.0.1:8443", "--api-ca", self.file("ca.pem"), "--api-tls-cert", self.file("api.pem"),
                          "--api-tls-key", self.file("api.key"), "--api-writer", "x509:ou=Ops", "--api-reader", "x509:ou=Monitoring")
        Interface(other, listening, name="wg1", port=51900)

        def curl(who, *argv):
            mine = ["--cert", self.file(f"{who}.pem"), "--key", self.file(f"{who}.key")] if who else []
            return other.run("curl", "-s", "--cacert", self.file("ca.pem"), "--connect-to", "10.100.0.1:8443:127.0.0.1:8443", *mine, "-o", "/dev/null",
                             "-w", "%{http_code}", *argv, check=False).stdout
        url = "https://10.100.0.1:8443/v1/"
        self.assertEqual(curl("ada", url + "interface"), "200")
        self.assertEqual(curl("mon", url + "interface"), "200")
        for who in ("eve", "api", None):
            self.assertEqual(curl(who, url + "interface"), "000", who)
        policy = other.write("policy.toml", "version = 1\n")
        self.assertEqual(curl("mon", "-T", policy, url + "policy"), "403")
        self.assertEqual(curl("ada", "-T", policy, url + "policy"), "200")
        loaded = json.loads(other.run(VERN, "audit", "export", "--interface", "wg1", "--kind", "policy-loaded").stdout.splitlines()[-1])
        self.assertEqual(loaded["by"], "x509:ada@api (Ops)")

    # The same CAs, for programs that know them already

    @unittest.skipUnless(shutil.which("sshd") or shutil.which("/usr/sbin/sshd"), "no sshd here")
    def test_sshd_and_the_tunnel_believe_the_same_ca(self):
        self.govern()
        principals = self.db.host.write("principals", "# who may be root here\ndba\n", mode=0o644)
        self.ssh_ca("--principals", principals)
        self.db.host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file("host_key"))
        self.db.host.run("mkdir", "-p", "/run/sshd")
        configuration = self.db.host.write("sshd_config", SSHD.format(directory=self.db.host.directory))
        self.db.host.start("/usr/sbin/sshd", "-D", "-e", "-f", configuration, name="sshd")
        wait_until(lambda: self.db.host.listening(22), "sshd")
        certificate = self.ssh_certificate("+1h", "dba,web")

        def ssh():
            return self.laptop.host.run("ssh", "-F", "none", "-i", self.file("id", self.laptop), "-o", f"CertificateFile={certificate}", "-o", "BatchMode=yes",
                                        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=2",
                                        "root@10.100.0.1", "echo", "hello", check=False)
        self.assertNotEqual(ssh().returncode, 0)
        self.present("--ssh", certificate)
        self.assertEqual(self.identities()[0]["principals"], ["dba"])
        result = ssh()
        self.assertEqual((result.returncode, result.stdout), (0, "hello\n"), result.stderr)

    @unittest.skipUnless(shutil.which("nginx"), "no nginx here")
    def test_nginx_asks_who_it_is(self):
        self.govern()
        self.x509("ca", "/CN=Example CA", "ca")
        self.x509("ada", "/OU=DBA/CN=ada", "client", on=self.laptop)
        self.x509("server", "/CN=db", "server")
        shutil.copy(self.file("ca.pem"), self.file("ca.pem", self.laptop))
        self.vern("trust", "x509", "add", self.file("ca.pem"), "--name", "pki")
        self.file("www").mkdir()
        self.db.host.write("www/index.html", "hello\n")
        configuration = self.db.host.write("nginx.conf", NGINX.format(directory=self.db.host.directory))
        self.db.host.start("nginx", "-c", configuration, "-p", self.db.host.directory, "-e", "stderr", name="nginx")
        wait_until(lambda: self.db.host.listening(80), "nginx")

        def get(*argv):
            return self.laptop.host.run("curl", "-s", "-w", "%{http_code}", *argv, check=False).stdout
        self.assertEqual(get("http://10.100.0.1/open"), "open\n200")
        self.assertRegex(get("http://10.100.0.1/"), "403$")
        mine = [self.file("ada.pem", self.laptop), self.file("ada.key", self.laptop)]
        self.present("--x509", mine[0], "--key", mine[1])
        self.assertRegex(get("-i", "http://10.100.0.1/"), r"(?s)X-Who: x509:ada@pki \(DBA\)\r?\n.*hello\n200$")
        # Beside it, the certificate itself.
        ca = ["--cacert", self.file("ca.pem", self.laptop)]
        self.assertTrue(get(*ca, "https://10.100.0.1/").endswith("400"))
        self.assertEqual(get(*ca, "--cert", mine[0], "--key", mine[1], "https://10.100.0.1/"), "mtls CN=ada,OU=DBA\n200")
        self.vern("identity", "remove", str(self.identities()[0]["id"]))
        self.assertRegex(get("http://10.100.0.1/"), "403$")


if __name__ == "__main__":
    unittest.main()
