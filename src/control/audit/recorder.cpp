#include "control/audit/recorder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "control/audit/flow.h"
#include "control/log.h"
#include "control/text.h"

namespace vern::audit {
namespace {

constexpr Duration kOpenAgain = std::chrono::seconds(10);

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : std::string();
}

Record record_of(Kind kind, WallTime time) {
    Record record;
    record.kind = kind;
    record.time = time;
    return record;
}

Kind kind_of(policy::PolicyEvent::Kind kind) {
    switch (kind) {
        case policy::PolicyEvent::Kind::loaded: return Kind::policy_loaded;
        case policy::PolicyEvent::Kind::confirmed: return Kind::policy_confirmed;
        case policy::PolicyEvent::Kind::rolled_back: return Kind::policy_rolled_back;
        case policy::PolicyEvent::Kind::removed: return Kind::policy_removed;
        case policy::PolicyEvent::Kind::refused: return Kind::policy_refused;
    }
    return Kind::policy_refused;
}

Kind kind_of(identity::IdentityEvent::Kind kind) {
    switch (kind) {
        case identity::IdentityEvent::Kind::bound:
        case identity::IdentityEvent::Kind::renewed: return Kind::identity_bound;
        case identity::IdentityEvent::Kind::refused: return Kind::identity_refused;
        case identity::IdentityEvent::Kind::ended: return Kind::identity_ended;
        case identity::IdentityEvent::Kind::trust_changed: return Kind::trust_changed;
    }
    return Kind::identity_refused;
}

void set_identity(Record& record, const identity::Binding& binding) {
    record.identity = identity::label_of(binding.identity);
    record.issuer = binding.identity.issuer;
    record.serial = binding.identity.serial;
    record.not_after = date_text(binding.ends);
}

// Of several identities those that the rule asks for, or all where it asks for none of them.
void keep_those_asked_for(std::vector<const identity::Binding*>& proven, const policy::LogRecord& logged,
                          const policy::InForce& policy) {
    if (policy.document == nullptr || policy.generation != logged.generation ||
        logged.rule >= policy.document->rules.size())
        return;
    const std::uint32_t peers = policy.document->rules[logged.rule].rule.peers;
    if (peers >= policy.document->member_sets.size()) return;
    const policy::Members& members = policy.document->member_sets[peers];
    std::vector<const identity::Binding*> asked;
    std::ranges::copy_if(proven, std::back_inserter(asked),
                         [&](const identity::Binding* one) { return proves(members, one->identity); });
    if (!asked.empty()) proven = std::move(asked);
}

}  // namespace

Recorder::Recorder(RecorderOptions options, Clock clock)
    : options_(std::move(options)),
      clock_(std::move(clock)),
      flows_([this](Record record) { write(std::move(record)); }),
      watch_([this](Record record) { write(std::move(record)); }, clock_().boot) {
    if (options_.journal) journal_.emplace(options_.journal_socket);
}

Recorder::~Recorder() {
    try {
        stop({});
    } catch (const std::exception& error) {
        log_error("audit: the end is not recorded", error.what());
    }
}

Result<std::unique_ptr<Recorder>> Recorder::start(RecorderOptions options, Clock clock) {
    std::unique_ptr<Recorder> recorder(new Recorder(std::move(options), std::move(clock)));
    if (auto opened = recorder->open_trail(); !opened) {
        if (recorder->options_.required) {
            recorder->stopped_ = true;
            return tl::unexpected(opened.error());
        }
        log_error("audit: no trail is kept for now: " + opened.error().message);
    }
    return recorder;
}

Result<void> Recorder::open_trail() {
    const policy::ClockPair now = clock_();
    open_again_ = now.boot + kOpenAgain;
    TrailOptions options{
        .host = host_name(), .interface = options_.interface, .written = {}, .before_step = {}};
    options.written = [this](const Record& record, const std::string& hash) {
        if (!journal_ || journal_->send(record, hash)) return;
        if (!std::exchange(journal_failed_, true))
            log_error("audit: the journal does not take every record; the trail has them");
    };
    auto trail = Trail::open(options_.directory, std::move(options), now.wall);
    if (!trail) {
        no_trail_ = trail.error().message;
        return tl::unexpected(trail.error());
    }
    trail_.emplace(std::move(*trail));
    Record started = record_of(Kind::started, now.wall);
    started.detail = "vernd " VERN_VERSION;
    trail_->write(std::move(started));
    trail_->tell_missed(std::exchange(untold_, 0), now.wall);
    return {};
}

