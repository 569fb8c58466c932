#include "control/audit/journal.h"

#include <sys/socket.h>

#include "control/audit/sentence.h"
#include "control/unix_address.h"

namespace vern::audit {
namespace {

void put(std::string& entry, std::string_view name, std::string_view value) {
    entry.append(name);
    if (value.find('\n') == std::string_view::npos) {
        entry.append(1, '=').append(value).append(1, '\n');
        return;
    }
    // A value with ends of line goes by its length: 64 bits, little endian.
    entry.append(1, '\n');
    for (unsigned shift = 0; shift < 64; shift += 8)
        entry.append(1, static_cast<char>(static_cast<std::uint64_t>(value.size()) >> shift & 0xff));
    entry.append(value).append(1, '\n');
}

std::string_view priority_of(Kind kind) {
    switch (kind) {
        case Kind::records_lost: return "3";  // LOG_ERR
        case Kind::flow_denied:
        case Kind::flow_rejected:
        case Kind::policy_refused:
        case Kind::identity_refused:
        case Kind::handshake_failed:
        case Kind::limit: return "4";  // LOG_WARNING
        default: return "5";           // LOG_NOTICE
    }
}

std::string upper(std::string_view name) {
    std::string text = "VERN_";
    for (const char c : name) text += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return text;
}

}  // namespace

std::string journal_entry(const Record& record, std::string_view hash) {
    std::string entry;
    put(entry, "MESSAGE", sentence_of(record));
    put(entry, "PRIORITY", priority_of(record.kind));
    put(entry, "SYSLOG_IDENTIFIER", "vernd");
    put(entry, "VERN_SEQ", std::to_string(record.seq));
    put(entry, "VERN_TIME", time_text(record.time));
    put(entry, "VERN_KIND", name_of(record.kind));
    for (const Field& field : fields()) {
        if (field.text && !(record.*field.text).empty())
            put(entry, upper(field.name), std::string_view(record.*field.text).substr(0, field.bytes_max));
        if (field.number && record.*field.number)
            put(entry, upper(field.name), std::to_string(*(record.*field.number)));
    }
    put(entry, "VERN_HASH", hash);
    return entry;
}

Journal::Journal(std::string socket_path)
    : path_(std::move(socket_path)), fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}

// By name each time: the journal may come later than we do, and may be restarted.
bool Journal::send(const Record& record, std::string_view hash) {
    const auto address = unix_address(path_);
    const std::string entry = journal_entry(record, hash);
    const bool taken = fd_ && address &&
                       ::sendto(fd_.get(), entry.data(), entry.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&*address), sizeof *address) >= 0;
    if (!taken) ++lost_;
    return taken;
}

}  // namespace vern::audit
