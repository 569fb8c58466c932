// The policy of a running daemon: which one governs, which one is on trial, what the disk holds of them. What
// may be asked of it is asked through the control API (api/policy_routes.h).
//
// A policy is read, compiled and tested before anything changes; then it is on disk; then it governs. When
// the one on trial is not confirmed in time, or this process dies, the one before it comes back, never none
// where there was one. Control thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "control/json.h"
#include "control/policy/evaluate.h"
#include "control/policy/store.h"
#include "dataplane/policy/gate.h"

namespace vern::policy {

inline constexpr std::string_view kStateDirectory = "/var/lib/vern";
inline constexpr std::chrono::seconds kConfirmMax{24 * 3600};

// Why something was not done; nothing has changed then.
struct Refused {
    enum class Why : std::uint8_t {
        wrong,   // the text or the question: `message` has a line for each mistake
        state,   // it does not fit what governs now
        failed,  // disk or memory
    };
    Why why = Why::wrong;
    std::string message;
};
inline tl::unexpected<Refused> refuse(Refused::Why why, std::string message) {
    return tl::unexpected<Refused>(Refused{why, std::move(message)});
}
template <typename T>
using Outcome = tl::expected<T, Refused>;

// What there is to measure of a policy.
struct Measured {
    enum class State : std::uint8_t { none, active, failed };
    struct Rule {
        std::string id;  // empty: what no rule matched
        std::string_view direction, action;
        RuleCounts counts;
    };
    State state = State::none;
    bool on_trial = false, observe = false;
    std::uint32_t generation = 0;
    std::uint64_t flows = 0;
    std::size_t rules_total = 0;
    std::vector<Rule> rules;
};

// What comes before all rules: the peer of a flow, and whose allowed IPs its remote address is in.
struct Standing {
    bool known = false;  // the interface has this peer
    bool admitted = false;
    std::optional<PublicKey> owner;
};

// What is asked of the data plane.
class DataPlane {
  public:
    virtual ~DataPlane() = default;
    virtual ClockPair now() const = 0;
    virtual unsigned workers() const = 0;
    // nullptr: allowed IPs only. Errors, with the first policy only: no memory for flows; then nothing has
    // changed.
    virtual Result<void> publish(std::unique_ptr<const Policy> policy) = 0;
    virtual std::vector<PublicKey> peers() const = 0;
    // Who may hold sessions; by the published policy, and what is proven.
    virtual void set_admission(Admission admission) = 0;
    virtual std::uint64_t live_flows() const = 0;
    // Of each rule of the published policy, and last of what no rule matched.
    virtual std::vector<RuleCounts> counts() const = 0;
    virtual Standing standing(const Question& question) const = 0;
    // As Device::explain().
    virtual std::optional<Explanation> explain(const Question& question) const = 0;
    virtual void each_flow(const std::function<bool(const Flow&, const PublicKey& peer)>& take)
        const = 0;  // until it says false
};

// What became of a policy, and who asked for it.
struct PolicyEvent {
    enum class Kind : std::uint8_t { loaded, confirmed, rolled_back, removed, refused };
    Kind kind = Kind::loaded;
    std::string name, hash;  // of the policy that governs now
    std::string who;         // "uid 0", or what a certificate says; empty: the daemon by itself
    std::string detail;
};
std::string_view name_of(PolicyEvent::Kind kind) noexcept;  // "policy.rolled-back"

class PolicyObserver {
  public:
    virtual ~PolicyObserver() = default;
    virtual void policy_event(const PolicyEvent& event) = 0;
};

class Control {
  public:
    Control(Store store, DataPlane& plane) : store_(std::move(store)), plane_(plane) {}

