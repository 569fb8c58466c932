#!/bin/bash
# vern up, down and save on a real interface, with wireguard-go as the daemon (vernd has tests of its own), in namespaces of the test's
# own. What can fail is made to fail, and then nothing may be left. Usage: up_down_test.sh VERN
# shellcheck disable=SC2016  # hooks are for another shell
if [[ $2 != inside ]]; then
    for program in wireguard-go wg ip nft unshare; do
        command -v "$program" > /dev/null || { echo "skipped: no $program"; exit 77; }
    done
    [[ -c /dev/net/tun ]] || { echo "skipped: no /dev/net/tun"; exit 77; }
    unshare --net --mount true 2> /dev/null || { echo "skipped: no right to namespaces"; exit 77; }
    exec unshare --net --mount --pid --fork --kill-child "$0" "$1" inside
fi

vern=$(realpath "$1")
failures=0 checks=0
mount -t proc none /proc && mount -t tmpfs none /run && mkdir -p /run/test/bin && cd /run/test || exit 1
umask 077
export PATH=/run/test/bin:$PATH NO_COLOR=1
echo "hosts: files" > nsswitch.conf && mount --bind nsswitch.conf /etc/nsswitch.conf  # no waiting for servers that are not there
ip link set lo up
ip link add v0 type veth peer name v1
ip address add 192.0.2.1/24 dev v0
ip link set v0 addrgenmode none mtu 1480
ip link set v1 addrgenmode none
ip link set v0 up
ip link set v1 up
ip route add default via 192.0.2.2

check() {
    checks=$((checks + 1))
    "${@:2}" || { echo "not ok: $1"; failures=$((failures + 1)); }
}
same() { diff <(echo "$1") <(echo "$2"); }
# shellcheck disable=SC2053  # a pattern is meant
like() { [[ $1 == $2 ]] || { echo "  '$1' is not like '$2'"; return 1; }; }
absent() { ! "$@" > /dev/null 2>&1; }
fails() { ! "$@"; }
state() {
    ip -4 rule; ip -4 route show table all; ip -6 rule 2> /dev/null; ip -6 route show table all 2> /dev/null; ip -o link
    nft list ruleset; ls /run/wireguard 2> /dev/null; cat /proc/sys/net/ipv4/conf/all/src_valid_mark /run/test/dns 2> /dev/null
}
up() { "$vern" up --vernd "$(command -v wireguard-go)" "$@" > out 2> err < /dev/null; }
config() {
    cat > "$1.conf"
}

cat > bin/resolvconf <<'END'
#!/bin/bash
if [[ $1 == -a ]]; then { echo "$*"; cat; } > /run/test/dns; else echo "$*" > /run/test/dns_removed; rm -f /run/test/dns; fi
[[ ! -e /run/test/dns_fails ]]
END
chmod +x bin/resolvconf

private=$("$vern" genkey) preshared=$("$vern" genpsk)
first=$("$vern" genkey | "$vern" pubkey) second=$("$vern" genkey | "$vern" pubkey)
before=$(state)

interface="[Interface]
PrivateKey = $private
Address = 10.77.0.1/24, 10.78.0.1/32
ListenPort = 51999
DNS = 10.77.0.53, example.org"
peers="[Peer]
PublicKey = $first
PresharedKey = $preshared
AllowedIPs = 0.0.0.0/0, 10.77.0.7/32
Endpoint = 192.0.2.9:51820
PersistentKeepalive = 25
[Peer]
PublicKey = $second
AllowedIPs = 10.99.0.0/16"
hooks='PreUp = echo pre-up %i >> /run/test/hooks
PostUp = echo post-up %i $(wg show %i listen-port) >> /run/test/hooks
PreDown = echo pre-down %i $(wg show %i listen-port) >> /run/test/hooks
PostDown = ip link show %i 2>&1 >/dev/null | grep -c "does not exist" >> /run/test/hooks'

# A whole tunnel
printf '%s\n' "$interface" "$hooks" "$peers" | config vt0
check "up" up vt0.conf
check "hooks so far" same "$(< hooks)" $'pre-up vt0\npost-up vt0 51999'
check "peers" like "$(wg show vt0 dump)" "*$first"$'\t'"$preshared"$'\t'"192.0.2.9:51820"$'\t'"*"
check "addresses" like "$(ip -4 -o address show dev vt0)" "*10.77.0.1/24*10.78.0.1/32*"
check "mtu" like "$(ip link show vt0)" "*mtu 1400*"
check "plain route" like "$(ip route show 10.99.0.0/16)" "*dev vt0*"
check "no route within the interface's own" absent grep -q 10.77.0.7 <(ip route)
check "default route" like "$(ip route show table 51820)" "default dev vt0*"
check "rules" like "$(ip -4 rule)" "*lookup main suppress_prefixlength 0*not from all fwmark 0xca6c lookup 51820*"
check "mark" same "$(wg show vt0 fwmark)" 0xca6c
check "firewall" like "$(nft list ruleset)" '*table ip wg-quick-vt0*iifname != "vt0" ip daddr 10.77.0.1 fib saddr type != local drop*'
check "src_valid_mark" same "$(< /proc/sys/net/ipv4/conf/all/src_valid_mark)" 1
check "dns" same "$(< dns)" $'-a vt0 -m 0 -x\nnameserver 10.77.0.53\nsearch example.org'
check "steps are shown" like "$(< err)" "*\[#\] ip -4 address add 10.77.0.1/24 dev vt0*"
check "no secrets in the steps" absent grep -qF -e "$private" -e "$preshared" err

