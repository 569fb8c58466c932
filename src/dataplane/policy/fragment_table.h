// Which fragmented datagrams were let in: the verdict on a first fragment holds for the later ones of the
// same peer, addresses, protocol and identification for 30 s. It fails closed: no first fragment, no room,
// too many pieces or any overlap (RFC 5722) means no.
//
// Fixed memory: 16384 datagrams, 512 a payer (payer.h), so that one peer's first fragments starve nobody
// else's. A datagram that is whole gives its place back. One lock: who sends fragments through a tunnel pays
// for it.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/spin_lock.h"
#include "dataplane/policy/payer.h"
#include "dataplane/policy/reserved.h"
#include "dataplane/policy/rules.h"
#include "dataplane/policy/siphash.h"
#include "dataplane/policy/transport.h"

namespace vern::policy {

class FragmentTable {
  public:
    explicit FragmentTable(Random& random) noexcept;
    explicit operator bool() const noexcept { return datagrams_ && index_ && accounts_; }

    enum class Answer : std::uint8_t { pass, stray, overlap, full };
    // A first fragment, before anything else is asked about it: one that is refused here has moved no flow
    // and taken no token. Nothing of its datagram passes until allow(); deny(), where it may not pass. Both
    // want the generation and time that first() had: after a pause of 30 s there may be another datagram.
    Answer first(std::uint64_t peer, Payer payer, Direction direction, const InnerPacket& packet,
                 const Transport& transport, std::uint32_t generation, Instant now) noexcept;
    void allow(std::uint64_t peer, Direction direction, const InnerPacket& packet, const Transport& transport,
               std::uint32_t generation, Instant now, std::uint32_t rule) noexcept;
    void deny(std::uint64_t peer, Direction direction, const InnerPacket& packet, const Transport& transport,
              std::uint32_t generation, Instant now) noexcept;
    // A later one. When it passes, `rule` is the one that allowed the first.
    Answer later(std::uint64_t peer, Direction direction, const InnerPacket& packet,
                 const Transport& transport, std::uint32_t generation, Instant now,
                 std::uint32_t& rule) noexcept;

    static constexpr std::size_t kDatagramsMax = 16384;
    static constexpr std::size_t kPerPayerMax = 512;
    static constexpr Duration kLifetime = std::chrono::seconds(30);

  private:
    static constexpr std::size_t kBuckets = 16384;
    static constexpr std::size_t kAccounts = 65536;
    static constexpr std::size_t kPieces =
        8;  // separate ranges that are there; arriving in order there is one

    struct Range {
        std::uint16_t begin;
        std::uint32_t end;
    };
    struct Key {
        std::array<std::byte, 16> source;
        std::array<std::byte, 16> destination;
        std::uint64_t peer;
        std::uint32_t id;
        std::uint8_t protocol;
        Direction direction;
        bool v6;
        friend bool operator==(const Key&, const Key&) = default;
    };
    struct Datagram {
        Key key;
        Instant until;
        std::array<Range, kPieces> pieces;
        std::uint32_t pieces_count;
        std::uint32_t end;  // of the whole datagram; 0: not known
        std::uint32_t rule;
        std::uint32_t generation;
        bool allowed;                // the first one is decided about
        bool poisoned;               // nothing of it passes any more
        std::uint32_t next;          // in its bucket, or of the free ones; index + 1
        std::uint32_t older, newer;  // by age; index + 1
        std::uint32_t account;       // of its Payer
    };

    static Key key_of(std::uint64_t peer, Direction direction, const InnerPacket& packet,
                      const Transport& transport) noexcept;
    std::uint32_t& bucket_of(const Key& key) noexcept;
    Datagram* find(const Key& key) noexcept;
    Datagram* find_undecided(const Key& key, std::uint32_t generation, Instant begun) noexcept;
    void expire(Instant now) noexcept;
    void take_out(Datagram& datagram) noexcept;
    static bool add(Datagram& datagram, const Transport& transport) noexcept;
    static bool whole(const Datagram& datagram) noexcept;
    static std::uint32_t account_of(Payer payer) noexcept {
        return static_cast<std::uint32_t>(static_cast<std::uint64_t>(payer) % kAccounts);
    }

    SpinLock lock_;
    SipHash hash_;
    Reserved<Datagram> datagrams_;
    Reserved<std::uint32_t> index_;
    Reserved<std::uint16_t> accounts_;
    std::uint32_t used_ = 0, free_ = 0, oldest_ = 0, newest_ = 0;
};

}  // namespace vern::policy
