"""Who a peer is, on a real tunnel, by the operator's commands and real ssh-keygen certificates; and nginx that lets in only who has proven it."""

import base64
import json
import os
import re
import shutil
import time
import unittest

from lab import Lab, wait_until
from tunnel import SUBJECT, SUBJECT_IS_VERN, VERN, Interface, at, host_routes

NGINX = """
daemon off; user root; worker_processes 1; pid {here}/nginx.pid; error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {here}/t1; proxy_temp_path {here}/t2; fastcgi_temp_path {here}/t3; uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;
    server {{
        listen 10.100.0.1:8080;
        location = /is-dba {{
            internal;
            proxy_pass http://unix:/run/vern/wg0.sock:/v1/whois?addr=$remote_addr&require=ssh:principal%3Ddba;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Origin "";
        }}
        location / {{
            auth_request /is-dba;
            auth_request_set $who $upstream_http_x_vern_identity;
            add_header X-Who $who;
            root {here}/files;
        }}
    }}
}}
"""


@unittest.skipUnless(SUBJECT_IS_VERN, "vernd only")
@unittest.skipUnless(shutil.which("ssh-keygen"), "ssh-keygen is not installed")
class Trust(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab())
        internet = self.lab.internet()
        hosts = [internet.host(name) for name in ("db", "web")]
        self.db, self.web = [Interface(host, SUBJECT, addresses=[f"10.100.0.{number}/24"]) for number, host in enumerate(hosts, 1)]
        self.db.peer(self.web, host_routes(self.web), endpoint=at(self.web.host.v4))
        self.web.peer(self.db, host_routes(self.db), endpoint=at(self.db.host.v4))
        for name in ("user_ca", "other_ca", "id"):
            self.keygen("-t", "ed25519", "-N", "", "-C", "", "-f", self.file(name))
        self.certify("user_ca")

    def file(self, name):
        return str(self.db.host.directory / name)

    def keygen(self, *argv):
        return self.db.host.run("ssh-keygen", "-q", *argv)

    def certify(self, ca):
        self.keygen("-s", self.file(ca), "-I", "ada", "-n", "dba,web", "-V", "+8h", "-z", "7", self.file("id.pub"))

    def statement(self):
        text = json.dumps({"version": 1, "wg": self.web.public, "audience": self.db.public, "nonce": base64.b64encode(os.urandom(16)).decode(),
                           "not_after": int(time.time()) + 3600}, separators=(",", ":"))
        file = self.db.host.write("statement", text + "\n")
        self.db.host.run("rm", "-f", f"{file}.sig")
        self.keygen("-Y", "sign", "-n", "wg-binding@vern", "-f", self.file("id-cert.pub"), file)
        return ["--statement", file, "--signature", f"{file}.sig"]

    def vern(self, *argv, check=True):
        return self.db.host.run(VERN, *argv, check=check)

    def refused(self, *argv):
        result = self.vern(*argv, check=False)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        return result.stderr

    def test_from_trust_to_whois_and_back(self):
        user_ca = self.file("user_ca.pub")
        self.assertIn("nobody is trusted", self.vern("trust", "list").stdout)
        proof = self.statement()
        self.assertRegex(self.refused("identity", "add", *proof), r"^vern: .*/statement\.sig: .+ \(unknown-ca\)\n$")
        self.assertEqual(self.refused("whois", "10.100.0.9"), "vern: no peer here has that address\n")
        shown = self.vern("whois", "10.100.0.2").stdout
        self.assertEqual(shown, f"10.100.0.2 is peer {self.web.public}\nno identity is proven\n")

        self.assertRegex(self.vern("trust", "ssh", "add", user_ca, "--group", "staff").stdout, r"^ssh  user_ca: ssh-ed25519 SHA256:\S+, in staff\n$")
        principals = self.db.host.write("principals", 'dba\nfrom="x" web\n')
        self.assertRegex(self.refused("trust", "ssh", "add", user_ca, "--principals", principals), r"^vern: /\S+/principals:2.* \(\S+\)\n$")
        self.assertRegex(self.refused("trust", "ssh", "add", self.file("id-cert.pub")), r"^vern: /\S+/id-cert\.pub: .+ \(ca-is-cert\)\n$")
        self.assertRegex(self.vern("identity", "add", *proof).stdout,
                         rf"^{re.escape(self.web.public)} is ssh:ada@user_ca \(dba, web\)\n  id 1, CA user_ca, serial 7, by statement-ssh\n"
                         r"  in staff\n  until \S+Z, in (1 h 0 min|59 min)\n$")
        self.assertIn("ssh:ada@user_ca", self.vern("identity", "list", "--peer", self.web.public).stdout)
        self.assertEqual(self.vern("identity", "list", "--peer", self.db.public).stdout, "")
        met = self.vern("whois", "10.100.0.2:43210", "--require", "ssh:principal=dba;ca=user_ca")
        self.assertIn("\nssh:ada@user_ca (dba, web)\n  id 1, ", met.stdout)
        self.assertEqual(self.refused("whois", "10.100.0.2", "--require", "ssh:principal=root"), "vern: the peer has not proven that identity\n")
        self.assertEqual(json.loads(self.vern("whois", "10.100.0.2", "--json").stdout)["identities"][0]["serial"], "7")

        self.keygen("-k", "-f", self.file("krl"), "-s", user_ca, "-z", "5", self.db.host.write("revoked", "serial: 7\n"))
        self.assertIn(", KRL version 5\n", self.vern("trust", "ssh", "add", user_ca, "--krl", self.file("krl")).stdout)
        self.assertEqual(self.vern("identity", "list").stdout, "")
        self.assertRegex(self.refused("identity", "add", *self.statement()), r"\(revoked\)\n$")
        self.assertRegex(self.refused("trust", "ssh", "add", user_ca), r"^vern: /\S+/user_ca\.pub: .+ \(krl-invalid\)\n$")
        self.vern("trust", "ssh", "add", self.file("other_ca.pub"), "--name", "corp")
        self.certify("other_ca")
        self.vern("identity", "add", *self.statement())
        self.vern("identity", "remove", "2")
        self.assertEqual(self.refused("identity", "remove", "2"), "vern: no identity is bound under that number\n")
        self.vern("identity", "add", *self.statement())
        self.assertNotIn("corp", self.vern("trust", "remove", "ssh", "corp").stdout)
        self.assertEqual(self.vern("identity", "list").stdout, "")
        self.assertEqual(self.refused("trust", "remove", "ssh", "corp"), "vern: no CA is trusted under that name\n")

    @unittest.skipUnless(shutil.which("nginx"), "nginx is not installed")
    def test_nginx_lets_in_who_has_proven_it(self):
        here = self.db.host.directory
        (here / "files").mkdir()
        (here / "files" / "secret").write_text("it")
        self.db.host.start("nginx", "-e", "stderr", "-c", self.db.host.write("nginx.conf", NGINX.format(here=here)), name="nginx")
        wait_until(lambda: self.db.host.listening(8080), "nginx")

        def fetch():
            return self.web.host.run("curl", "-sS", "--max-time", "20", "-i", "-H", "Origin: http://x", "http://10.100.0.1:8080/secret").stdout

        self.assertRegex(fetch(), r"^HTTP/1\.1 403 ")
        self.vern("trust", "ssh", "add", self.file("user_ca.pub"))
        self.vern("identity", "add", *self.statement())
        page = fetch()
        self.assertRegex(page, r"^HTTP/1\.1 200 ")
        self.assertIn("X-Who: ssh:ada@user_ca (dba, web)", page)
        self.vern("identity", "remove", "1")
        self.assertRegex(fetch(), r"^HTTP/1\.1 403 ")


if __name__ == "__main__":
    unittest.main()
