#!/bin/bash
# The parts of the command lines that need no rights and no daemon. Usage: cli_test.sh VERN VERND
vern=$(realpath "$1") vernd=$(realpath "$2")
completion=$(realpath "${BASH_SOURCE%/*}/../../tools/completion")
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failures=0 checks=0

# expect NAME STATUS STDOUT STDERR COMMAND...: the outputs are patterns of bash; '*' is anything.
expect() {
    local name=$1 status=$2 out=$3 err=$4 got
    shift 4
    "$@" > "$dir/out" 2> "$dir/err" < "${input:-/dev/null}"
    got=$?
    checks=$((checks + 1))
    # shellcheck disable=SC2053  # patterns are meant
    if [[ $got != "$status" || $(< "$dir/out") != $out || $(< "$dir/err") != $err ]]; then
        echo "not ok: $name: status $got, output '$(< "$dir/out")', errors '$(< "$dir/err")'"
        failures=$((failures + 1))
    fi
}

umask 077
key='???????????????????????????????????????????='
expect "genkey" 0 "$key" "" "$vern" genkey
expect "genpsk" 0 "$key" "" "$vern" genpsk
"$vern" genkey > "$dir/key"
[[ $("$vern" genkey) != "$(< "$dir/key")" ]] || { echo "not ok: keys repeat"; failures=$((failures + 1)); }
input=$dir/key expect "pubkey" 0 "$key" "" "$vern" pubkey
if command -v wg > /dev/null; then
    for _ in {1..20}; do
        wg genkey > "$dir/key"
        input=$dir/key expect "pubkey as wg" 0 "$(wg pubkey < "$dir/key")" "" "$vern" pubkey
    done
else
    echo "skipped: pubkey as wg (no wg)"
fi
printf 'AAAA' > "$dir/bad"
input=$dir/bad expect "pubkey of what is none" 1 "" "vern: standard input: not a key *" "$vern" pubkey
{ cat "$dir/key"; cat "$dir/key"; } > "$dir/bad"
input=$dir/bad expect "pubkey of two" 1 "" "vern: standard input: not a key *" "$vern" pubkey
{ tr -d '\n' < "$dir/key"; printf '\r\n\n'; } > "$dir/crlf"
input=$dir/crlf expect "pubkey with CRLF" 0 "$key" "" "$vern" pubkey
(umask 022; "$vern" genkey > "$dir/world" 2> "$dir/warning")
[[ $(< "$dir/warning") == "Warning: writing to world accessible file."* ]] || { echo "not ok: no warning"; failures=$((failures + 1)); }
if [[ -w /dev/full ]]; then
    expect "genkey to a full disk" 1 "" "vern: cannot write the key: *" bash -c "'$vern' genkey > /dev/full"
    expect "errors to a full disk" 2 "" "" bash -c "'$vern' foo 2> /dev/full"
    expect "usage to a full disk" 2 "" "" bash -c "'$vern' up 2> /dev/full"
    expect "help to a full disk" 1 "" "vern: cannot write to standard output" bash -c "'$vern' help > /dev/full"
fi

expect "no command" 2 "" "Usage: vern *" "$vern"
expect "unknown command" 2 "" "vern: no command 'foo' (vern help)" "$vern" foo
expect "version" 0 "vern [0-9]*" "" "$vern" --version
expect "help" 0 "Usage: vern COMMAND*genkey*" "" "$vern" help
expect "--help" 0 "Usage: vern COMMAND*" "" "$vern" --help
for command in up down sync save check show policy explain flows trust identity present statement whois audit genkey genpsk pubkey; do
    expect "help $command" 0 "Usage: vern $command*Options:*" "" "$vern" help "$command"
    expect "$command --help" 0 "Usage: vern $command*Options:*" "" "$vern" "$command" --help
    expect "$command --foo" 2 "" "vern $command: *--foo*Usage: vern $command*" "$vern" "$command" --foo
done
expect "help foo" 2 "" "vern: no command 'foo' (vern help)" "$vern" help foo
expect "up alone" 2 "" "vern up: something is missing*" "$vern" up
expect "up two" 2 "" "vern up: 'b' is too much*" "$vern" up a b
expect "show what is not there" 1 "" "vern: nosuch0: no daemon runs this interface" "$vern" show nosuch0
expect "show no name" 1 "" "vern: 'a/b' cannot be an interface's name" "$vern" show a/b
expect "show no field" 2 "" "vern: no field 'foo' (vern help show)" "$vern" show nosuch0 foo
expect "show json and field" 2 "" "vern: --json prints everything*" "$vern" show --json nosuch0 peers

