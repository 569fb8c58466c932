// Records for systemd's journal, in its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram each,
// every member a field of its own (VERN_RULE=...). Never waits: what the socket does not take is counted. One
// thread.
#pragma once

#include <cstdint>
#include <string>

#include "control/audit/record.h"
#include "dataplane/io/fd.h"

namespace vern::audit {

inline constexpr std::string_view kJournalSocket = "/run/systemd/journal/socket";

// The datagram. `hash` is that of the record's line in the trail.
std::string journal_entry(const Record& record, std::string_view hash);

class Journal {
  public:
    explicit Journal(std::string socket_path = std::string(kJournalSocket));

    // False: it was not taken.
    bool send(const Record& record, std::string_view hash);
    std::uint64_t lost() const noexcept { return lost_; }

  private:
    std::string path_;
    Fd fd_;
    std::uint64_t lost_ = 0;
};

}  // namespace vern::audit
