// Judges packets: what an established flow may send, what may begin one, and what else passes. One a worker;
// the tables behind it are shared.
//
// The order of a packet's way:
// - transport: what is it really, and is it whole; malformed, hidden or source-routed is denied
// - identity: is the peer's over, nothing passes, whatever the rules still say
// - fragments: a later one follows the verdict on the first
// - ICMP errors: related to a live flow that this peer carries, or denied; no rule opens for them, and for
//   redirects nothing does
// - flow: a live one of this peer, a step of its state machine; is the policy another one than the flow was
//   allowed by, the rules are asked again, in the direction in which it began, before this packet passes
// - rules: what begins a flow; ICMP that is neither an error nor an echo is asked for each packet
//
// The peer of a packet is who carries it: inwards the caller has checked that the source is the peer's
// (cryptokey routing) *before* it asks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/base/counters.h"
#include "dataplane/base/inner_packet.h"
#include "dataplane/base/spsc_ring.h"
#include "dataplane/policy/flow_table.h"
#include "dataplane/policy/fragment_table.h"
#include "dataplane/policy/log_budget.h"
#include "dataplane/policy/match_memo.h"
#include "dataplane/policy/policy.h"
#include "dataplane/policy/rate_table.h"
#include "dataplane/policy/transport.h"

namespace vern::policy {

inline constexpr std::size_t kLogRecordsMax = 1024;  // that a worker may have waiting
inline constexpr Duration kPickUpTime = std::chrono::seconds(60);

inline constexpr std::size_t kFlowsFarAway = std::size_t{1} << 18;  // measured: docs/performance.md

enum class Verdict : std::uint8_t { pass, drop, reject };

// The peer that carries a packet.
struct Subject {
    std::uint64_t serial = 0;
    std::uint32_t peer_class = 0;             // Policy::class_of(its key), of the policy that judges
    Instant identity_until = Instant::max();  // from then on nothing passes
};

// One decision for the audit log. Addresses are in the key: `direction` says which of them is the source.
struct LogRecord {
    Instant at{};
    FlowKey key;
    std::uint64_t peer = 0;
    std::uint32_t rule = Policy::kNoRule;
    std::uint32_t generation = 0;
    Counter reason = Counter::count;  // why it was denied; count: it was allowed
    std::uint16_t port = 0;           // as Service has it: ICMP type and code
    Direction direction = Direction::in;
    Verdict verdict = Verdict::pass;
    bool would_be = false;  // it passed, since the rule or the policy only observes
};

// What all gates share. Made with the first policy and never again: flows, tokens and fragments outlive each
// policy.
struct Tables {
    // Errors: no memory to reserve.
    static Result<std::unique_ptr<Tables>> make(std::size_t flows_max, unsigned workers, Random& random);

    std::unique_ptr<FlowTable> flows;
    RateTable rates;
    FragmentTable fragments;
    std::atomic<std::int64_t> pick_up_until{0};              // nanoseconds of the boot clock
    std::vector<std::unique_ptr<SpscRing<LogRecord>>> logs;  // a worker's each

  private:
    explicit Tables(Random& random) : rates(random), fragments(random) {}
};

// Why a new flow would pass or not, and whether there is one already.
struct Explanation {
    bool allowed = false;
    bool reject = false;
    bool would_be = false;                 // denied, but for a policy that only observes
    std::uint32_t rule = Policy::kNoRule;  // index of the rule that decides
    Counter reason = Counter::count;
    std::optional<Flow> live;
};

class Gate {
  public:
    // `owner` outlives the gate; without one no packet that goes out is any peer's.
    Gate(unsigned worker, Counters& counters, const SourceOwner& owner = {}) noexcept
        : worker_(worker), counters_(counters), owner_(owner) {}

    // A turn begins. nullptr: no policy, and judge() is not to be called.
    void begin(const Policy* policy, Tables* tables, Instant now) noexcept {
        policy_ = policy;
        tables_ = tables;
        now_ = now;
    }
    bool active() const noexcept { return policy_ != nullptr; }
    const Policy& policy() const noexcept { return *policy_; }