    // Told what becomes of policies, after the fact; outlives this.
    void observe(PolicyObserver* observer) { observer_ = observer; }
    InForce in_force() const;
    // Who has proven what: asked each time that rules are compiled. Before start().
    using Holders = std::function<std::vector<Holder>()>;
    void use_identities(Holders holders) { holders_ = std::move(holders); }
    // They are others now: rules that heed them are compiled anew, and count for the next packet. False:
    // those before are still in force, and it must be tried again.
    bool identities_changed();
    // How long a binding lasts at most, by the policy that governs.
    std::optional<std::chrono::seconds> identity_max() const;

    // What the disk holds; else `first`, a file, if it is not empty; else no policy. What cannot be loaded
    // denies everything; an error means that not even that can be had.
    Result<void> start(const std::string& first);
    ~Control();
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;

    // When tick() must be called, to end a trial.
    std::optional<Instant> deadline() const;
    void tick();
    // The wall clock has been set: ends that come sooner by it come sooner; none comes later.
    void clock_was_set();

    bool logs() const { return published_ != nullptr; }
    // The line that a decision makes in the log. `peer`: nothing if it is gone.
    std::string log_line(const LogRecord& record, const std::optional<PublicKey>& peer) const;

    // Requests. Answers are JSON objects (docs/openapi.json has their members). `who` is for log and events;
    // `file` is what errors call the text.
    using Json = nlohmann::json;
    Json summary() const;
    Json show(bool with_text) const;
    // On trial for `confirm`, unless that is zero.
    Outcome<Json> apply(std::string text, std::string_view file, std::chrono::seconds confirm,
                        std::string_view who);
    Outcome<Json> confirm(std::string_view who);
    Outcome<Json> rollback(std::string_view who);
    // Allowed IPs only from now on, after a restart too; rollback() undoes it.
    Outcome<Json> remove(std::string_view who);
    Outcome<Json> check(std::string text, std::string_view file) const;
    Outcome<Json> diff(std::string_view text, std::string_view file) const;
    Outcome<Json> counters() const;
    Outcome<Json> explain(std::string_view question) const;
    struct FlowsWanted {
        std::optional<std::string> peer;  // its name or key
        std::optional<std::uint16_t> port;
        std::uint64_t limit = 10'000;
    };
    Json flows(const FlowsWanted& wanted) const;
    Measured measured(std::size_t rules_max) const;
    std::string peer_name(const PublicKey& key) const;  // its name in the policy, or its key

  private:
    struct Loaded {
        Document document;
        std::string text, file, hash;
        RuleSet rules;  // with the ends that its dates had when it was loaded
    };
    // One of: no policy, a policy, or one that should be there and could not be loaded.
    struct Governing {
        std::shared_ptr<Loaded> loaded;
        std::string failure;
        bool none() const { return !loaded && failure.empty(); }
    };
    std::string before_rules(const Question& question, const Standing& standing) const;
    Json explain_rules(const Question& question) const;
    static Store::Present state_on_disk(const Governing& governing);
    struct Trial {
        Governing before;
        Instant deadline;
        WallTime wall_deadline;
    };
    Result<std::shared_ptr<Loaded>> load(std::string text, std::string file, const ClockPair& now) const;
    Governing load_first(const std::string& file);
    Result<void> publish(Governing governing);
    Outcome<Json> put_on(std::string text, std::string_view file_name, std::chrono::seconds confirm,
                         std::string_view who);
    Result<void> put_in_force(Governing governing);
    Result<void> deny_everything(std::string why);
    void back(std::string_view why, std::string_view who);
    void settle_disk(const Governing& governing);
    std::uint32_t next_generation();

    Json rule_json(std::uint32_t index) const;
    Json counts_json(std::uint32_t index) const;
    void tell(PolicyEvent::Kind kind, std::string_view who, std::string detail) const;
    std::string rule_id(std::uint32_t index) const;

    Store store_;
    DataPlane& plane_;
    PolicyObserver* observer_ = nullptr;
    Holders holders_;
    Governing governing_;
    std::optional<Trial> trial_;
    std::uint32_t generation_ = 0;
    const Policy* published_ = nullptr;  // the data plane's, until the next one
};

}  // namespace vern::policy
