// The policy of a running daemon: which one governs, which one is on trial, what the disk holds of them; and
// the requests of /run/vern/NAME.sock, one line of JSON each, answered by one line:
//
//   {"do": "apply", "text": "...", "file": "db.toml", "confirm_s": 60}     {"ok": true, ...}
//   {"do": "confirm"}  "rollback"  "show"  "counters"  "flows"             {"ok": false, "error": "...",
//   "code": 22}
//   {"do": "explain", "question": "in web-1 tcp 10.100.0.2:40000 > 10.100.0.1:3306"}
//
// A policy is read, compiled and tested before anything changes; then it is on disk; then it governs. When
// the one on trial is not confirmed in time, or this process dies, the one before it comes back, never none
// where there was one. Control thread only.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "control/policy/evaluate.h"
#include "control/policy/store.h"
#include "control/socket_server.h"
#include "dataplane/policy/gate.h"

namespace vern::policy {

inline constexpr std::string_view kControlDirectory = "/run/vern";
inline constexpr std::string_view kStateDirectory = "/var/lib/vern";
inline constexpr std::size_t kControlRequestBytesMax = std::size_t{64}
                                                       << 20;  // a policy of 8 MiB, each byte escaped
inline constexpr std::chrono::seconds kConfirmMax{24 * 3600};
SocketLimits control_limits();

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
    virtual std::uint64_t live_flows() const = 0;
    // Of each rule of the published policy, and last of what no rule matched.
    virtual std::vector<RuleCounts> counts() const = 0;
    // As Device::explain().
    virtual std::optional<Explanation> explain(const Question& question) const = 0;
    virtual void each_flow(const std::function<bool(const Flow&, const PublicKey& peer)>& take)
        const = 0;  // until it says false
};

// What became of a policy, and who asked for it.
struct PolicyEvent {
    enum class Kind : std::uint8_t { loaded, confirmed, rolled_back, refused };
    Kind kind = Kind::loaded;
    std::string name, hash;    // of the policy that governs now
    std::optional<uid_t> uid;  // nothing: the daemon by itself
    std::string detail;
};

class PolicyObserver {
  public:
    virtual ~PolicyObserver() = default;
    virtual void policy_event(const PolicyEvent& event) = 0;
};

class Control final : public SocketProtocol {
  public:
    Control(Store store, DataPlane& plane) : store_(std::move(store)), plane_(plane) {}

    // Told what becomes of policies, after the fact; outlives this.
    void observe(PolicyObserver* observer) { observer_ = observer; }
    InForce in_force() const;

    // What the disk holds; else `first`, a file, if it is not empty; else no policy. What cannot be loaded
    // denies everything; an error means that not even that can be had.
    Result<void> start(const std::string& first);
    ~Control() override;

    // When tick() must be called, to end a trial.
    std::optional<Instant> deadline() const;
    void tick();
    // The wall clock has been set: ends that come sooner by it come sooner; none comes later.
    void clock_was_set();

    // For `vern show`.
    nlohmann::json summary() const;
    bool logs() const { return published_ != nullptr; }
    // The line that a decision makes in the log. `peer`: nothing if it is gone.
    std::string log_line(const LogRecord& record, const std::optional<PublicKey>& peer) const;

    // SocketProtocol
    Result<SecretText> answer(std::string_view request, uid_t uid) override;
    SecretText refusal(const Error& why) override;
    void refused(const Error& why) override;

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
    struct Trial {
        Governing before;
        Instant deadline;
        WallTime wall_deadline;
    };
    using Json = nlohmann::json;

    Result<std::shared_ptr<Loaded>> load(std::string text, std::string file, const ClockPair& now) const;
    Governing load_first(const std::string& file);
    Result<void> publish(Governing governing);
    Result<void> deny_everything(std::string why);
    void back(std::string_view why, std::optional<uid_t> uid);
    Result<void> settle_disk(const Governing& wanted);
    std::uint32_t next_generation();

    Result<Json> perform(const Json& request, uid_t uid);
    Result<Json> apply(const Json& request, uid_t uid);
    Result<Json> confirm(uid_t uid);
    Result<Json> rollback(uid_t uid);
    Result<Json> show(const Json& request) const;
    Result<Json> counters() const;
    Result<Json> explain(const Json& request) const;
    Result<Json> flows(const Json& request) const;
    Json rule_json(std::uint32_t index) const;
    Json counts_json(std::uint32_t index) const;
    void tell(PolicyEvent::Kind kind, std::optional<uid_t> uid, std::string detail) const;
    std::string rule_id(std::uint32_t index) const;
    std::string peer_name(const PublicKey& key) const;

    Store store_;
    DataPlane& plane_;
    PolicyObserver* observer_ = nullptr;
    Governing governing_;
    std::optional<Trial> trial_;
    std::uint32_t generation_ = 0;
    const Policy* published_ = nullptr;  // the data plane's, until the next one
};

}  // namespace vern::policy
