#include "lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "host.h"
#include "world.h"

namespace vern::sim {
namespace {

constexpr std::size_t kTurnDatagramsMax = 64;
constexpr std::size_t kTurnPacketsMax = 32;
constexpr std::size_t kTurnBytesMax = 512 << 10;
constexpr std::size_t kSocketQueueMax = 1280;       // datagrams: a socket's receive buffer
constexpr std::size_t kReceiveBufferBytes = 60000;  // what is larger the kernel cuts, and the engine drops
constexpr Nanos kClockSkewMax = kMillisecond;
constexpr std::size_t kStagedMax = 128 * kHostsMax;

bool is_handshake(std::span<const std::byte> bytes) noexcept {
    if (bytes.size() < 4) return false;
    std::array<std::uint8_t, 4> type;
    std::memcpy(type.data(), bytes.data(), 4);
    if (type[1] != 0 || type[2] != 0 || type[3] != 0) return false;
    return (type[0] == 1 && bytes.size() == 148) || (type[0] == 2 && bytes.size() == 92) ||
           (type[0] == 3 && bytes.size() == 64);
}

}  // namespace

Lane::Lane(Host& host, unsigned id)
    : host_(host),
      world_(host.world()),
      id_(id),
      worker_(host.device(), id, {.seal_share_bytes = 1, .open_share_bytes = 1}),
      buffers_(kHeldBuffersMax * kTrainBytesMax) {
    for (std::size_t i = kHeldBuffersMax; i-- > 0;)
        free_buffers_.push_back(buffers_.data() + i * kTrainBytesMax);
}

void Lane::receive(Datagram datagram) {
    if (arrived_.size() >= kSocketQueueMax) return world_.coverage.add(Fault::socket_overflow);
    arrived_.push_back(std::move(datagram));
    host_.schedule_turn(*this);
}

void Lane::take(StackPacket packet) {
    from_stack_.push_back(std::move(packet));
    host_.schedule_turn(*this);
}

void Lane::turn() {
    if (in_turn_ || !has_work() || world_.failed()) return;
    in_turn_ = true;
    ++turns_;
    const Observing watch(*this);
    world_.trace.add(world_.now(), Event::turn, host_.id(), id_, arrived_.size() + from_stack_.size());
    owners_ = host_.owners_now();
    policy_ = world_.policies.of(host_);
    mtu_before_ = host_.device().mtu();
    Nanos clock = host_.boot();
    if (world_.rng.below(8) == 0) {
        clock -= world_.rng.range(0, kClockSkewMax);  // another core's idea of now
        world_.coverage.add(Fault::clock_skew);
    }
    if (!world_.sabotaged(Sabotage::stop_worker_clock) || clock_ == 0) clock_ = std::max(clock_, clock);
    if (world_.rng.chance(world_.profile.helpers)) helpers_ = static_cast<unsigned>(world_.rng.range(1, 3));
    for (unsigned i = 0; i < helpers_; ++i) host_.device().board().attend();
    worker_.begin(instant(clock_));
    if (std::exchange(staged_may_go_, false)) worker_.flush_staged(*this);
    if (world_.rng.chance(0.5)) {
        feed_underlay();
        feed_stack();
    } else {
        feed_stack();
        feed_underlay();
    }
    worker_.flush(*this);
    end_of_help();
    hand_over_written();
    in_turn_ = false;
    ++turns_;
    if (!world_.failed()) check_accounts(false);
    host_.turn_ended(worker_.take_request());
    if (has_work()) host_.schedule_turn(*this);
}

void Lane::feed_underlay() {
    entered_.clear();
    arena_.clear();
    std::size_t bytes = 0, count = 0;
    const auto most = static_cast<std::size_t>(world_.rng.range(1, kTurnDatagramsMax));
    while (count < std::min(most, arrived_.size()) && bytes + arrived_[count].bytes.size() <= kTurnBytesMax)
        bytes += arrived_[count++].bytes.size();
    arena_.reserve(bytes);
    std::vector<std::uint8_t> ecn;
    for (std::size_t i = 0; i < count; ++i) {
        ecn.push_back(arrived_.front().ecn);
        enter(arrived_.front());
        arrived_.pop_front();
        if (ecn.size() > entered_.size()) ecn.pop_back();
    }
    // What the kernel's GRO does: datagrams of one sender and one size become a train, a shorter one ends it.
    const bool group = world_.rng.chance(0.7);
    for (std::size_t begin = 0, end; begin < entered_.size(); begin = end) {
        const Entered& first = entered_[begin];
        std::size_t total = first.bytes;
        for (end = begin + 1; group && end < entered_.size() && end - begin < kSendSegmentsMax; ++end) {
            const Entered& next = entered_[end];
            if (entered_[end - 1].bytes < first.bytes || next.bytes > first.bytes || next.bytes == 0 ||
                !(next.from == first.from) || ecn[end] != ecn[begin] || total + next.bytes > kTrainBytesMax)
                break;
            total += next.bytes;
        }
        if (end - begin > 1) world_.coverage.add(Fault::received_train);
        UnderlayTrain train;
        train.bytes = std::span(arena_).subspan(first.offset, total);
        train.segment_bytes = first.bytes;
        train.from.address = first.from.ip;
        train.from.port = first.from.port;
        train.from.source = host_.own_address();
        train.from.interface_index = 1;
        train.ecn = ecn[begin];
        const std::uint64_t refused_before = worker_.counters()[Counter::handshake_queue_full];
        for (std::size_t i = begin; i < end; ++i) {
            const Entered& one = entered_[i];
            if (first.from.port != 0 && is_handshake(std::span(arena_).subspan(one.offset, one.bytes))) {
                ++handshake_messages_;
                handshakes.push_back({one.wire, one.from});
            }
        }
        in_datagrams_ += end - begin;
        if (world_.sabotaged(Sabotage::forget_datagram) && world_.rng.chance(0.1)) continue;
        worker_.from_underlay(train, *this);
        for (std::uint64_t i = refused_before; i < worker_.counters()[Counter::handshake_queue_full]; ++i)
            handshakes.pop_back();
    }
}

void Lane::enter(Datagram& datagram) {
    if (datagram.bytes.size() > kReceiveBufferBytes) {
        worker_.counters().add(Counter::underlay_truncated);
        return;
    }
    world_.trace.add(world_.now(), Event::arrived, host_.id(), datagram.wire, datagram.bytes.size());
    entered_.push_back({arena_.size(), datagram.bytes.size(), datagram.wire, datagram.from});
    arena_.insert(arena_.end(), datagram.bytes.begin(), datagram.bytes.end());
}

void Lane::feed_stack() {
    taken_.clear();
    const auto most = static_cast<std::size_t>(world_.rng.range(1, kTurnPacketsMax));
    while (!from_stack_.empty() && taken_.size() < most) {
        taken_.push_back(std::move(from_stack_.front()));
        from_stack_.pop_front();
    }
    for (StackPacket& packet : taken_) {
        in_packets_ += packet.segments;
        if (packet.segments > 1) whole_packets_only_ = false;
        worker_.from_tun({packet.header, packet.bytes}, *this);
    }
}

// --- Outlet
// ------------------------------------------------------------------------------------------------------------------------------

void Lane::preempt() {
    if (!in_turn_) return;
    host_.maybe_preempt(*this);
    help();
}

void Lane::help() {
    if (helpers_ == 0 || helping_ || world_.failed()) return;
    AeadBoard::Desk& desk = host_.device().board().desk(id_);
    while (world_.rng.chance(0.6)) {
        AeadLine& line = world_.rng.chance(0.5) ? desk.seals : desk.opens;
        if (!taken_by_helpers_.empty() && world_.rng.chance(0.5)) {
            finish_one();
        } else if (taken_by_helpers_.size() < helpers_) {
            if (const auto task = line.take()) taken_by_helpers_.push_back({&line, *task});
        }
    }
}

// In any order: helpers do not wait for each other.
void Lane::finish_one() {
    helping_ = true;
    const auto at =
        taken_by_helpers_.begin() + static_cast<std::ptrdiff_t>(world_.rng.below(taken_by_helpers_.size()));
    const Taken taken = *at;
    taken_by_helpers_.erase(at);
    const bool seal = taken.line == &host_.device().board().desk(id_).seals;
    world_.coverage.add(seal ? Fault::sealed_by_helper : Fault::opened_by_helper);
    taken.line->run(taken.task, kObservedAead);
    helping_ = false;
}

void Lane::wait_for_helper() {
    if (taken_by_helpers_.empty()) {
        world_.fail("hand-over",
                    fmt::format("host {} worker {} waits for a task that nobody has", host_.id(), id_));
        std::abort();
    }
    world_.coverage.add(Fault::waited_for_helper);
    finish_one();
}

// All that was offered is done: what it points to may go.
void Lane::end_of_help() {
    const AeadBoard::Desk& desk = host_.device().board().desk(id_);
    if (!taken_by_helpers_.empty() || desk.seals.untaken() + desk.opens.untaken() > 0)
        world_.fail("hand-over", fmt::format("host {} worker {}: a task outlives its turn", host_.id(), id_));
    for (; helpers_ > 0; --helpers_) host_.device().board().leave();
}

std::span<std::byte> Lane::send_buffer() noexcept {
    preempt();
    if (world_.rng.chance(world_.profile.engine_faults)) {
        world_.coverage.add(Fault::no_send_buffer);
        return {};
    }
    if (free_buffers_.empty()) {
        world_.fail("train",
                    fmt::format("host {} worker {} holds more buffers than it may", host_.id(), id_));
        return {};
    }
    std::byte* const buffer = free_buffers_.back();
    free_buffers_.pop_back();
    return {buffer, kTrainBytesMax};
}

void Lane::send(const Endpoint& to, std::span<std::byte> train, std::size_t segment_bytes,
                std::uint8_t tos) noexcept {
    const auto bad = [&](std::string_view what) {
        world_.fail("train", fmt::format("host {} worker {}: {}", host_.id(), id_, what));
    };
    const std::size_t count = segment_bytes == 0 ? 0 : (train.size() + segment_bytes - 1) / segment_bytes;
    if (train.size() > kSendBytesMax || count > kSendSegmentsMax)
        return bad("a train larger than a send can take");
    std::vector<Sealed>& all_sealed = sealed_in(train.data());
    if (count != all_sealed.size() ||
        static_cast<std::size_t>(train.data() - buffers_.data()) % kTrainBytesMax != 0)
        return bad("a train that is not what was sealed");
    // A train may leave after the next one, as if owners did not wait for the oldest.
    const bool overtaken =
        world_.sabotaged(Sabotage::swap_trains) && overtaken_.empty() && world_.rng.chance(0.05);
    const auto behind = overtaken ? std::vector<OnItsWay>() : std::exchange(overtaken_, {});
    if (count > 1) world_.coverage.add(Fault::sent_train);
    const bool refused = world_.rng.chance(world_.profile.engine_faults);
    if (refused) {
        worker_.counters().add(Counter::send_failed, count);
        world_.coverage.add(Fault::send_refused);
    }
    for (std::size_t i = 0; i < count && !world_.failed(); ++i) {
        const auto message = std::as_const(train).subspan(
            i * segment_bytes, std::min(segment_bytes, train.size() - i * segment_bytes));
        const Sealed& sealed = all_sealed[i];
        MessageDataHeader header;
        std::memcpy(&header, message.data(), sizeof header);
        if (message.size() != sealed.message_bytes || header.counter != sealed.counter ||
            header.header.type != 4)
            return bad("a message that is not what was sealed");
        if (host_.owner_of_index(header.receiver_index) != sealed.peer)
            return bad("a message sealed for one peer goes to another's session");
        if ((tos & 3) != sealed.ecn || tos > 3)
            return bad(fmt::format("outer TOS {:#x} over inner ECN {}", tos, sealed.ecn));
        ++out_messages_;
        const std::uint64_t wire = world_.ledger.datagram_sent(host_.id(), sealed.peer, message);
        if (overtaken)
            overtaken_.push_back({place_of(to), {message.begin(), message.end()}, tos, wire});
        else if (!refused)
            world_.network.transmit(host_.id(), place_of(to), message, tos, wire);
        if (world_.sabotaged(Sabotage::reuse_counter) && world_.rng.chance(0.05)) {
            std::vector<std::byte> other(message.begin(), message.end());
            other.back() ^= std::byte{1};
            world_.ledger.datagram_sent(host_.id(), sealed.peer, other);
        }
    }
    for (const OnItsWay& one : behind)
        world_.network.transmit(host_.id(), one.to, one.bytes, one.tos, one.wire);
    all_sealed.clear();
    free_buffers_.push_back(train.data());
    preempt();
}

void Lane::write(const VnetHeader& header, std::span<const iovec> pieces) noexcept {
    if (pieces.empty() || pieces.size() > kWritePiecesMax)
        world_.fail("train", fmt::format("a write of {} pieces", pieces.size()));
    written_.push_back({header, pieces_.size(), pieces.size()});
    pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
    if (header.gso_type != VnetHeader::kGsoNone) world_.coverage.add(Fault::coalesced);
    preempt();
}

// As engines do: after the worker's flush, when all pieces must still be in place.
void Lane::hand_over_written() {
    const auto owner_of = [this](const Found& found) {
        const HostId owner = owners_->of(found.from, found.v6);
        if (policy_ && !policy_->passes(true, owner, found, clock_))
            world_.fail("policy",
                        fmt::format("host {} worker {}: delivers from host {} what its policy denies",
                                    host_.id(), id_, owner));
        return owner;
    };
    for (const Written& write : written_) {
        whole_.clear();
        for (std::size_t i = 0; i < write.pieces; ++i) {
            const iovec& piece = pieces_[write.first_piece + i];
            const auto* const bytes = static_cast<const std::byte*>(piece.iov_base);
            whole_.insert(whole_.end(), bytes, bytes + piece.iov_len);
        }
        delivered_ += write.pieces;
        if (world_.rng.chance(world_.profile.engine_faults)) {
            worker_.counters().add(Counter::tun_write_failed);
            world_.coverage.add(Fault::tun_write_refused);
            continue;
        }
        if (world_.sabotaged(Sabotage::alter_plaintext) && world_.rng.chance(0.05))
            whole_.back() ^= std::byte{1};
        if (world_.sabotaged(Sabotage::swap_order) && !held_back_ && world_.rng.chance(0.05)) {
            held_back_ = whole_;
            held_back_header_ = write.header;
            continue;
        }
        const int times = world_.sabotaged(Sabotage::deliver_twice) && world_.rng.chance(0.05) ? 2 : 1;
        for (int i = 0; i < times; ++i) {
            if (world_.failed()) break;
            const std::size_t found = world_.ledger.delivered(host_, whole_, write.header, owner_of);
            if (!world_.failed() && found != write.pieces)
                world_.fail("accounts", fmt::format("host {} writes {} packets made of {} pieces", host_.id(),
                                                    found, write.pieces));
        }
        if (held_back_ && !world_.failed()) {
            const auto packet = *std::exchange(held_back_, std::nullopt);
            world_.ledger.delivered(host_, packet, held_back_header_, owner_of);
        }
        if (world_.failed()) break;
    }
    written_.clear();
    pieces_.clear();
}

// --- AeadObserver
// ------------------------------------------------------------------------------------------------------------------------

void Lane::before_seal(std::span<const aead::SealJob> jobs) noexcept {
    preempt();
    sealed_in(jobs.front().sealed).clear();
    for (const aead::SealJob& job : jobs) {
        if (world_.failed()) return;
        check_sealed(job);
    }
}

void Lane::check_sealed(const aead::SealJob& job) {
    const auto bad = [&](std::string_view invariant, std::string_view what) {
        world_.fail(invariant, fmt::format("host {} worker {}: {}", host_.id(), id_, what));
    };
    std::vector<std::byte> plain(job.sealed, job.sealed + job.front);
    plain.insert(plain.end(), job.plain, job.plain + (job.length - job.front));
    if (world_.sabotaged(Sabotage::skip_padding)) plain.pop_back();
    if (plain.size() < 20) return bad("padding", "a worker seals a message with no packet in it");
    const bool v6 = std::to_integer<unsigned>(plain[0]) >> 4 == 6;
    const std::size_t at = v6 ? 4 : 2;
    const std::size_t inner = (v6 ? 40U : 0U) + (std::to_integer<std::size_t>(plain[at]) << 8) +
                              std::to_integer<std::size_t>(plain[at + 1]);
    if (inner > plain.size()) return bad("padding", "a message shorter than the packet in it");

    // Padded to 16, never over the MTU; the MTU may have changed while the turn lasted.
    const std::uint32_t mtu = host_.device().mtu();
    if (plain.size() - inner >= kPaddingMultiple) return bad("padding", "more padding than needed");
    if (!std::all_of(plain.begin() + static_cast<std::ptrdiff_t>(inner), plain.end(),
                     [](std::byte b) { return b == std::byte{0}; }))
        return bad("padding", "padding that is not zero");
    if (mtu == mtu_before_ && inner <= mtu) {
        if (plain.size() > mtu)
            return bad("padding",
                       fmt::format("{} bytes with padding are over the MTU of {}", plain.size(), mtu));
        if (plain.size() % kPaddingMultiple != 0 && plain.size() != mtu)
            return bad("padding", fmt::format("{} bytes with padding", plain.size()));
    }

    Found found;
    PacketRecord* record = world_.ledger.about_to_seal(host_, std::span(plain).first(inner), found);
    if (!record) return;
    const Host::KeyUse* use = host_.key_use(job.key);
    if (!use) return bad("keys", "seals with a key of no session");
    if (host_.boot() - kClockSkewMax - use->since >= nanos(kRejectAfterTime))
        return bad("keys", "seals with a key older than 180 s");
    if (owners_->of(found.to, found.v6) != use->peer)
        return bad("destination",
                   fmt::format("flow {}: sealed for host {}, but its destination belongs to {}", record->flow,
                               use->peer, owners_->of(found.to, found.v6)));
    if (policy_ && !policy_->passes(false, use->peer, found, clock_))
        return bad("policy", fmt::format("flow {}: sealed for host {}, and the policy denies it",
                                         record->flow, use->peer));
    if (record->sent_to != kNobody)
        return bad("once",
                   fmt::format("flow {}: sequence {} is sealed twice", record->flow, record->sequence));
    record->sent_to = use->peer;
    sealed_in(job.sealed).push_back({use->peer, found.ecn, job.counter, job.length + kDataOverheadBytes});
    // A peer that holds keys and misuses them: what it sends is authentic and malformed.
    if (world_.operators.active() && world_.profile.may(Fault::malformed_peer) && world_.rng.chance(0.005)) {
        std::byte& first = job.front > 0 ? *job.sealed : const_cast<std::byte&>(*job.plain);
        first &= std::byte{0x0f};
        record->tampered = true;
        world_.coverage.add(Fault::malformed_peer);
    }
}

void Lane::before_open() noexcept { preempt(); }

void Lane::after_open(std::span<aead::OpenJob> jobs) noexcept {
    for (aead::OpenJob& job : jobs) {
        if (world_.sabotaged(Sabotage::accept_everything)) job.authentic = true;
        if (job.authentic && !world_.failed()) opened(job);
    }
}

void Lane::opened(const aead::OpenJob& job) {
    const auto bad = [&](std::string_view invariant, std::string_view what) {
        world_.fail(invariant, fmt::format("host {} worker {}: {}", host_.id(), id_, what));
    };
    const auto offset = static_cast<std::size_t>(job.sealed - arena_.data()) - kDataHeaderBytes;
    const auto at = std::lower_bound(entered_.begin(), entered_.end(), offset,
                                     [](const Entered& e, std::size_t o) { return e.offset + e.bytes <= o; });
    WireRecord* record = at == entered_.end() ? nullptr : world_.ledger.wire(at->wire);
    if (!record) return bad("forgery", "a message that no host sent is authentic");
    if (record->meant_for != host_.id())
        return bad("forgery", fmt::format("a message for host {} is authentic here", record->meant_for));
    const Host::KeyUse* use = host_.key_use(job.key);
    if (!use || use->peer != record->sender)
        return bad("keys", "opens with a key of no session with its sender");
    if (host_.boot() - kClockSkewMax - use->since >= nanos(kRejectAfterTime))
        return bad("keys", "opens with a key older than 180 s");
    if (record->accepted != 0) return;  // a replay in one batch: the window is asked again
    record->accepted = 1;
    if (job.length == 0) {
        ++keepalives_;
        ++world_.coverage.keepalives;
    }
    host_.heard_at(record->sender, at->from);
}

// --- accounts
// ----------------------------------------------------------------------------------------------------------------------------

std::size_t Lane::sum(std::initializer_list<Counter> of) const noexcept {
    std::uint64_t total = 0;
    for (const Counter counter : of) total += worker_.counters()[counter];
    return total;
}

void Lane::check_accounts(bool final) {
    using enum Counter;
    const std::uint64_t out =
        delivered_ + keepalives_ + handshake_messages_ + worker_.gate().refused(policy::Direction::in) +
        sum({underlay_empty, underlay_port, underlay_short, underlay_length, underlay_type, unknown_index,
             session_expired, replayed, bad_tag, inner_malformed, inner_source, inner_ecn});
    if (in_datagrams_ != out)
        return world_.fail(
            "accounts",
            fmt::format("host {} worker {}: {} datagrams came in, {} are accounted for (delivered {}, "
                        "keepalives {}, handshakes {})",
                        host_.id(), id_, in_datagrams_, out, delivered_, keepalives_, handshake_messages_));
    // A superpacket is counted once by some counters and by segments by others, so only plain packets can be
    // balanced.
    if (!whole_packets_only_) return;
    const std::uint64_t gone =
        out_messages_ + worker_.gate().refused(policy::Direction::out) +
        sum({tun_malformed, tun_gso, tun_no_route, tun_no_endpoint, tun_loop, tun_too_large, staged_overflow,
             staged_given_up, no_send_buffer, session_exhausted});
    if (gone > in_packets_ || in_packets_ - gone > (final ? 0 : kStagedMax))
        world_.fail(
            "accounts",
            fmt::format("host {} worker {}: {} packets came from the stack, {} were sent or counted{}",
                        host_.id(), id_, in_packets_, gone,
                        final ? ", and nothing may be staged any more" : ""));
}

}  // namespace vern::sim