good="[Interface]
PrivateKey = $(< "$dir/key")
Address = 10.0.0.1/24 # comment
[Peer]
PublicKey = $("$vern" pubkey < "$dir/key")
AllowedIPs = 10.0.0.2/32, fd00::/64
Endpoint = vpn.example.org:51820"
echo "$good" > "$dir/wgx.conf"
expect "check" 0 "$dir/wgx.conf: ok, 1 peer, 2 allowed prefixes" "" "$vern" check "$dir/wgx.conf"
input=$dir/wgx.conf expect "check -" 0 "standard input: ok, *" "" "$vern" check -
echo "Endpoint = x:1" >> "$dir/wgx.conf"
echo "Adress = 1" >> "$dir/wgx.conf"
expect "check of errors" 1 "" "vern: $dir/wgx.conf:8: Endpoint: given twice, first on line 7
vern: $dir/wgx.conf:9: unknown key 'Adress' (Address?)" "$vern" check "$dir/wgx.conf"
printf '[Interface]\nListenPort = 1\n' > "$dir/wgx.conf"
expect "check without a key" 1 "" "vern: $dir/wgx.conf: \[Interface\] has no PrivateKey *" "$vern" check "$dir/wgx.conf"
expect "check of nothing" 1 "" "vern: $dir/none.conf: No such file or directory" "$vern" check "$dir/none.conf"
expect "check of a directory" 1 "" "vern: $dir: Is a directory" "$vern" check "$dir"
expect "check of a name" 1 "" "vern: no /etc/wireguard/nosuch0.conf and no /etc/vern/nosuch0.conf" "$vern" check nosuch0

