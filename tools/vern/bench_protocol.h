// What `vern bench client` asks of `vern bench server`, one line of words each way over a TCP connection:
//
//   client                        server
//   vern-bench 1                  ready TOKEN (32 hexadecimal digits, of this session only)
//   tcp up STREAMS MS             go; the client opens the streams and sends; done BYTES NS 0
//   tcp down STREAMS MS           go; the client opens the streams, the server sends; done BYTES NS
//   RETRANSMITS udp BYTES MS                  go; the client sends datagrams, then: sent DATAGRAMS; done
//   DATAGRAMS REORDERED DROPPED NS echo MS                       go; the server sends back each datagram,
//   until: stop; done anything else, or too much    refused WHY
//
// Streams come to the same port as the session, begin with the token in a line and are answered: ok;
// datagrams begin with it as well. What has no token of the running session, or comes from another host than
// the session's, is not answered: nobody can make the server send to a host that has not connected to it, and
// what it sends to one that has is no more than was sent to it, or what TCP lets through.
#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench_udp.h"

namespace vern::cli::bench {

inline constexpr std::uint16_t kDefaultPort = 5302;
inline constexpr std::string_view kHello = "vern-bench 1";
inline constexpr std::uint64_t kStreamsMax = 16;
inline constexpr milliseconds kTestMax{60'000};
inline constexpr milliseconds kPatience{5000};   // with the other side's next word or stream
inline constexpr milliseconds kIdleMax{30'000};  // of a session without a test
inline constexpr milliseconds kSessionMax{1'800'000};

inline std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (!line.empty()) {
        const auto end = line.find(' ');
        if (end != 0) words.push_back(line.substr(0, end));
        line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
    }
    return words;
}

inline std::optional<std::uint64_t> number_of(std::string_view word, std::uint64_t least,
                                              std::uint64_t most) {
    std::uint64_t value = 0;
    const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (status != std::errc{} || end != word.data() + word.size() || value < least || value > most)
        return std::nullopt;
    return value;
}

std::string to_text(const Token& token);
std::optional<Token> token_of(std::string_view text);
Token random_token();

}  // namespace vern::cli::bench
