// Everything that is fixed by the WireGuard protocol: message layouts, sizes and limits (WireGuard paper,
// section 5.4 and 6). Layouts are exactly the bytes of the wire; integers are little endian and only
// reachable through Le32/Le64.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "crypto/instant.h"

namespace vern {

template <typename Integer>
class LittleEndian {
  public:
    LittleEndian() = default;
    LittleEndian(Integer value) noexcept {
        *this = value;
    }  // NOLINT(google-explicit-constructor): it is that integer
    LittleEndian& operator=(Integer value) noexcept {
        for (auto& byte : bytes_) {
            byte = static_cast<std::byte>(value & 0xff);
            value = static_cast<Integer>(value >> 8);
        }
        return *this;
    }
    operator Integer() const noexcept {  // NOLINT(google-explicit-constructor)
        Integer value = 0;
        for (std::size_t i = sizeof(Integer); i-- > 0;)
            value = static_cast<Integer>((value << 8) | std::to_integer<Integer>(bytes_[i]));
        return value;
    }

  private:
    std::array<std::byte, sizeof(Integer)> bytes_;
};
using Le32 = LittleEndian<std::uint32_t>;
using Le64 = LittleEndian<std::uint64_t>;

inline constexpr std::size_t kTagBytes = 16;  // Poly1305
inline constexpr std::size_t kMacBytes = 16;
inline constexpr std::size_t kTimestampBytes = 12;
inline constexpr std::size_t kCookieBytes = 16;
inline constexpr std::size_t kCookieNonceBytes = 24;

enum class MessageType : std::uint32_t { initiation = 1, response = 2, cookie_reply = 3, data = 4 };

// The first four bytes are the type and three reserved zero bytes: read together as one little-endian word,
// as every implementation does.
struct MessageHeader {
    Le32 type;
};

struct MessageMacs {
    std::array<std::byte, kMacBytes> mac1;
    std::array<std::byte, kMacBytes> mac2;
};

struct MessageInitiation {
    MessageHeader header;
    Le32 sender_index;
    std::array<std::byte, 32> ephemeral;
    std::array<std::byte, 32 + kTagBytes> encrypted_static;
    std::array<std::byte, kTimestampBytes + kTagBytes> encrypted_timestamp;
    MessageMacs macs;
};
static_assert(sizeof(MessageInitiation) == 148);

struct MessageResponse {
    MessageHeader header;
    Le32 sender_index;
    Le32 receiver_index;
    std::array<std::byte, 32> ephemeral;
    std::array<std::byte, kTagBytes> encrypted_nothing;
    MessageMacs macs;
};
static_assert(sizeof(MessageResponse) == 92);

struct MessageCookieReply {
    MessageHeader header;
    Le32 receiver_index;
    std::array<std::byte, kCookieNonceBytes> nonce;
    std::array<std::byte, kCookieBytes + kTagBytes> encrypted_cookie;
};
static_assert(sizeof(MessageCookieReply) == 64);

struct MessageDataHeader {
    MessageHeader header;
    Le32 receiver_index;
    Le64 counter;
};
static_assert(sizeof(MessageDataHeader) == 16);
inline constexpr std::size_t kDataHeaderBytes = sizeof(MessageDataHeader);
inline constexpr std::size_t kDataOverheadBytes =
    kDataHeaderBytes + kTagBytes;  // also the size of a keepalive
inline constexpr std::size_t kPaddingMultiple = 16;
inline constexpr std::size_t kLargestHandshakeBytes = sizeof(MessageInitiation);

// Limits and timers of the protocol.
inline constexpr std::uint64_t kRekeyAfterMessages = std::uint64_t{1} << 60;
inline constexpr std::uint64_t kReplayWindowBits =
    8192;  // of which one 64-bit word is slack: 8128 counters may be late
inline constexpr std::uint64_t kRejectAfterMessages = UINT64_MAX - kReplayWindowBits;
inline constexpr Duration kRekeyAfterTime = std::chrono::seconds(120);
inline constexpr Duration kRejectAfterTime = std::chrono::seconds(180);
inline constexpr Duration kRekeyAttemptTime = std::chrono::seconds(90);
inline constexpr Duration kRekeyTimeout = std::chrono::seconds(5);
inline constexpr Duration kRekeyTimeoutJitterMax = std::chrono::milliseconds(333);
inline constexpr Duration kKeepaliveTimeout = std::chrono::seconds(10);
inline constexpr Duration kCookieSecretLifetime = std::chrono::seconds(120);
inline constexpr Duration kCookieSecretLatency = std::chrono::seconds(5);
inline constexpr unsigned kInitiationsPerSecond = 50;  // one peer may start this many handshakes a second
inline constexpr std::uint8_t kHandshakeDscp = 0x88;   // AF41 in the TOS byte

}  // namespace vern