policy='version = 1
name = "x"
[peers]
web-1 = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[[rule]]
id = "db"
in = { from = ["web-1"], to = ["10.100.0.1"] }
allow = ["tcp/3306"]
[[test]]
from = "web-1"
to = "10.100.0.1"
proto = "tcp"
port = 3306
expect = "allow"'
echo "$policy" > "$dir/p.toml"
expect "policy check" 0 "$dir/p.toml: ok, 1 rule, 1 test passed" "" "$vern" policy check "$dir/p.toml"
input=$dir/p.toml expect "policy check -" 0 "standard input: ok, *" "" "$vern" policy check -
expect "policy check as JSON" 0 '{"name":"x","ok":true,"rules":1,"tests":1,"warnings":\[\]}' "" "$vern" policy check --json "$dir/p.toml"
expect "policy test" 0 "$dir/p.toml: 1 of 1 test passed" "" "$vern" policy test "$dir/p.toml"
sed 's/"allow"$/"deny"/' "$dir/p.toml" > "$dir/q.toml"
expect "policy check with a test that fails" 1 "" "vern: $dir/q.toml:9:1: test failed: in web-1 > 10.100.0.1 tcp/3306: deny is expected, and it is allow (rule 'db' on line 5)" "$vern" policy check "$dir/q.toml"
expect "policy test that fails" 1 "$dir/q.toml: 0 of 1 test passed" "vern: $dir/q.toml:9:1: test failed: *" "$vern" policy test "$dir/q.toml"
sed 's/^allow/alow/' "$dir/p.toml" > "$dir/q.toml"
expect "policy check of errors" 1 "" "vern: $dir/q.toml:5:1: a rule needs one of *
vern: $dir/q.toml:8:1: unknown key 'alow' in a rule (allow?)" "$vern" policy check "$dir/q.toml"
: > "$dir/q.toml"
expect "policy check of nothing" 1 "" "vern: $dir/q.toml:1:1: no version: *" "$vern" policy check "$dir/q.toml"
echo "version = 1" > "$dir/q.toml"
expect "policy check of no rules" 0 "$dir/q.toml: ok, 0 rules, 0 tests passed" "Warning: $dir/q.toml:1:1: no rules: everything is denied, in and out" "$vern" policy check "$dir/q.toml"
expect "policy check of no file" 1 "" "vern: $dir/none.toml: No such file or directory" "$vern" policy check "$dir/none.toml"
expect "policy check without a file" 2 "" "vern: policy check: which file? *" "$vern" policy check
expect "policy show with a file" 2 "" "vern: policy show: 'x' is too much" "$vern" policy show x
expect "policy nonsense" 2 "" "vern: no command 'policy nonsense' *" "$vern" policy nonsense
expect "policy check --confirm" 2 "" "vern: --confirm belongs to policy apply" "$vern" policy check --confirm 60s "$dir/p.toml"
expect "policy apply for no time" 2 "" "vern: --confirm: a time from 1s to 24h is wanted *" "$vern" policy apply --confirm 0 "$dir/p.toml"
expect "policy show of none" 1 "" "vern: nosuch0: no vernd runs this interface" "$vern" policy show --interface nosuch0
expect "explain of none" 1 "" "vern: nosuch0: no vernd runs this interface" "$vern" explain -i nosuch0 "in - tcp 10.0.0.1:1 > 10.0.0.2:2"
# record SEQ SECONDS KIND PREV
record() {
    printf '{"seq":%s,"time":"2026-11-22T09:30:0%s.125Z","kind":"%s","peer":"web-1","dst":"10.100.0.1","dst_port":22,"prev":"%s"}' "$@"
}
trail=$dir/state/wg0/audit
mkdir -p "$trail"
first=$(record 1 0 flow-denied "$(printf '0%.0s' {1..64})")
second=$(record 2 5 flow-allowed "$(printf '%s' "$first" | sha256sum | cut -d' ' -f1)")
printf '%s\n%s\n' "$first" "$second" > "$trail/audit.jsonl"
export VERN_STATE_DIR=$dir/state
last=$(printf '%s' "$second" | sha256sum | cut -d' ' -f1)
expect "audit verify" 0 "intact: 2 records, 1 to 2, *last: 2 $last" "Warning: $trail/audit.jsonl:2: there is no audit.head: *" "$vern" audit verify
printf '%020d %s\n' 2 "$last" > "$trail/audit.head"
expect "audit verify with its head" 0 "intact: 2 records, *" "" "$vern" audit verify --interface wg0
expect "audit verify --json" 0 '{"first_seq":1,*"ok":true,*' "" "$vern" audit verify --json --dir "$trail"
expect "audit tail" 0 "2026-11-22T09:30:05.125Z flow-allowed web-1 [?] > 10.100.0.1:22" "" "$vern" audit tail -n 1
expect "audit tail of none" 0 "" "" "$vern" audit tail -n 0
expect "audit tail --json" 0 "$(printf '%s' "$first" | sed 's/[][*?]/\\&/g')
*" "" "$vern" audit tail --json
expect "audit export" 0 "$(printf '%s' "$first" | sed 's/[][*?]/\\&/g')" "" "$vern" audit export --kind flow-denied,limit --until 2026-11-23
expect "audit export since" 0 '{"seq":2,*' "" "$vern" audit export --since 2026-11-22T09:30:05Z --peer web-1
expect "audit export as ECS" 0 '{"@timestamp":"2026-11-22T09:30:00.125Z",*' "" "$vern" audit export --format ecs
expect "audit export as CSV" 0 'seq,time,kind,*
1,2026-11-22T09:30:00.125Z,flow-denied,*"web-1",*' "" "$vern" audit export --format csv
expect "audit export to a full disk" 1 "" "vern: cannot write to standard output" bash -c "'$vern' audit export > /dev/full"
# A trail that is rotated while it is followed.
: > "$dir/follow"
shows() { # LINES
    for _ in {1..200}; do
        [[ $(wc -l < "$dir/follow") == "$1" ]] && return
        sleep 0.05
    done
}
"$vern" audit tail -f -n 1 > "$dir/follow" &
follower=$!
shows 1
record 3 6 roamed "$last" >> "$trail/audit.jsonl"
printf '\n' >> "$trail/audit.jsonl"
mv "$trail/audit.jsonl" "$trail/audit.jsonl.1"
record 4 7 limit "$last" > "$trail/audit.jsonl"
printf '\n' >> "$trail/audit.jsonl"
shows 3
kill "$follower"
wait "$follower" 2> /dev/null
expect "audit tail -f" 0 "*:05.125Z flow-allowed *
*:06.125Z roamed *
*:07.125Z limit *" "" cat "$dir/follow"
mv "$trail/audit.jsonl.1" "$trail/audit.jsonl"
sed -i 's/09:30:00/09:31:00/' "$trail/audit.jsonl"
expect "audit verify of what was changed" 1 "" "vern: $trail/audit.jsonl:1: not as it was written: *" "$vern" audit verify
expect "audit verify --json of it" 1 '*"line":1,*"ok":false,*' "" "$vern" audit verify --json
mkdir -p "$dir/state/wg1/audit"
expect "audit of which interface" 1 "" "vern: which interface? --interface, out of wg0, wg1" "$vern" audit verify
expect "audit of no trail" 1 "" "vern: $dir/state/wg1/audit: there is no trail" "$vern" audit tail -i wg1
expect "audit of a path for a name" 1 "" "vern: '../x' cannot be an interface's name" "$vern" audit tail -i ../x
expect "audit of nothing" 1 "" "vern: $dir/none: no interface has a trail there *" env VERN_STATE_DIR="$dir/none" "$vern" audit verify
expect "audit nonsense" 2 "" "vern: no command 'audit nonsense' *" "$vern" audit nonsense
expect "audit verify --follow" 2 "" "vern: --follow does not belong to audit verify" "$vern" audit verify --follow
expect "audit tail of no number" 2 "" "vern: --lines: a number *" "$vern" audit tail -i wg0 -n x
expect "audit export of no kind" 2 "" "vern: --kind: 'x' is no kind *" "$vern" audit export -i wg0 --kind x
expect "audit export of no form" 2 "" "vern: --format: json, ecs or csv *" "$vern" audit export -i wg0 --format xml
expect "audit export of no time" 2 "" "vern: --since: a day, *" "$vern" audit export -i wg0 --since yesterday
unset VERN_STATE_DIR

