// Worker: from the underlay to the TUN device.
#include <algorithm>
#include <cstring>

#include "dataplane/core/worker.h"

namespace vern {

void Worker::from_underlay(const UnderlayTrain& train, Outlet& outlet) noexcept {
    if (train.bytes.empty()) return counters_.add(Counter::underlay_empty);
    const std::size_t segment = std::clamp<std::size_t>(train.segment_bytes, 1, train.bytes.size());
    if (train.from.port == 0)
        return counters_.add(Counter::underlay_port, (train.bytes.size() + segment - 1) / segment);
    if (arriving_trains_count_ == arriving_trains_.size()) open_arrivals(outlet);
    arriving_trains_[arriving_trains_count_++] = {train.from, train.ecn};
    for (std::size_t at = 0; at < train.bytes.size(); at += segment)
        take_datagram(train.bytes.subspan(at, std::min(segment, train.bytes.size() - at)), train, outlet);
}

// Type and length, before anything else is believed. The type is read with the three reserved bytes, which
// must be zero.
void Worker::take_datagram(std::span<std::byte> datagram, const UnderlayTrain& train,
                           Outlet& outlet) noexcept {
    if (datagram.size() < sizeof(MessageHeader)) return counters_.add(Counter::underlay_short);
    MessageHeader header;
    std::memcpy(&header, datagram.data(), sizeof header);
    std::size_t handshake_bytes = 0;
    switch (static_cast<MessageType>(std::uint32_t{header.type})) {
        case MessageType::data:
            return datagram.size() < kDataOverheadBytes ? counters_.add(Counter::underlay_short)
                                                        : take_data(datagram, train, outlet);
        case MessageType::initiation: handshake_bytes = sizeof(MessageInitiation); break;
        case MessageType::response: handshake_bytes = sizeof(MessageResponse); break;
        case MessageType::cookie_reply: handshake_bytes = sizeof(MessageCookieReply); break;
        default: return counters_.add(Counter::underlay_type);
    }
    if (datagram.size() != handshake_bytes) return counters_.add(Counter::underlay_length);
    queue_handshake(datagram, train.from);
}

// The slow path's work: all that a flood costs here is this copy.
void Worker::queue_handshake(std::span<const std::byte> datagram, const Endpoint& from) noexcept {
    HandshakeMessage message;
    message.from = from;
    message.length = static_cast<std::uint32_t>(datagram.size());
    std::memcpy(message.bytes.data(), datagram.data(), datagram.size());
    if (!device_.queues(id_).handshakes.push(message)) counters_.add(Counter::handshake_queue_full);
    requested_ = true;
}

void Worker::take_data(std::span<std::byte> datagram, const UnderlayTrain& train, Outlet& outlet) noexcept {
    MessageDataHeader header;
    std::memcpy(&header, datagram.data(), sizeof header);
    const std::uint64_t counter = header.counter;
    Session* session = device_.sessions().find(header.receiver_index);
    if (!session) return counters_.add(Counter::unknown_index);
    if (session->expired(now_) || counter >= kRejectAfterMessages)
        return counters_.add(Counter::session_expired);
    if (arrivals_ == kOpenBatch) {
        open_arrivals(outlet);
        arriving_trains_[arriving_trains_count_++] = {train.from, train.ecn};
    }
    jobs_[arrivals_] = {session->receiving.span().data(), counter, datagram.data() + sizeof header,
                        static_cast<std::uint32_t>(datagram.size() - kDataOverheadBytes), false};
    arrivals_of_[arrivals_++] = {session, static_cast<std::uint32_t>(arriving_trains_count_ - 1)};
}

// Refuses replays while they are cheap, opens what is left, and settles it.
void Worker::open_arrivals(Outlet& outlet) noexcept {
    std::size_t kept = 0;
    for (std::size_t begin = 0, end; begin < arrivals_; begin = end) {
        Session& session = *arrivals_of_[begin].session;
        const std::lock_guard hold(session.lock);
        for (end = begin; end < arrivals_ && arrivals_of_[end].session == &session; ++end) {
            if (!session.window.is_fresh(jobs_[end].counter)) {
                counters_.add(Counter::replayed);
                continue;
            }
            jobs_[kept] = jobs_[end];
            arrivals_of_[kept++] = arrivals_of_[end];
        }
    }
    std::size_t bytes = 0;
    if (board_.attending() > 0) {
        for (const aead::OpenJob& job : std::span(jobs_).first(kept)) bytes += job.length;
    }
    if (bytes >= 2 * options_.open_share_bytes) {
        open_shared(kept, bytes, outlet);
    } else if (kept > 0) {
        device_.aead().open(std::span(jobs_).first(kept));
        settle_range(0, kept, outlet);
    }
    arrivals_ = 0;
    arriving_trains_count_ = 0;
}

// Offers the batch in shares, and settles each as soon as it is open: what is written to the TUN device here
// is opened elsewhere meanwhile.
void Worker::open_shared(std::size_t count, std::size_t bytes, Outlet& outlet) noexcept {
    struct Share {
        std::size_t end;
        AeadLine::Number task;
    };
    std::array<Share, AeadLine::kTasks> shares;
    std::size_t used = 0;
    const std::size_t enough = std::max(options_.open_share_bytes, bytes / shares.size() + 1);
    for (std::size_t begin = 0, end = 0; begin < count; begin = end) {
        for (std::size_t in_share = 0; end < count && (in_share < enough || used + 1 == shares.size());) {
            for (const std::size_t step = std::min(end + kOpenShareStep, count); end < step; ++end)
                in_share += jobs_[end].length;
        }
        shares[used++] = {end, desk_.opens.offer({{}, std::span(jobs_).subspan(begin, end - begin)})};
    }
    std::size_t begin = 0;
    for (const Share& share : std::span(shares).first(used)) {
        board_.finish(desk_, desk_.opens, share.task, device_.aead());
        settle_range(begin, share.end, outlet);
        begin = share.end;
    }
}

// In the order of arrival, session by session and train by train.
void Worker::settle_range(std::size_t begin, std::size_t end, Outlet& outlet) noexcept {
    for (std::size_t next; begin < end; begin = next) {
        next = begin + 1;
        while (next < end && arrivals_of_[next].session == arrivals_of_[begin].session &&
               arrivals_of_[next].train == arrivals_of_[begin].train)
            ++next;
        settle(std::span(jobs_).subspan(begin, next - begin), arrivals_of_[begin], outlet);
    }
}

// Messages of one session that came in one train.
void Worker::settle(std::span<aead::OpenJob> jobs, const Arrival& arrival, Outlet& outlet) noexcept {
    Session& session = *arrival.session;
    Peer& peer = *session.peer;
    std::uint64_t bytes = 0;
    bool data = false;
    {
        const std::lock_guard hold(session.lock);
        for (aead::OpenJob& job : jobs) {
            if (!job.authentic) {
                counters_.add(Counter::bad_tag);
            } else if (!session.window.accept(job.counter)) {
                counters_.add(Counter::replayed);  // twice in one batch
                job.authentic = false;
            } else {
                bytes += job.length + kDataOverheadBytes;
                data |= job.length > 0;
            }
        }
    }
    if (bytes == 0) return;
    peer.receive_bytes.fetch_add(bytes, std::memory_order_relaxed);
    const ArrivingTrain& train = arriving_trains_[arrival.train];
    heard_from(peer, session, train.from, data);
    if (gate_.active() && jobs.size() > 1 && gate_.worth_expecting()) expect(jobs);
    for (const aead::OpenJob& job : jobs) {
        if (job.authentic && job.length > 0) deliver(peer, {job.sealed, job.length}, train.ecn, outlet);
    }
    if (peer.staged_by.load(std::memory_order_relaxed) & (std::uint32_t{1} << id_))
        release_staged(peer, outlet);
}

// What the policy will need for these, asked for at once instead of one after the other.
void Worker::expect(std::span<const aead::OpenJob> jobs) noexcept {
    std::array<InnerPacket, 64> packets;
    std::size_t count = 0;
    for (const aead::OpenJob& job : jobs) {
        if (!job.authentic || count == packets.size()) continue;
        if (const auto packet = InnerPacket::parse({job.sealed, job.length})) packets[count++] = *packet;
    }
    gate_.expect(policy::Direction::in, std::span(packets).first(count));
}

// Authenticated messages came: the peer lives, and it is where they came from.
void Worker::heard_from(Peer& peer, Session& session, const Endpoint& from, bool data) noexcept {
    peer.last_received.set(now_);
    peer.unanswered_sent.clear();
    if (data) peer.unanswered_received.set_if_clear(now_);
    bool current = false;
    {
        const std::lock_guard hold(peer.lock);
        if (!(peer.endpoint == from) && !peer.follow(from, now_)) counters_.add(Counter::endpoint_held);
        current = peer.current == &session;
    }
    if (!session.confirmed.load(std::memory_order_relaxed)) {
        session.confirmed.store(true, std::memory_order_release);
        ask(peer, Attention::confirmed);
    }
    // Not for what was still on its way under the old keys: it would use up the new session's turn.
    if (current && session.due_for_rekey_on_receive(now_) &&
        !peer.lastminute_requested.exchange(true, std::memory_order_relaxed))
        want_handshake(peer);
}

// An authentic message's content: whose is it, may it be, and on to the TUN device. What follows the inner
// packet's own length is padding.
void Worker::deliver(Peer& peer, std::span<std::byte> plain, std::uint8_t outer_ecn,
                     Outlet& outlet) noexcept {
    auto packet = InnerPacket::parse(plain);
    if (!packet) return counters_.add(Counter::inner_malformed);
    // Longest match over all peers: a peer with a /24 does not speak for a /32 in it that belongs to another.
    if (owner_of_source(*packet) != &peer) return counters_.add(Counter::inner_source);
    // RFC 6040, section 4.2.
    constexpr std::uint8_t kNotCapable = 0, kCapable1 = 1, kCapable0 = 2, kCongestionExperienced = 3;
    if (outer_ecn == kCongestionExperienced) {
        if (packet->ecn() == kNotCapable) return counters_.add(Counter::inner_ecn);
        if (packet->ecn() != kCongestionExperienced) packet->set_ecn(kCongestionExperienced);
    } else if (outer_ecn == kCapable1 && packet->ecn() == kCapable0) {
        packet->set_ecn(kCapable1);
    }
    if (gate_.active() && !admit(policy::Direction::in, peer, *packet, 1, outlet)) return;
    coalescer_.add(*packet, outlet);
}

// Packets of a train mostly have one source, and the lookup is the same for all of them.
const Peer* Worker::owner_of_source(const InnerPacket& packet) noexcept {
    SourceMemo& memo = source_memo_;
    if (memo.owner && memo.v6 == packet.v6 &&
        std::memcmp(memo.address.data(), packet.source(), packet.address_bytes()) == 0)
        return memo.owner;
    memo.owner = snapshot_->allowed_ips.find_source(packet);
    memo.v6 = packet.v6;
    std::memcpy(memo.address.data(), packet.source(), packet.address_bytes());
    return memo.owner;
}

void Worker::flush(Outlet& outlet) noexcept {
    open_arrivals(outlet);
    coalescer_.flush(outlet);
    depart(outlet);
    emit_departures(0, outlet);
}

}  // namespace vern