running=$(state)
check "second up is refused" fails up vt0.conf
check "and says so" same "$(< err)" "vern: vt0 already exists, and is left as it is"
check "and changes nothing" same "$(state)" "$running"

check "save" "$vern" save vt0.conf
check "saved" like "$(< vt0.conf)" "\[Interface\]*Address = 10.77.0.1/24*DNS = 10.77.0.53*PostUp = echo post-up %i*ListenPort = 51999*PrivateKey = $private*AllowedIPs = 10.99.0.0/16*"
check "saved for its owner" same "$(stat -c %a vt0.conf)" 600
check "nothing beside it" same "$(echo vt0.conf*)" vt0.conf
check "what was saved is right" "$vern" check vt0.conf

check "down" "$vern" down -q vt0.conf
check "hooks at last" same "$(tail -2 hooks)" $'pre-down vt0 51999\n1'
check "dns is removed" same "$(< dns_removed)" "-d vt0 -f"
echo 0 > /proc/sys/net/ipv4/conf/all/src_valid_mark
check "nothing is left" same "$(state)" "$before"
check "down again is refused" fails "$vern" down vt0.conf 2> /dev/null

# SaveConfig
printf '%s\nSaveConfig = true\n%s\n' "$interface" "$peers" | config vt0
check "up to save" up vt0.conf
wg set vt0 peer "$second" remove
check "down saves" "$vern" down -q vt0.conf
check "what was" absent grep -qF "$second" vt0.conf
echo 0 > /proc/sys/net/ipv4/conf/all/src_valid_mark

# Each step that can fail
fails_cleanly() {
    local name=$1 words=$2
    check "$name: fails" fails up vt0.conf
    check "$name: says why" like "$(< err)" "*vern: $words"
    check "$name: leaves nothing" same "$(state)" "$before"
}
printf '%s\nPreUp = false\n%s\n' "$interface" "$peers" | config vt0
fails_cleanly "PreUp" "hook failed with status 1: false"
printf '%s\nPostUp = exit 3\n%s\n' "$interface" "$peers" | config vt0
fails_cleanly "PostUp" "hook failed with status 3: exit 3"
printf '%s\nAddress = 10.77.0.1/24\n%s\n' "$interface" "$peers" | config vt0
fails_cleanly "Address" "ip -4 address add 10.77.0.1/24 dev vt0: *"
printf '%s\nTable = no_such_table\n%s\n' "$interface" "$peers" | config vt0
fails_cleanly "Table" "ip -4 route add *table no_such_table: *"
printf '%s\n%s\nEndpoint = no-such-host.invalid:1\n' "$interface" "$peers" | config vt0
WG_ENDPOINT_RESOLUTION_RETRIES=0 fails_cleanly "Endpoint" "vt0.conf:*: Endpoint: cannot resolve 'no-such-host.invalid': *"
printf '%s\nPostUp = kill -INT $PPID\nPostUp = echo not reached > /run/test/reached\n%s\n' "$interface" "$peers" | config vt0
fails_cleanly "SIGINT" "interrupted (signal 2)"
printf '%s\nPostUp = kill -TERM $PPID\n%s\n' "$interface" "$peers" | config vt0
fails_cleanly "SIGTERM" "interrupted (signal 15)"
check "no step after a signal" absent ls reached
printf '%s\n%s\n' "$interface" "$peers" | config vt0
touch dns_fails
fails_cleanly "DNS" "*resolvconf -a vt0 -m 0 -x: exit status 1*"
rm dns_fails
cat > bin/nft <<'END'
#!/bin/bash
[[ $1 != -f ]] || { echo "nft: no" >&2; exit 1; }
END
chmod +x bin/nft
check "nft: fails" fails up vt0.conf
check "nft: says why" like "$(< err)" "*vern: nft -f -: nft: no"
rm bin/nft
hash -r
check "nft: leaves nothing" same "$(state)" "$before"
cat > bin/daemon <<'END'
#!/bin/bash
echo "daemon: no /dev/net/tun here" >&2
exit 1
END
chmod +x bin/daemon
check "daemon: fails" fails "$vern" up -q --vernd /run/test/bin/daemon vt0.conf 2> err
check "daemon: says why" same "$(< err)" "vern: daemon: no /dev/net/tun here"
check "daemon: leaves nothing" same "$(state)" "$before"