here=(-i nosuch0)
none="vern: nosuch0: no vernd runs this interface"
ca='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ca'
echo "$ca" > "$dir/user_ca.pub"
echo "$ca" > "$dir/.pub"
echo "$ca" > "$dir/ä ca.pub"
printf -- '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' > "$dir/ca.pem"
printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n' > "$dir/user_ca"
: > "$dir/empty"
head -c 20000 /dev/zero > "$dir/large"
for words in "trust list" "trust ssh add $dir/user_ca.pub --group a --group b" "trust ssh add $dir/.pub" \
    "trust ssh add --name x --krl $dir/ca.pem --principals $dir/ca.pem $dir/user_ca.pub" \
    "trust x509 add $dir/ca.pem --crl $dir/ca.pem --crl $dir/large" "trust remove ssh x" "trust remove x509 x" \
    "identity list --peer x" "identity add --statement $dir/user_ca.pub --signature $dir/ca.pem" \
    "identity add --cms $dir/ca.pem" "identity add --certificate $dir/ca.pem" "identity remove 7" \
    "whois 10.0.0.1:1 --require ssh:serial=1"; do
    # shellcheck disable=SC2086  # words are meant
    expect "$words" 1 "" "$none" "$vern" $words "${here[@]}"
    # shellcheck disable=SC2086
    expect "$words as JSON" 1 '{"errors":\["nosuch0: no vernd runs this interface"\],"ok":false}' "" "$vern" $words "${here[@]}" --json
