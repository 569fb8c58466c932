# bash completion for vern(8)

_vern_configs() {
    local file
    for file in /etc/wireguard/*.conf /etc/vern/*.conf; do
        [[ -e $file ]] || continue
        file=${file##*/}
        printf '%s\n' "${file%.conf}"
    done
}

_vern_interfaces() {
    local file
    for file in /var/run/wireguard/*.sock; do
        [[ -S $file ]] || continue
        file=${file##*/}
        printf '%s\n' "${file%.sock}"
    done
}

_vern_policy_interfaces() {
    local file
    for file in /run/vern/*.sock; do
        [[ -S $file ]] || continue
        file=${file##*/}
        printf '%s\n' "${file%.sock}"
    done
}

_vern_trails() {
    local directory state=${VERN_STATE_DIR:-/var/lib/vern}
    for directory in "$state"/*/audit; do
        [[ -d $directory ]] || continue
        directory=${directory%/audit}
        printf '%s\n' "${directory##*/}"
    done
}

_vern() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local commands='up down sync save check show policy explain flows trust identity present statement whois audit bench genkey genpsk pubkey help'
    local fields='public-key private-key listen-port fwmark peers preshared-keys endpoints allowed-ips latest-handshakes
        transfer persistent-keepalive dump'
    local words='' word subcommand='' second='' operands=0 skip=0
    COMPREPLY=()

    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$current")
        return
    fi
    for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
        if ((skip)); then
            skip=0
        elif [[ $word == @(-i|--interface) ]]; then
            skip=1
        elif [[ $word != -* ]]; then
            ((++operands))
            ((operands != 1)) || subcommand=$word
            ((operands != 2)) || second=$word
        fi
    done
    case $command in
        help) words=${commands% help} ;;
        show)
            words='--json --show-keys --help'
            ((operands == 0)) && words+=" all interfaces $(_vern_interfaces)"
            ((operands == 1)) && words+=" $fields"
            ;;
        up)
            words="--quiet --vernd --help $(_vern_configs)"
            ;;
        check) words="--help $(_vern_configs)" ;;
        down | sync) words="--quiet --help $(_vern_interfaces)" ;;
        save) words="--help $(_vern_interfaces)" ;;
        policy)
            words='--interface --json --help'
            ((operands == 0)) && words+=' check test diff apply confirm rollback remove show counters from-nft'
            [[ $subcommand == apply ]] && words+=' --confirm'
            [[ $subcommand == from-nft ]] && words+=' --local'
            [[ $subcommand == remove ]] && words+=' --allowed-ips-only'
            ;;
        explain) words='--interface --json --help' ;;
        flows) words='--interface --peer --port --json --help' ;;
        trust)
            words='--interface --json --help'
            ((operands == 0)) && words+=' list ssh x509 remove'
            ((operands == 1)) && [[ $subcommand == @(ssh|x509) ]] && words+=' add'
            ((operands == 1)) && [[ $subcommand == remove ]] && words+=' ssh x509'
            [[ $subcommand == ssh ]] && words+=' --name --group --krl --principals'
            [[ $subcommand == x509 ]] && words+=' --name --group --crl'
            ;;
        identity)
            words='--interface --json --help'
            ((operands == 0)) && words+=' list add remove'
            [[ $subcommand == list ]] && words+=' --peer'
            [[ $subcommand == add ]] && words+=' --statement --signature --cms --certificate'
            ;;
        present) words='--to --port --ssh --x509 --key --wg --audience --for --renew --json --help' ;;
        statement) words='--wg --audience --for --help' ;;
        whois) words='--interface --require --json --help' ;;
        audit)
            words='--interface --dir --help'
            ((operands == 0)) && words+=' tail verify export'
            [[ $subcommand == tail ]] && words+=' --follow --lines --json'
            [[ $subcommand == verify ]] && words+=' --json'
            [[ $subcommand == export ]] && words+=' --since --until --kind --peer --rule --format'
            ;;
        bench)
            words='--port --once --seconds --repeat --only --json --udp-rate --udp-size --help'
            ((operands == 0)) && words+=' server client'
            ;;
        genkey | genpsk | pubkey) words='--help' ;;
    esac
    case $previous in
        --interface | -i)
            words=$(_vern_policy_interfaces)
            [[ $command == audit ]] && words=$(_vern_trails)
            ;;
        --format) words='json ecs csv' ;;
        --kind)
            words='flow-allowed flow-denied flow-rejected would-deny policy-loaded policy-confirmed policy-rolled-back
                policy-removed policy-refused identity-bound identity-refused identity-ended trust-changed handshake-failed roamed limit
                records-lost started stopped'
            ;;
        --confirm) words='60s 5m' ;;
        --peer | --port | --local | --rule | --since | --until | --lines | -n | --name | --group | --require | --to | --wg | --audience | --for) words='' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    if [[ $previous == --dir ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        compopt -o filenames 2> /dev/null
    fi
    # Policies may be anywhere and of any name.
    if [[ $command == policy && $current != -* && $previous != -* ]] && ((operands >= 1)); then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2> /dev/null
    fi
    # And so may keys, certificates, lists and proofs.
    if [[ $previous == --@(krl|principals|crl|statement|signature|cms|certificate|ssh|x509|key) ||
        $command == trust && $second == add && $current != -* && $previous != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2> /dev/null
    fi
    # Configuration files may be anywhere.
    if [[ $previous == --vernd || $command == @(up|down|sync|save|check) && $current != -* ]]; then
        local -a files
        mapfile -t files < <(compgen -f -- "$current")
        for word in "${files[@]}"; do
            [[ $previous == --vernd || -d $word || $word == *.conf ]] && COMPREPLY+=("$word")
        done
        compopt -o filenames 2> /dev/null
    fi
}

complete -F _vern vern