# Other tables, and none
printf '%s\nTable = 1234\nMTU = 1300\n%s\n' "$interface" "$peers" | config vt0
check "table: up" up vt0.conf
check "table: routes" like "$(ip route show table 1234)" "default dev vt0*10.77.0.7 dev vt0*10.99.0.0/16 dev vt0*"
check "table: no rules" same "$(ip -4 rule | wc -l)" 3
check "table: mtu" like "$(ip link show vt0)" "*mtu 1300*"
check "table: down" "$vern" down -q vt0.conf
printf '%s\nTable = off\n%s\n' "$interface" "$peers" | config vt0
check "off: up" up vt0.conf
check "off: no routes" absent grep -q 10.99 <(ip route show table all)
check "off: down" "$vern" down -q vt0.conf
check "off: leaves nothing" same "$(state)" "$before"

# Many routes in one go
{ printf '%s\n[Peer]\nPublicKey = %s\nAllowedIPs = ' "$interface" "$first"
  for i in {0..7}; do for j in {0..249}; do printf '10.%d.%d.0/24, ' $((100 + i)) "$j"; done; done; echo 10.98.0.0/24; } | config vt0
check "many: up" up vt0.conf
check "many: routes" same "$(ip route show dev vt0 | wc -l)" 2002
check "many: down" "$vern" down -q vt0.conf

# IPv6
if [[ -e /proc/net/if_inet6 ]]; then
    printf '[Interface]\nPrivateKey = %s\nAddress = fd77::1/64\nDNS = lan.example\n[Peer]\nPublicKey = %s\nAllowedIPs = ::/0, fd99::/32\nEndpoint = [fd00::9]:7\n' \
        "$private" "$first" | config vt0
    check "IPv6: up" up vt0.conf
    check "IPv6: endpoint" like "$(wg show vt0 endpoints)" "*"$'\t'"\[fd00::9\]:7"
    check "IPv6: address" like "$(ip -6 -o address show dev vt0)" "*fd77::1/64*"
    check "IPv6: routes" like "$(ip -6 route show table 51820) $(ip -6 route show fd99::/32)" "default dev vt0*fd99::/32 dev vt0*"
    check "IPv6: rules" like "$(ip -6 rule)" "*lookup main suppress_prefixlength 0*not from all fwmark 0xca6c lookup 51820*"
    check "IPv6: firewall" like "$(nft list ruleset)" "*table ip6 wg-quick-vt0*ip6 daddr fd77::1 fib saddr type != local drop*"
    check "IPv6: search domain alone" same "$(< dns)" $'-a vt0 -m 0 -x\nsearch lan.example'
    check "IPv6: save" "$vern" save vt0.conf
    check "IPv6: saved address is the file's" same "$(grep -c ^Address vt0.conf)" 1
    check "IPv6: down" "$vern" down -q vt0.conf
    check "IPv6: leaves nothing" same "$(state)" "$before"
fi

# Two tunnels with default routes: one goes, the other stays whole
printf '[Interface]\nPrivateKey = %s\n%s\n' "$private" "$peers" | config vt0
printf '[Interface]\nPrivateKey = %s\n[Peer]\nPublicKey = %s\nAllowedIPs = 0.0.0.0/0\n' "$("$vern" genkey)" "$second" | config vt1
check "two: first up" up vt0.conf
one=$(ip -4 rule)
check "two: second up" up vt1.conf
check "two: tables" like "$(ip -4 rule)" "*suppress_prefixlength 0*lookup 51821*suppress_prefixlength 0*lookup 51820*"
check "two: second down" "$vern" down -q vt1.conf
check "two: first as it was" same "$(ip -4 rule)" "$one"
check "two: first down" "$vern" down -q vt0.conf
echo 0 > /proc/sys/net/ipv4/conf/all/src_valid_mark
check "two: nothing is left" same "$(state)" "$before"

# What a killed daemon leaves behind does not stand in the way
check "killed: up" up vt0.conf
ip link delete vt0  # rules and firewall stay
check "killed: up again" up vt0.conf
check "killed: one rule" same "$(ip -4 rule | grep -c 51820)" 1
check "killed: down" "$vern" down -q vt0.conf
echo 0 > /proc/sys/net/ipv4/conf/all/src_valid_mark
check "killed: nothing is left" same "$(state)" "$before"

# wg-quick takes down what vern has brought up
if command -v wg-quick > /dev/null; then
    check "wg-quick: up" up vt0.conf
    check "wg-quick: down" wg-quick down ./vt0.conf 2> /dev/null
    echo 0 > /proc/sys/net/ipv4/conf/all/src_valid_mark
    check "wg-quick: nothing is left" same "$(state)" "$before"
fi

echo "$checks checks, $failures failed"
[[ $failures == 0 ]]
