#include "dataplane/policy/fragment_table.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace vern::policy {

FragmentTable::FragmentTable(Random& random) noexcept
    : hash_(random), datagrams_(kDatagramsMax), index_(kBuckets), accounts_(kAccounts) {}

FragmentTable::Key FragmentTable::key_of(std::uint64_t peer, Direction direction, const InnerPacket& packet,
                                         const Transport& transport) noexcept {
    Key key{};
    std::memcpy(key.source.data(), packet.source(), packet.address_bytes());
    std::memcpy(key.destination.data(), packet.destination(), packet.address_bytes());
    key.peer = peer;
    key.id = transport.fragment_id;
    // IPv6 puts datagrams together without asking for the protocol: neither may this.
    key.protocol = packet.v6 ? std::uint8_t{0} : transport.protocol;
    key.direction = direction;
    key.v6 = packet.v6;
    return key;
}

std::uint32_t& FragmentTable::bucket_of(const Key& key) noexcept {
    std::uint64_t words[6];
    std::memcpy(&words[0], key.source.data(), 16);
    std::memcpy(&words[2], key.destination.data(), 16);
    words[4] = key.peer;
    words[5] = std::uint64_t{key.id} << 32 | std::uint64_t{key.protocol} << 8 |
               static_cast<std::uint64_t>(key.direction) << 1 | (key.v6 ? 1U : 0U);
    return index_[hash_(words) % kBuckets];
}

FragmentTable::Datagram* FragmentTable::find(const Key& key) noexcept {
    for (std::uint32_t at = bucket_of(key); at != 0; at = datagrams_[at - 1].next) {
        if (datagrams_[at - 1].key == key) return &datagrams_[at - 1];
    }
    return nullptr;
}

// All live equally long, so the oldest end first. A bounded number a call: each call adds one at most.
void FragmentTable::expire(Instant now) noexcept {
    for (int i = 0; i < 16 && oldest_ != 0 && datagrams_[oldest_ - 1].until <= now; ++i)
        take_out(datagrams_[oldest_ - 1]);
}

void FragmentTable::take_out(Datagram& datagram) noexcept {
    const auto at = static_cast<std::uint32_t>(&datagram - datagrams_.data()) + 1;
    std::uint32_t* link = &bucket_of(datagram.key);
    while (*link != at) link = &datagrams_[*link - 1].next;
    *link = datagram.next;
    (datagram.older != 0 ? datagrams_[datagram.older - 1].newer : oldest_) = datagram.newer;
    (datagram.newer != 0 ? datagrams_[datagram.newer - 1].older : newest_) = datagram.older;
    --accounts_[datagram.account];
    datagram.next = free_;
    free_ = at;
}

// False: it overlaps what is there, or says something else about where the datagram ends, or leaves more
// pieces than are kept.
bool FragmentTable::add(Datagram& datagram, const Transport& transport) noexcept {
    const std::uint32_t begin = transport.fragment_begin, end = transport.fragment_end;
    for (std::size_t i = 0; i < datagram.pieces_count; ++i) {
        if (begin < datagram.pieces[i].end && datagram.pieces[i].begin < end) return false;
        if (!transport.more_fragments && datagram.pieces[i].end > end) return false;
    }
    if (datagram.end != 0 && (end > datagram.end || !transport.more_fragments)) return false;
    if (!transport.more_fragments) datagram.end = end;
    Range joined{static_cast<std::uint16_t>(begin), end};
    std::size_t kept = 0;
    for (std::size_t i = 0; i < datagram.pieces_count; ++i) {
        const Range piece = datagram.pieces[i];
        if (piece.end == joined.begin) {
            joined.begin = piece.begin;
        } else if (joined.end == piece.begin) {
            joined.end = piece.end;
        } else {
            datagram.pieces[kept++] = piece;
        }
    }
    if (kept == kPieces) return false;
    datagram.pieces[kept] = joined;
    datagram.pieces_count = static_cast<std::uint32_t>(kept + 1);
    return true;
}