    // Packets that are about to be judged: memory that this will need is asked for while others are judged.
    // Changes nothing, and need not come before judge(). It is worth reading packets once more only where
    // memory is far away, with many flows.
    bool worth_expecting() const noexcept { return tables_->flows->size() >= kFlowsFarAway; }
    void expect(Direction direction, std::span<const InnerPacket> packets) const noexcept;
    // `packets`: how many a superpacket stands for. What does not pass was counted by its reason.
    Verdict judge(Direction direction, const Subject& peer, const InnerPacket& packet,
                  std::size_t packets = 1) noexcept;
    // Of the last packet that was judged; for the answer to one that was rejected.
    const Transport& transport() const noexcept { return packet_.transport; }
    // Until when the last verdict holds, if it was to pass and the policy stays: a rule may expire while a
    // packet waits.
    Instant valid_until() const noexcept { return valid_until_; }
    // How many packets (superpackets count once) did not pass.
    std::uint64_t refused(Direction direction) const noexcept {
        return refused_[static_cast<std::size_t>(direction)];
    }

    // What the packet path would say to a new flow, by its own code but for what that would change. `sender`:
    // the serial of the peer that the flow's source is of; 0: of this side. Any thread that keeps policy and
    // tables alive.
    static Explanation explain(const Policy& policy, Tables& tables, Direction direction, const Subject& peer,
                               std::uint64_t sender, const FlowKey& key, std::uint16_t port,
                               Instant now) noexcept;

  private:
    enum class Mode : std::uint8_t {
        fresh,  // takes a token
        again,  // a flow that had its token when it began
        dry,
    };
    struct Question {
        const Policy& policy;
        Direction direction;
        Subject peer;
        std::uint64_t sender;  // without a gate, which finds it when it is asked for
        const FlowKey& key;
        std::uint16_t port;
        Instant now;
    };
    struct Decision {
        bool allowed = false;
        bool reject = false;
        std::uint32_t rule = Policy::kNoRule;
        Counter reason = Counter::policy_no_rule;
        std::uint64_t rule_id = 0;
        Instant valid_until = Instant::max();
        bool log = false;  // what it allows
    };
    struct Packet {
        Direction direction;
        Subject peer;
        const InnerPacket* packet;
        std::size_t count;
        Transport transport;
        FlowKey key;
    };
    struct Memo {
        Flow* flow = nullptr;
        std::uint64_t hash = 0;
        FlowKey key;
    };

    // `gate`: who counts and logs on the way; nullptr when dry.
    static Decision decide(Tables& tables, const Question& question, Mode mode, Gate* gate) noexcept;
    Decision decide(Mode mode) noexcept;
    Decision examine() noexcept;
    Decision examine_whole() noexcept;
    Decision first_fragment() noexcept;
    Decision later_fragment() noexcept;
    Decision related() noexcept;
    Decision in_flow() noexcept;
    Decision begin_flow() noexcept;
    Decision begin_flow(FlowState state, const Decision& decision) noexcept;
    std::uint64_t sender() const noexcept;
    Payer payer() const noexcept;
    FlowTable::Room keep_flow(FlowState state, const Decision& decision) noexcept;
    bool renew(Flow& flow, Decision& decision) noexcept;
    FlowTable::Held look_up(const FlowKey& key, std::uint64_t& hash, Memo& memo) noexcept;
    void passed(std::uint32_t rule) noexcept;
    void would_deny(const Decision& decision) noexcept;
    void log(const Decision& decision, Verdict verdict, bool would_be) noexcept;
    bool wants_log(std::uint32_t rule) const noexcept;
    bool picks_up() const noexcept;

    const unsigned worker_;
    Counters& counters_;
    const SourceOwner owner_;
    const Policy* policy_ = nullptr;
    Tables* tables_ = nullptr;
    Instant now_{};
    Packet packet_{};
    std::uint64_t hash_ = 0;     // of packet_.key
    std::array<Memo, 2> memos_;  // packets of a train are mostly of one flow
    MatchMemo matches_;
    std::array<std::uint64_t, 2> refused_{};
    LogBudget log_budget_;
    Instant valid_until_{};
};

}  // namespace vern::policy