done
expect "trust of a name that is made fit" 1 "" "$none" "$vern" trust ssh add "$dir/ä ca.pub" "${here[@]}"
input=$dir/user_ca.pub expect "trust ssh add -" 1 "" "$none" "$vern" trust ssh add - --name x "${here[@]}"
input=$dir/user_ca.pub expect "trust ssh add - without a name" 2 "" "vern: --name is wanted with standard input" "$vern" trust ssh add - "${here[@]}"
expect "trust of a bad name" 2 "" "vern: 'a/b' cannot name a CA: *" "$vern" trust ssh add "$dir/user_ca.pub" --name a/b "${here[@]}"
expect "trust remove of a bad name" 2 "" "vern: '../x' cannot name a CA" "$vern" trust remove ssh ../x "${here[@]}"
expect "trust of nothing" 1 "" "vern: $dir/none: No such file or directory" "$vern" trust ssh add "$dir/none" "${here[@]}"
expect "trust of a missing KRL" 1 "" "vern: $dir/none: No such file or directory" "$vern" trust ssh add "$dir/user_ca.pub" --krl "$dir/none" "${here[@]}"
expect "trust of a missing CRL" 1 "" "vern: $dir/none: No such file or directory" "$vern" trust x509 add "$dir/ca.pem" --crl "$dir/none" "${here[@]}"
expect "trust of an empty KRL" 1 "" "vern: $dir/empty: is empty" "$vern" trust ssh add "$dir/user_ca.pub" --krl "$dir/empty" "${here[@]}"
expect "trust of a large key" 1 "" "vern: $dir/large: larger than 16 KiB" "$vern" trust ssh add "$dir/large" "${here[@]}"
expect "trust of a private key" 1 "" "vern: $dir/user_ca: a private key is in it: *" "$vern" trust ssh add "$dir/user_ca" "${here[@]}"
expect "trust of no PEM" 1 "" "vern: $dir/user_ca.pub: is not PEM *" "$vern" trust x509 add "$dir/user_ca.pub" "${here[@]}"
expect "trust of no PEM as JSON" 1 '{"errors":\["*: is not PEM *"\],"ok":false}' "" "$vern" trust x509 add "$dir/user_ca.pub" --json "${here[@]}"
expect "trust without a file" 2 "" "vern: trust: list, ssh add FILE, *" "$vern" trust ssh add
expect "trust of another kind" 2 "" "vern: trust: list, *" "$vern" trust pgp add x
expect "trust remove without a name" 2 "" "vern: trust: list, *" "$vern" trust remove ssh
expect "trust x509 --krl" 2 "" "vern: --krl does not belong to trust x509 add" "$vern" trust x509 add "$dir/ca.pem" --krl x
expect "trust ssh --crl" 2 "" "vern: --crl does not belong to trust ssh add" "$vern" trust ssh add "$dir/user_ca.pub" --crl x
expect "trust list --group" 2 "" "vern: --group does not belong to trust list" "$vern" trust list --group x
expect "identity add of nothing" 2 "" "vern: identity add: --statement *" "$vern" identity add
expect "identity add of half a proof" 2 "" "vern: identity add: --statement *" "$vern" identity add --statement "$dir/ca.pem"
expect "identity add of two proofs" 2 "" "vern: identity add: --statement *" "$vern" identity add --cms x --certificate y
expect "identity add of a large statement" 1 "" "vern: $dir/large: larger than 1 KiB" "$vern" identity add --statement "$dir/large" --signature "$dir/ca.pem" "${here[@]}"
expect "identity add of a private key" 1 "" "vern: $dir/user_ca: a private key is in it: *" "$vern" identity add --certificate "$dir/user_ca" "${here[@]}"
expect "identity remove of no number" 2 "" "vern: identity remove: a number is wanted *" "$vern" identity remove x
expect "identity remove of two" 2 "" "vern identity: '2' is too much*" "$vern" identity remove 1 2
expect "identity list x" 2 "" "vern: identity: list, add or remove ID *" "$vern" identity list x
expect "identity list --cms" 2 "" "vern: --cms belongs to identity add" "$vern" identity list --cms x
key=AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
expect "present without an address" 2 "" "vern: --to: *" "$vern" present --ssh id-cert.pub
expect "present without a certificate" 2 "" "vern: one of --ssh and --x509 is wanted" "$vern" present --to 10.100.0.1
expect "present with a certificate and no key" 2 "" "vern: --x509: its --key is wanted too" "$vern" present --to 10.100.0.1 --x509 a.pem
expect "present for too long" 2 "" "vern: --for: *" "$vern" present --to 10.100.0.1 --ssh id-cert.pub --for 2y
expect "present with a key that is none" 2 "" "vern: wg: not a public key (base64)" "$vern" present --to 10.100.0.1 --ssh id-cert.pub --wg me
expect "a statement" 0 "{\"version\":1,\"wg\":\"$key\",\"audience\":\"$key\",\"nonce\":\"*\",\"not_after\":*}" "" "$vern" statement --wg $key --audience $key
expect "a statement for nobody" 2 "" "vern: --audience: not a public key (base64)" "$vern" statement --wg $key
expect "whois of nobody in particular" 2 "" "vern whois: something is missing*" "$vern" whois

expect "flows of none" 1 "" "vern: nosuch0: no vernd runs this interface" "$vern" flows -i nosuch0
expect "flows of no port" 2 "" "vern: --port: a number *" "$vern" flows --port x
echo '{"nftables": [{"chain": {"family": "inet", "table": "t", "name": "input", "hook": "input", "type": "filter", "prio": 0, "policy": "drop"}},
  {"rule": {"family": "inet", "table": "t", "chain": "input", "handle": 1, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}]}},
  {"rule": {"family": "inet", "table": "t", "chain": "input", "handle": 2, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 7}}, {"accept": null}]}}]}' > "$dir/nft.json"