bool FragmentTable::whole(const Datagram& datagram) noexcept {
    return datagram.end != 0 && datagram.pieces_count == 1 && datagram.pieces[0].begin == 0 &&
           datagram.pieces[0].end == datagram.end;
}

FragmentTable::Answer FragmentTable::first(std::uint64_t peer, Payer payer, Direction direction,
                                           const InnerPacket& packet, const Transport& transport,
                                           std::uint32_t generation, Instant now) noexcept {
    const std::uint32_t account = account_of(payer);
    const Key key = key_of(peer, direction, packet, transport);
    const std::lock_guard hold(lock_);
    expire(now);
    if (Datagram* there = find(key)) {
        // A second first: one of the two hides what the other says.
        if (there->until > now) {
            there->poisoned = true;
            return Answer::overlap;
        }
        take_out(*there);
    }
    if (accounts_[account] >= kPerPayerMax || (free_ == 0 && used_ == kDatagramsMax)) return Answer::full;
    std::uint32_t at = free_;
    if (at != 0)
        free_ = datagrams_[at - 1].next;
    else
        at = ++used_;
    Datagram& datagram = datagrams_[at - 1];
    datagram = {};
    datagram.key = key;
    datagram.account = account;
    datagram.until = now + kLifetime;
    datagram.generation = generation;
    add(datagram, transport);
    datagram.next = std::exchange(bucket_of(key), at);
    datagram.older = newest_;
    (newest_ != 0 ? datagrams_[newest_ - 1].newer : oldest_) = at;
    newest_ = at;
    ++accounts_[account];
    return Answer::pass;
}

FragmentTable::Answer FragmentTable::later(std::uint64_t peer, Direction direction, const InnerPacket& packet,
                                           const Transport& transport, std::uint32_t generation, Instant now,
                                           std::uint32_t& rule) noexcept {
    const Key key = key_of(peer, direction, packet, transport);
    const std::lock_guard hold(lock_);
    Datagram* datagram = find(key);
    // What an earlier policy let begin does not go on under this one.
    if (!datagram || datagram->until <= now || (datagram->generation != generation && !datagram->poisoned))
        return Answer::stray;
    if (datagram->poisoned) return Answer::overlap;
    if (!datagram->allowed) return Answer::stray;
    if (!add(*datagram, transport)) {
        datagram->poisoned = true;
        return Answer::overlap;
    }
    rule = datagram->rule;
    if (whole(*datagram)) take_out(*datagram);
    return Answer::pass;
}

FragmentTable::Datagram* FragmentTable::find_undecided(const Key& key, std::uint32_t generation,
                                                       Instant begun) noexcept {
    Datagram* datagram = find(key);
    const bool same = datagram && !datagram->allowed && datagram->generation == generation &&
                      datagram->until == begun + kLifetime;
    return same ? datagram : nullptr;
}

void FragmentTable::allow(std::uint64_t peer, Direction direction, const InnerPacket& packet,
                          const Transport& transport, std::uint32_t generation, Instant now,
                          std::uint32_t rule) noexcept {
    const Key key = key_of(peer, direction, packet, transport);
    const std::lock_guard hold(lock_);
    if (Datagram* datagram = find_undecided(key, generation, now)) {
        datagram->allowed = true;
        datagram->rule = rule;
    }
}

// Another worker may have seen a second first meanwhile: that stays.
void FragmentTable::deny(std::uint64_t peer, Direction direction, const InnerPacket& packet,
                         const Transport& transport, std::uint32_t generation, Instant now) noexcept {
    const Key key = key_of(peer, direction, packet, transport);
    const std::lock_guard hold(lock_);
    if (Datagram* datagram = find_undecided(key, generation, now); datagram && !datagram->poisoned)
        take_out(*datagram);
}

}  // namespace vern::policy
