// Worker: from the TUN device to the underlay.
#include <algorithm>
#include <cstring>

#include "dataplane/core/worker.h"

namespace vern {

Worker::Worker(Device& device, unsigned id, const Options& options)
    : device_(device),
      id_(id),
      options_(options),
      board_(device.board()),
      desk_(board_.desk(id)),
      scratch_(new std::byte[kTrainBytesMax]),
      coalescer_(options.coalesce_tcp, options.coalesce_udp),
      gate_(id, counters_, {this, &source_serial}),
      answer_buffers_(new std::byte[kAnswersPerTurn * policy::kRejectBytesMax]) {
    staged_peers_.reserve(Staging::kPeersMax);
}

void Worker::begin(Instant now) noexcept {
    now_ = std::max(now_, now);
    snapshot_ = &device_.snapshot();
    source_memo_.owner = nullptr;
    const policy::Policy* policy = device_.policy();  // before the tables: they are there when it is
    gate_.begin(policy, device_.policy_tables(), now_);
    answers_ = 0;
    if (snapshot_->generation == generation_) return;
    generation_ = snapshot_->generation;
    if (staging_.empty()) return;
    staging_.list(staged_peers_);
    for (const std::uint64_t serial : staged_peers_) {
        if (!snapshot_->find(serial)) counters_.add(Counter::staged_given_up, staging_.drop(serial));
    }
}

void Worker::from_tun(const TunTrain& train, Outlet& outlet) noexcept {
    const auto packet = InnerPacket::parse(train.packet);
    if (!packet) return counters_.add(Counter::tun_malformed);
    const auto plan = Segmenter::plan(*packet, train.header);
    if (!plan) return counters_.add(Counter::tun_gso);
    if (device_.loops().is_own(*packet)) return counters_.add(Counter::tun_loop);
    Peer* peer = snapshot_->allowed_ips.find_destination(*packet);
    if (!peer) return counters_.add(Counter::tun_no_route);
    if (gate_.active() && !admit_out(*peer, *packet, *plan, outlet)) return;
    // What waits for this peer goes first, or the flow would be out of order.
    if (!staging_.empty() && staging_.has(peer->serial)) release_staged(*peer, outlet);
    if (!send_packet(*peer, *packet, *plan, Keep::turn, outlet)) stage(*peer, train);
}

// False: there is no session to send it with.
bool Worker::send_packet(Peer& peer, const InnerPacket& packet, const Segmenter& plan, Keep keep,
                         Outlet& outlet) noexcept {
    Endpoint to = departing_.to;
    Session* session = departing_.peer == &peer ? departing_.session : session_for(peer, to);
    if (!session) return false;
    for (std::size_t i = 0; i < plan.count(); ++i) {
        std::byte* plain = make_room(peer, *session, to, packet.ecn(), padded(plan.size(i)), outlet);
        if (!plain) break;  // counted there; what is left of a superpacket would be lost as well
        write_packet(plan, i, plain, keep);
    }
    return true;
}

// As the plaintext of the message that has just been made room for: whole if it is short, if it has padding,
// which is not to be read behind it, or if it may not stay where it is.
void Worker::write_packet(const Segmenter& plan, std::size_t i, std::byte* plain, Keep keep) noexcept {
    Departing::Message& message = departing_.messages[departing_.count - 1];
    const std::size_t bytes = plan.size(i);
    if (bytes == message.bytes && bytes > kShortBytes && keep == Keep::turn) {
        const Segmenter::Parts parts = plan.write_front(i, plain);
        message.front = static_cast<std::uint32_t>(parts.front);
        message.rest = parts.front < bytes ? parts.rest : nullptr;
        return;
    }
    plan.write(i, plain);
    std::memset(plain + bytes, 0, message.bytes - bytes);
    message.rest = nullptr;
}

// To a multiple of 16, but never over the MTU: the far side would have to fragment what fits here. A packet
// above the MTU (it shrank meanwhile) is padded as its last MTU-sized part would be.
std::size_t Worker::padded(std::size_t bytes) const noexcept {
    const std::size_t mtu = device_.mtu();
    const std::size_t last = mtu > 0 && bytes > mtu ? bytes % mtu : bytes;
    std::size_t with_padding = (last + kPaddingMultiple - 1) / kPaddingMultiple * kPaddingMultiple;
    if (mtu > 0) with_padding = std::min(with_padding, std::max(mtu, last));
    return bytes - last + with_padding;
}

// Where the next message's plaintext goes, in a train that it may join. Nothing joins behind a message that
// was shorter than the first, and a longer one begins a train of its own. nullptr: given up, and counted.
std::byte* Worker::make_room(Peer& peer, Session& session, const Endpoint& to, std::uint8_t tos,
                             std::size_t padded_bytes, Outlet& outlet) noexcept {
    const std::size_t message_bytes = padded_bytes + kDataOverheadBytes;
    if (message_bytes > kSendBytesMax) {
        counters_.add(Counter::tun_too_large);
        return nullptr;
    }
    Departing& train = departing_;
    if (train.peer && (train.peer != &peer || train.session != &session || train.tos != tos ||
                       message_bytes > train.segment_bytes || !train.open ||
                       train.used + message_bytes > kSendBytesMax || train.count == kSendSegmentsMax))
        depart(outlet);
    if (!train.peer) {
        train.buffer = take_buffer(outlet);
        if (train.buffer.empty()) {
            counters_.add(Counter::no_send_buffer);
            return nullptr;
        }
        train.peer = &peer;
        train.session = &session;
        train.to = to;
        train.tos = tos;
        train.segment_bytes = message_bytes;
    }
    std::byte* plain = train.buffer.data() + train.used + kDataHeaderBytes;
    train.used += message_bytes;
    train.messages[train.count++].bytes = static_cast<std::uint32_t>(padded_bytes);
    train.open = message_bytes == train.segment_bytes;
    return plain;
}

// What waits for its seal may hold the buffers that are missing.
std::span<std::byte> Worker::take_buffer(Outlet& outlet) noexcept {
    if (!spare_buffer_.empty()) return std::exchange(spare_buffer_, {});
    const std::span<std::byte> buffer = outlet.send_buffer();
    if (!buffer.empty() || departures_begin_ == departures_end_) return buffer;
    emit_departures(0, outlet);
    return outlet.send_buffer();
}

// Seals the train that was being filled and sends it; or, when somebody is there to help, has it sealed and
// sends it when its turn comes.
void Worker::depart(Outlet& outlet) noexcept {
    Departing& train = departing_;
    if (!train.peer) return;
    Peer& peer = *std::exchange(train.peer, nullptr);
    const std::size_t count = std::exchange(train.count, 0);
    const std::size_t used = std::exchange(train.used, 0);
    std::uint64_t counter = 0;
    if (!train.session->reserve(count, counter)) {
        counters_.add(Counter::session_exhausted, count);
        spare_buffer_ = train.buffer;
        return want_handshake(peer);
    }
    Departure& departure = departures_[departures_end_ % kDeparturesMax];
    departure.peer = &peer;
    departure.session = train.session;
    departure.to = train.to;
    departure.train = train.buffer.first(used);
    departure.segment_bytes = train.segment_bytes;
    departure.tos = train.tos;
    MessageDataHeader header;
    header.header.type = static_cast<std::uint32_t>(MessageType::data);
    header.receiver_index = train.session->remote_index;
    std::byte* at = train.buffer.data();
    for (std::size_t i = 0; i < count; ++i) {
        header.counter = counter + i;
        std::memcpy(at, &header, sizeof header);
        std::byte* plain = at + sizeof header;
        const Departing::Message& message = train.messages[i];
        departure.jobs[i] = {.key = train.session->sending.span().data(),
                             .counter = counter + i,
                             .plain = message.rest ? message.rest : plain,
                             .sealed = plain,
                             .length = message.bytes,
                             .front = message.rest ? message.front : 0};
        at = plain + message.bytes + kTagBytes;
    }
    const std::span jobs = std::span(departure.jobs).first(count);
    const unsigned helpers = board_.attending();
    if (helpers == 0 || used < options_.seal_share_bytes) {
        device_.aead().seal(jobs);
        departure.task.reset();
        if (departures_begin_ == departures_end_) return emit(departure, outlet);
    } else {
        departure.task = desk_.seals.offer({jobs, {}});
    }
    ++departures_end_;
    // What the helpers have in hand and one more for each: of the rest nobody would make use while this
    // worker fills the next train.
    if (desk_.seals.untaken() > helpers) desk_.run_own(desk_.seals, device_.aead());
    emit_departures(kDeparturesMax - 1, outlet);
}

// Sends what is ready, from the oldest on, and does not return before at most `keep` are left.
void Worker::emit_departures(std::size_t keep, Outlet& outlet) noexcept {
    while (departures_begin_ != departures_end_) {
        const Departure& oldest = departures_[departures_begin_ % kDeparturesMax];
        if (oldest.task) {
            if (departures_end_ - departures_begin_ > keep)
                board_.finish(desk_, desk_.seals, *oldest.task, device_.aead());
            else if (!desk_.seals.done(*oldest.task))
                return;
        }
        ++departures_begin_;
        emit(oldest, outlet);
    }
}

void Worker::emit(const Departure& departure, Outlet& outlet) noexcept {
    Peer& peer = *departure.peer;
    peer.transmit_bytes.fetch_add(departure.train.size(), std::memory_order_relaxed);
    peer.last_sent.set(now_);
    peer.unanswered_received.clear();
    peer.unanswered_sent.set_if_clear(now_);
    device_.loops().sent(departure.to, departure.train);
    outlet.send(departure.to, departure.train, departure.segment_bytes, departure.tos);
    if (departure.session->due_for_rekey_on_send(now_)) want_handshake(peer);
}

// The session to send with, and where to; nullptr when there is none, and then a handshake has been asked
// for.
Session* Worker::session_for(Peer& peer, Endpoint& to) noexcept {
    Session* session;
    {
        const std::lock_guard hold(peer.lock);
        session =
            peer.next && peer.next->confirmed.load(std::memory_order_acquire) ? peer.next : peer.current;
        to = peer.endpoint;
    }
    if (session && session->usable_for_sending(now_)) return session;
    if (to.known()) want_handshake(peer);
    return nullptr;
}

void Worker::want_handshake(Peer& peer) noexcept {
    if (now_ >= peer.no_initiation_before.get()) ask(peer, Attention::initiate);
}

void Worker::ask(Peer& peer, Attention what) noexcept { requested_ |= device_.request(id_, peer, what); }

void Worker::stage(Peer& peer, const TunTrain& train) noexcept {
    {
        const std::lock_guard hold(peer.lock);
        if (!peer.endpoint.known()) return counters_.add(Counter::tun_no_endpoint);
    }
    note_staged();
    if (const std::size_t lost = staging_.push(peer.serial, train))
        counters_.add(Counter::staged_overflow, lost);
    // No room: nothing waits here, and nobody must count on it that something will be sent.
    if (!staging_.has(peer.serial)) return;
    peer.last_staged.set(now_);
    peer.staged_by.fetch_or(std::uint32_t{1} << id_, std::memory_order_acq_rel);
    // The session may have come between the look and the note; the slow path's wake-up would then have missed
    // this worker.
    if (peer.unreachable.load(std::memory_order_relaxed)) return;
    const std::lock_guard hold(peer.lock);
    if (peer.current && peer.current->usable_for_sending(now_)) device_.wake_workers(std::uint32_t{1} << id_);
}

void Worker::release_staged(Peer& peer, Outlet& outlet) noexcept {
    Endpoint to;
    if (!session_for(peer, to)) return;
    peer.staged_by.fetch_and(~(std::uint32_t{1} << id_), std::memory_order_acq_rel);
    TunTrain train;
    bool sent = false;
    while (staging_.pop(peer.serial, {scratch_.get(), kTrainBytesMax}, train)) {
        const auto packet = InnerPacket::parse(train.packet);
        const auto plan = packet ? Segmenter::plan(*packet, train.header) : std::nullopt;
        // The prefix may have moved to another peer meanwhile, and a session may end at its message limit.
        const bool ours = plan && snapshot_->allowed_ips.find_destination(*packet) == &peer;
        // And so may the policy have changed.
        if (ours && gate_.active() && !staged_still_valid(peer) && !admit_out(peer, *packet, *plan, outlet))
            continue;
        // The next one is put together where this one is.
        if (ours && send_packet(peer, *packet, *plan, Keep::call, outlet))
            sent = true;
        else
            counters_.add(Counter::staged_given_up);
    }
    if (!sent) ask(peer, Attention::unused);
}

void Worker::flush_staged(Outlet& outlet) noexcept {
    staging_.list(staged_peers_);
    for (const std::uint64_t serial : staged_peers_) {
        Peer* peer = snapshot_->find(serial);
        if (!peer) {
            counters_.add(Counter::staged_given_up, staging_.drop(serial));
        } else if (peer->unreachable.load(std::memory_order_relaxed)) {
            peer->staged_by.fetch_and(~(std::uint32_t{1} << id_), std::memory_order_acq_rel);
            counters_.add(Counter::staged_given_up, staging_.drop(serial));
        } else {
            release_staged(*peer, outlet);
        }
    }
}

}  // namespace vern