expect "from-nft" 3 "*NOT CARRIED OVER: input-2 *id = \"input-1\"*allow = \[\"tcp/22\"\]*" "vern: not carried over: input-2 (mark 7 accept): a policy has nothing like 'meta mark'" "$vern" policy from-nft "$dir/nft.json"
"$vern" policy from-nft "$dir/nft.json" 2> /dev/null > "$dir/q.toml"
expect "from-nft makes a policy" 0 "*: ok, 2 rules, *" "" "$vern" policy check "$dir/q.toml"
echo '{}' > "$dir/nft.json"
expect "from-nft of something else" 1 "" "vern: $dir/nft.json: not the output of *" "$vern" policy from-nft "$dir/nft.json"
echo 'table ip x { chain input { type filter hook input priority 0; } }' > "$dir/x.nft"
expect "from-nft without nft" 1 "" "vern: $dir/x.nft: nft is needed to read this*" env PATH=/nonexistent "$vern" policy from-nft "$dir/x.nft"

if [[ $(id -u) == 0 ]]; then
    expect "up of errors" 1 "" "vern: $dir/bad.conf:1: *" bash -c "echo x > '$dir/bad.conf'; '$vern' up '$dir/bad.conf'"
    echo "$good" > "$dir/a-name-that-is-too-long.conf"
    expect "up of a bad name" 1 "" "vern: *: must be named after its interface*" "$vern" up "$dir/a-name-that-is-too-long.conf"
    echo "$good" > "$dir/lo.conf"
    expect "up of what is there" 1 "" "vern: lo already exists, and is left as it is" "$vern" up "$dir/lo.conf"
    echo "$good" > "$dir/nosuch0.conf"
    expect "down of what is not" 1 "" "vern: nosuch0 is not up: *" "$vern" down "$dir/nosuch0.conf"
    expect "save of what is not" 1 "" "vern: nosuch0 is not up: *" "$vern" save "$dir/nosuch0.conf"
    [[ $(< "$dir/nosuch0.conf") == "$good" ]] || { echo "not ok: save changed the file"; failures=$((failures + 1)); }
    chmod 644 "$dir/nosuch0.conf"
    chmod 755 "$dir"
    expect "warns of readers" 1 "" "Warning: \`$dir/nosuch0.conf' is world accessible*" "$vern" down "$dir/nosuch0.conf"
else
    expect "up without rights" 1 "" "vern: this needs root *" "$vern" up "$dir/wgx.conf"
fi

expect "vernd without a name" 2 "" "vernd: which interface?*" "$vernd"
for name in '' . a/b 0123456789abcdef; do expect "vernd '$name'" 2 "" "vernd: \"$name\" is no interface name: *" "$vernd" "$name"; done

# completed FILE FUNCTION WORD...: what completion makes of the line so far.
completed() {
    # shellcheck disable=SC1090,SC2034
    bash -c 'compopt() { :; }; . "$0"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); "$1"; printf "%s\n" "${COMPREPLY[@]}"' "$@"
}
# Each option is completed, or is one of a word that comes first.
options_of() { grep -oE '^  (-[a-z], |-[a-z] \[ )?--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+'; }
commands=0
for command in $("$vern" help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p' | grep -v '^vern$'); do
    checks=$((checks + 1)) commands=$((commands + 1))
    completed "$completion/vern.bash" _vern vern "" | grep -qx "$command" || { echo "not ok: completion knows no $command"; failures=$((failures + 1)); }
    completed "$completion/vern.bash" _vern vern "$command" -- | grep -qx -- --help || { echo "not ok: nothing completes $command"; failures=$((failures + 1)); }
    for option in $("$vern" help "$command" | options_of); do
        grep -qE -- "[ =\"'(|]$option([ '\")|]|$)" "$completion/vern.bash" || { echo "not ok: completion knows no $command $option"; failures=$((failures + 1)); }
    done
done
[[ $commands -ge 19 ]] || { echo "not ok: only $commands commands in vern help"; failures=$((failures + 1)); }
for option in $("$vernd" --help | options_of); do
    checks=$((checks + 1))
    completed "$completion/vernd.bash" _vernd vernd -- | grep -qx -- "$option" || { echo "not ok: completion knows no vernd $option"; failures=$((failures + 1)); }
done
[[ $(completed "$completion/vernd.bash" _vernd vernd --engine io) == io_uring ]] || { echo "not ok: no engine is completed"; failures=$((failures + 1)); }

echo "$checks checks, $failures failed"
[[ $failures == 0 ]]