void Recorder::write(Record record) {
    if (trail_) return trail_->write(std::move(record));
    ++missed_;
    ++untold_;
}

void Recorder::flow(const policy::LogRecord& logged, const std::optional<PublicKey>& peer,
                    const policy::InForce& policy, std::vector<const identity::Binding*> proven) {
    const policy::ClockPair now = clock_();
    Record record = flow_record(logged, peer, policy, now);
    if (proven.size() > 1) keep_those_asked_for(proven, logged, policy);
    if (proven.size() == 1) {
        set_identity(record, *proven.front());
    } else {
        for (const identity::Binding* one : proven)
            record.identity += (record.identity.empty() ? "" : ", ") + identity::label_of(one->identity);
    }
    flows_.add(std::move(record), now.boot);
}

void Recorder::identity_event(const identity::IdentityEvent& event, const policy::InForce& policy) {
    Record record = record_of(kind_of(event.kind), clock_().wall);
    if (event.peer) {
        record.peer_key = to_base64(event.peer->bytes);
        if (policy.document) record.peer = policy.document->peer_name(*event.peer);
        if (record.peer == record.peer_key) record.peer.clear();
    }
    if (event.binding != nullptr) {
        set_identity(record, *event.binding);
        record.detail = identity::name_of(event.binding->means);
        if (event.kind == identity::IdentityEvent::Kind::renewed) record.detail += ", renewed";
    } else {
        record.detail = event.detail;
    }
    record.reason = event.reason;
    record.by = event.by;
    write(std::move(record));
}

void Recorder::policy_event(const policy::PolicyEvent& event) {
    const policy::ClockPair now = clock_();
    // What was counted by the policy before is told before it.
    if (event.kind != policy::PolicyEvent::Kind::refused) flows_.end_interval(now.wall);
    Record record = record_of(kind_of(event.kind), now.wall);
    record.policy_version = event.name;
    record.policy_hash = event.hash;
    record.by = event.who;
    record.detail = event.detail;
    write(std::move(record));
}

void Recorder::look(const Watch::Count& count, const std::vector<PeerStatus>& peers,
                    const Watch::NameOf& name_of) {
    const policy::ClockPair now = clock_();
    watch_.look(now.boot, now.wall, count, peers, name_of);
}

void Recorder::tell_suppressed() {
    if (suppressed_ == suppressed_told_) return;
    Record record = record_of(Kind::records_lost, clock_().wall);
    record.reason = kCounterInfo[static_cast<std::size_t>(Counter::policy_log_suppressed)].name;
    record.suppressed = suppressed_ - std::exchange(suppressed_told_, suppressed_);
    write(std::move(record));
}

void Recorder::tick(std::uint64_t suppressed) {
    const policy::ClockPair now = clock_();
    suppressed_ = suppressed;
    if (suppressed_ != suppressed_told_ && now.boot >= suppressed_again_) {
        suppressed_again_ = now.boot + AggregateLimits{}.interval;
        tell_suppressed();
    }
    flows_.tick(now.boot, now.wall);
    if (trail_)
        trail_->tick(now.boot, now.wall);
    else if (now.boot >= open_again_)
        (void)open_trail();
}

std::optional<Instant> Recorder::deadline() const {
    std::optional<Instant> first = flows_.deadline();
    const auto other = trail_ ? trail_->deadline() : std::optional(open_again_);
    if (!first || (other && *other < *first)) first = other;
    return std::min(first.value_or(watch_.deadline()), watch_.deadline());
}

void Recorder::stop(std::string_view why) {
    if (std::exchange(stopped_, true)) return;
    const WallTime now = clock_().wall;
    flows_.end_interval(now);
    tell_suppressed();
    Record stopped = record_of(Kind::stopped, now);
    stopped.detail = why;
    write(std::move(stopped));
}

Keeping Recorder::keeping() const {
    Keeping keeping{.failure = trail_ ? trail_->failure() : "records are being lost: " + no_trail_,
                    .seq = trail_ ? trail_->seq() : 0,
                    .lost = missed_ + (trail_ ? trail_->lost() : 0),
                    .journal_lost = {}};
    if (journal_) keeping.journal_lost = journal_->lost();
    return keeping;
}

nlohmann::json Recorder::summary() const {
    const Keeping now = keeping();
    nlohmann::json summary{{"directory", options_.directory},
                           {"active", now.failure.empty()},
                           {"seq", now.seq},
                           {"lost", now.lost}};
    if (!now.failure.empty()) summary["failure"] = now.failure;
    if (now.journal_lost) summary["journal_lost"] = *now.journal_lost;
    return summary;
}

}  // namespace vern::audit
