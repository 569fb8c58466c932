// The UDP load of `vern bench`: numbered datagrams at an even rate, counted where they arrive.
//
// Both sides are made to cost little beside what is measured: the sender sends what has come due ten thousand
// times a second in calls of up to 64 datagrams, the receiver empties its (large) buffer five thousand times
// a second. No segmentation offload: every datagram is a packet of its own, as with small packets of many
// programs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "bench_socket.h"

namespace vern::cli::bench {

// What a session's datagrams begin with; others are not counted and never answered.
using Token = std::array<std::byte, 16>;

struct DatagramHeader {
    Token token;
    std::uint64_t sequence;  // from 0; both sides are hosts of ours: little-endian as it stands in memory
};
static_assert(sizeof(DatagramHeader) == 24);

inline constexpr std::uint32_t kDatagramBytesMin = sizeof(DatagramHeader);
inline constexpr std::uint32_t kDatagramBytesMax = 9000;
inline constexpr double kRateMax = 10e6;  // datagrams a second

struct Load {
    std::uint32_t bytes = 64;  // of UDP payload
    double rate = 10'000;      // datagrams a second; kRateMax is as fast as it goes
    nanoseconds duration{std::chrono::seconds(1)};
};

struct Sent {
    std::uint64_t datagrams = 0;
    nanoseconds duration{};
};
// `fd` is connected. Datagrams that the host refuses to queue are counted as sent: they are lost like others.
Result<Sent> send_load(int fd, const Token& token, const Load& load);

struct Received {
    std::uint64_t datagrams = 0;
    std::uint64_t reordered = 0;     // arrived after one with a higher number (RFC 4737, type P)
    std::uint64_t dropped_here = 0;  // by this socket's full buffer: the receiver's fault, not the path's
    nanoseconds duration{};          // from the first to the last
};
// Counts what comes from `from` (its port may be any), datagrams of `bytes`, until `finished` has said how
// many were sent and all are there or nothing has come for a while, or until `until`. `finished` is asked
// about a hundred times a second.
struct Expected {
    bool known = false;
    std::uint64_t datagrams = 0;
};
Received receive_load(int fd, const Token& token, const SocketAddress& from, std::uint32_t bytes,
                      Clock::time_point until, const std::function<Expected()>& finished);

// Sends every datagram of the session back to where it came from, which must be `from`: as many bytes, once.
void echo_until(int fd, const Token& token, const SocketAddress& from, Clock::time_point until,
                const std::function<bool()>& finished);

// One datagram there and back. Nothing came in time: zero.
Result<nanoseconds> round_trip(int fd, const Token& token, std::uint64_t sequence, std::uint32_t bytes,
                               milliseconds patience);

bool same_host(const SocketAddress& one, const SocketAddress& other) noexcept;

}  // namespace vern::cli::bench
