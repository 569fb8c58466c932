// The TCP streams of `vern bench`: as many bytes as fit into a time, over connections that are already there.
#pragma once

#include <cstdint>
#include <vector>

#include "bench_socket.h"

namespace vern::cli::bench {

struct Streams {
    std::uint64_t bytes = 0;  // of all streams
    nanoseconds
        duration{};  // receiving: from the first byte to the last of all; sending: until all was handed over
    std::uint64_t retransmits = 0;  // segments; known to the sender only
};

// One thread a stream; each ends its direction when the time is up.
Streams send_streams(const std::vector<Fd>& streams, nanoseconds duration);
// Until every stream has ended or `until`.
Streams receive_streams(const std::vector<Fd>& streams, Clock::time_point until);

}  // namespace vern::cli::bench
