# bash completion for vernd(8)

_vernd() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local words='--foreground --engine --offload --aead --workers --helpers --hand-over --policy --state-dir --audit-dir
        --audit-journal --no-audit --identity-port --api-listen --api-ca --api-tls-cert --api-tls-key --api-writer --api-reader
        --log-level --version --help'
    case $previous in
        --engine) words='auto io_uring epoll' ;;
        --hand-over) words='auto always never' ;;
        --log-level) words='silent error verbose' ;;
        --offload) words='all none gso gro tso uso -gso -gro -tso -uso' ;;
        --aead | --workers | --helpers | --identity-port | --api-listen | --api-writer | --api-reader) words='' ;;
        --policy | --api-ca | --api-tls-cert | --api-tls-key)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            compopt -o filenames 2> /dev/null
            return
            ;;
        --state-dir | --audit-dir)
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            compopt -o filenames 2> /dev/null
            return
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _vernd vernd
