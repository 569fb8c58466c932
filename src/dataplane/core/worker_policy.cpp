// Worker: what the policy says to a packet, and the answer to one that it rejects.
#include <algorithm>

#include "dataplane/core/worker.h"

namespace vern {
namespace {

constexpr Duration kAnswerCost = std::chrono::milliseconds(10);
constexpr Duration kAnswerAllowance = 32 * kAnswerCost;  // at once
constexpr std::size_t kIcmpChecksum = 2;

// Looked up by key once a policy, and kept beside the peer. Workers that look at the same time write the
// same.
std::uint32_t policy_class(Peer& peer, const policy::Policy& policy) noexcept {
    const std::uint64_t known = peer.policy_class.load(std::memory_order_relaxed);
    if (known >> 32 == policy.generation()) return static_cast<std::uint32_t>(known);
    const std::uint32_t found = policy.class_of(peer.public_key);
    peer.policy_class.store(std::uint64_t{policy.generation()} << 32 | found, std::memory_order_relaxed);
    return found;
}

// A checksum is the transport header's own, or one of what the transport carries (a tunnel's).
bool leaves_judged(const Segmenter::Rewrites& rewrites, const policy::Transport& judged) noexcept {
    if (!rewrites.checksum) return true;
    if (judged.fragment == policy::Fragment::later) return false;
    const std::size_t begin = judged.offset;
    if (rewrites.cut && (rewrites.begin != begin || judged.protocol != rewrites.protocol ||
                         judged.fragment != policy::Fragment::none))
        return false;
    std::size_t own = 0, header = 0;
    switch (judged.protocol) {
        case policy::kTcp: own = tcp::kChecksum, header = tcp::kHeaderBytes; break;
        case policy::kUdp: own = udp::kChecksum, header = udp::kHeaderBytes; break;
        case policy::kIcmp:
        case policy::kIcmp6:  // errors are judged by all that they quote
            return rewrites.begin == begin && rewrites.at == begin + kIcmpChecksum;
        default: return rewrites.begin >= begin;  // nothing of it is judged
    }
    return rewrites.begin == begin ? rewrites.at == begin + own : rewrites.begin >= begin + header;
}

}  // namespace

std::uint64_t Worker::source_serial(const void* worker, const InnerPacket& packet) noexcept {
    const Peer* owner = static_cast<const Worker*>(worker)->snapshot_->allowed_ips.find_source(packet);
    return owner ? owner->serial : 0;
}

// `peer` carries the packet; that its source is the peer's was checked before.
bool Worker::admit(policy::Direction direction, Peer& peer, const InnerPacket& packet, std::size_t packets,
                   Outlet& outlet) noexcept {
    const policy::Verdict verdict =
        gate_.judge(direction, {peer.serial, policy_class(peer, gate_.policy()), peer.identity_until.get()},
                    packet, packets);
    if (verdict == policy::Verdict::reject) answer_rejected(direction, peer, packet, outlet);
    return verdict == policy::Verdict::pass;
}

// What is written into the packet afterwards must not change what was judged.
bool Worker::admit_out(Peer& peer, const InnerPacket& packet, const Segmenter& plan,
                       Outlet& outlet) noexcept {
    if (!admit(policy::Direction::out, peer, packet, plan.count(), outlet)) return false;
    if (leaves_judged(plan.rewrites(), gate_.transport())) return true;
    counters_.add(Counter::tun_gso);
    return false;
}

// A packet that was just admitted is about to wait.
void Worker::note_staged() noexcept {
    const Instant until = gate_.active() ? gate_.valid_until() : Instant::max();
    if (staging_.empty()) {
        staged_generation_ = policy_generation();
        staged_valid_until_ = until;
    } else {
        staged_valid_until_ = std::min(staged_valid_until_, until);
    }
}

bool Worker::staged_still_valid(const Peer& peer) const noexcept {
    return staged_generation_ == policy_generation() && now_ < staged_valid_until_ &&
           now_ < peer.identity_until.get();
}

// Back to where the packet came from: a peer's into the tunnel, the stack's to the TUN device.
void Worker::answer_rejected(policy::Direction direction, Peer& peer, const InnerPacket& packet,
                             Outlet& outlet) noexcept {
    const Instant full_at = std::max(answers_full_at_, now_) + kAnswerCost;
    if (full_at - now_ > kAnswerAllowance || answers_ == kAnswersPerTurn)
        return counters_.add(Counter::policy_reject_limited);
    const std::span<std::byte, policy::kRejectBytesMax> buffer(
        answer_buffers_.get() + answers_ * policy::kRejectBytesMax, policy::kRejectBytesMax);
    const std::size_t bytes = policy::write_reject(packet, gate_.transport(), buffer);
    if (bytes == 0) return;
    if (direction == policy::Direction::out) {
        ++answers_;  // must stay until the outlet's flush
        const iovec piece{buffer.data(), bytes};
        outlet.write(VnetHeader{}, {&piece, 1});
    } else {
        const auto answer = InnerPacket::parse(buffer.first(bytes));
        const auto plan = Segmenter::plan(*answer, VnetHeader{});
        // The next answer is written to the same buffer. No session: nobody waits for it.
        if (!send_packet(peer, *answer, *plan, Keep::call, outlet)) return;
    }
    answers_full_at_ = full_at;
    counters_.add(Counter::policy_rejected);
}

}  // namespace vern
