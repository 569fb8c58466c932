#include "control/policy/control.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "control/files.h"
#include "control/log.h"
#include "control/policy/diff.h"
#include "control/policy/language.h"
#include "control/text.h"
#include "crypto/blake2s.h"

namespace vern::policy {
namespace {

using nlohmann::json;

std::string hash_of(std::string_view text) {
    std::array<std::byte, blake2s::kHashBytes> hash;
    blake2s::hash(hash, {std::as_bytes(std::span(text))});
    return to_hex(hash).substr(0, 16);
}

std::string shown_name(const std::string& name) {
    return name.empty() ? "policy without a name" : "policy '" + printable(name) + "'";
}

void say_unsettled(const Result<void>& settled) {
    if (!settled)
        log_error("the disk may hold another policy than the one in force: " + settled.error().message);
}

}  // namespace

Control::~Control() { store_.note_time(); }

std::uint32_t Control::next_generation() {
    if (++generation_ == 0) ++generation_;
    return generation_;
}

Result<std::shared_ptr<Control::Loaded>> Control::load(std::string text, std::string file,
                                                       const ClockPair& now) const {
    auto document = parse_policy(text, file, now.wall);
    if (!document) return tl::unexpected(document.error());
    auto loaded = std::make_shared<Loaded>();
    loaded->document = std::move(*document);
    loaded->hash = hash_of(text);
    loaded->text = std::move(text);
    loaded->file = std::move(file);
    loaded->rules = rule_set_of(loaded->document, now, 1);
    if (auto fine = compile_tested(loaded->document, loaded->rules, plane_.workers(), loaded->file, now.boot);
        !fine)
        return tl::unexpected(fine.error());
    return loaded;
}

Result<void> Control::start(const std::string& first) {
    const bool dropped = store_.drop_trial();
    if (dropped) log_notice("the policy that was on trial was not confirmed: the one before it counts");
    const auto begun = [&] {
        using Kind = PolicyEvent::Kind;
        if (dropped)
            tell(Kind::rolled_back, {}, "not confirmed before the daemon ended");
        else if (governing_.loaded)
            tell(Kind::loaded, {}, "at the start");
    };
    const auto stored = store_.load();
    Governing governing;
    if (!stored) {
        governing.failure = stored.error().message;
    } else if (!*stored) {
        if (first.empty()) {
            begun();
            return {};
        }
        governing = load_first(first);
    } else {
        ClockPair now = plane_.now();
        now.wall = std::max(now.wall, (*stored)->written);  // a clock set back revives nothing
        auto loaded = load((*stored)->text, store_.directory() + "/policy.toml", now);
        if (loaded)
            governing.loaded = std::move(*loaded);
        else
            governing.failure = loaded.error().message;
    }
    auto published = publish(std::move(governing));
    if (!published) published = deny_everything(published.error().message);
    if (published) begun();
    return published;
}

Control::Governing Control::load_first(const std::string& file) {
    auto loaded = read_input(file, kPolicyBytesMax).and_then([&](std::string&& text) {
        return load(std::move(text), file, plane_.now());
    });
    if (!loaded) return {.loaded = {}, .failure = loaded.error().message};
    if (auto kept = store_.replace((*loaded)->text); !kept)
        log_error("the policy is in force, and cannot be kept for the next start: " + kept.error().message);
    return {.loaded = std::move(*loaded), .failure = {}};
}

Result<void> Control::publish(Governing governing) {
    if (governing.none()) {
        if (auto gone = plane_.publish(nullptr); !gone) return gone;
        plane_.set_admission({});
        published_ = nullptr;
        governing_ = {};
        log_notice("no policy: allowed IPs only");
        return {};
    }
    if (!governing.loaded) return deny_everything(std::move(governing.failure));
    const std::string name = shown_name(governing.loaded->document.name), file = governing.loaded->file;
    const std::size_t rules = governing.loaded->document.rules.size();
    if (auto done = put_in_force(std::move(governing)); !done || !governing_.loaded) return done;
    log_notice(fmt::format("{}: {} rules, from {}", name, rules, file));
    return {};
}

Result<void> Control::put_in_force(Governing governing) {
    const std::vector<Holder> holders = holders_ ? holders_() : std::vector<Holder>{};
    const Document& document = governing.loaded->document;
    RuleSet rules = governing.loaded->rules;
    rules.generation = next_generation();
    rules.peer_sets = peer_sets_of(document, holders);
    auto policy = Policy::compile(std::move(rules), plane_.workers());
    // It was compiled before with somebody in each set: only memory can be missing now, and what governs goes
    // on.
    if (!policy) return tl::unexpected(policy.error());
    if (!(*policy)->crowded().empty())
        log_error(crowded_text(document, **policy) + "; until then EVERYTHING IS DENIED to them");
    const Policy* published = policy->get();
    if (auto done = plane_.publish(std::move(*policy)); !done) return done;
    published_ = published;
    PeerSet provers;
    for (const Holder& holder : holders) provers.push_back(holder.peer);
    plane_.set_admission(admission_of(document, std::move(provers)));
    governing_ = std::move(governing);
    return {};
}

bool Control::identities_changed() {
    if (!governing_.loaded || !heeds_identities(governing_.loaded->document)) return true;
    const auto done = put_in_force(governing_);
    if (!done) log_error("rules for identities cannot be compiled anew: " + done.error().message);
    return done.has_value();
}

std::optional<std::chrono::seconds> Control::identity_max() const {
    return governing_.loaded ? governing_.loaded->document.identity_max : std::nullopt;
}

Result<void> Control::deny_everything(std::string why) {
    auto nothing = Policy::compile(deny_all(next_generation()), plane_.workers());
    if (!nothing) return tl::unexpected(nothing.error());
    const Policy* published = nothing->get();
    if (auto done = plane_.publish(std::move(*nothing)); !done) return done;
    published_ = published;
    governing_ = {.loaded = {}, .failure = std::move(why)};
    log_error("the policy cannot be loaded, and EVERYTHING IS DENIED until one is applied: " +
              governing_.failure);
    tell(PolicyEvent::Kind::refused, {}, "everything is denied: " + governing_.failure);
    return {};
}

std::optional<Instant> Control::deadline() const {
    if (!trial_) return std::nullopt;
    return trial_->deadline;
}

void Control::tick() {
    if (trial_ && plane_.now().boot >= trial_->deadline) back("not confirmed in time", "the clock");
}

// The one before the trial comes back, in memory at once and then on disk.
void Control::back(std::string_view why, std::string_view who) {
    Governing before = std::move(trial_->before);
    trial_.reset();
    log_notice(fmt::format("the policy on trial is gone ({})", why));
    store_.drop_trial();
    // The tables are there: publishing cannot fail but for want of memory, and then the trial's rules are
    // better than none.
    if (auto done = publish(std::move(before)); !done)
        return log_error("the previous policy cannot be put back: " + done.error().message);
    tell(PolicyEvent::Kind::rolled_back, who, std::string(why));
    settle_disk(governing_);
}

// After something went wrong half way the disk must hold what is to be in force after a restart: what
// governs, or, while a policy is on trial, what did so before.
void Control::settle_disk(const Governing& governing) {
    const auto settle = [&]() -> Result<void> {
        if (!governing.failure.empty()) return store_.put_back_broken();
        const auto stored = store_.load();
        if (governing.none()) return stored && !*stored ? Result<void>() : store_.clear();
        if (stored && *stored && (*stored)->text == governing.loaded->text) return {};
        return store_.put_back(governing.loaded->text);
    };
    say_unsettled(settle());
}

void Control::clock_was_set() {
    const ClockPair now = plane_.now();
    const auto tighten = [&](Governing& governing) {
        bool changed = false;
        for (std::size_t i = 0; governing.loaded && i < governing.loaded->rules.rules.size(); ++i) {
            auto& expires = governing.loaded->rules.rules[i].expires;
            const auto& date = governing.loaded->document.rules[i].expires;
            if (!expires || !date || instant_of(*date, now) >= *expires) continue;
            expires = instant_of(*date, now);
            changed = true;
        }
        return changed;
    };
    if (trial_) tighten(trial_->before);
    if (!tighten(governing_)) return;
    if (auto done = publish(governing_); !done)
        log_error("the policy cannot be published anew: " + done.error().message);
}

InForce Control::in_force() const {
    if (!governing_.loaded) return {.document = nullptr, .hash = {}, .generation = generation_};
    return {
        .document = &governing_.loaded->document, .hash = governing_.loaded->hash, .generation = generation_};
}

std::string_view name_of(PolicyEvent::Kind kind) noexcept {
    switch (kind) {
        case PolicyEvent::Kind::loaded: return "policy.loaded";
        case PolicyEvent::Kind::confirmed: return "policy.confirmed";
        case PolicyEvent::Kind::rolled_back: return "policy.rolled-back";
        case PolicyEvent::Kind::removed: return "policy.removed";
        case PolicyEvent::Kind::refused: return "policy.refused";
    }
    return "";
}

void Control::tell(PolicyEvent::Kind kind, std::string_view who, std::string detail) const {
    if (!observer_) return;
    PolicyEvent event{
        .kind = kind, .name = {}, .hash = {}, .who = std::string(who), .detail = std::move(detail)};
    if (governing_.loaded) {
        event.name = governing_.loaded->document.name;
        event.hash = governing_.loaded->hash;
    }
    observer_->policy_event(event);
}

json Control::summary() const {
    if (governing_.none()) return {{"state", "none"}};
    json summary;
    summary["generation"] = generation_;
    if (!governing_.loaded) {
        summary["state"] = "failed";
        summary["error"] = governing_.failure;
    } else {
        const Document& document = governing_.loaded->document;
        summary["state"] = "active";
        summary["name"] = document.name;
        summary["hash"] = governing_.loaded->hash;
        summary["file"] = governing_.loaded->file;
        summary["rules"] = document.rules.size();
        summary["observe"] = document.observe;
    }
    if (trial_) {
        const auto left =
            std::chrono::ceil<std::chrono::seconds>(trial_->deadline - plane_.now().boot).count();
        summary["pending_s"] = std::max<std::int64_t>(0, left);
        summary["deadline"] = date_text(trial_->wall_deadline);
    }
    summary["flows"] = plane_.live_flows();
    return summary;
}

Store::Present Control::state_on_disk(const Governing& governing) {
    return governing.failure.empty() ? Store::Present::good : Store::Present::broken;
}

// Requests

Outcome<json> Control::check(std::string text, std::string_view file) const {
    const auto loaded = load(std::move(text), printable(file, 256), plane_.now());
    if (!loaded) return refuse(Refused::Why::wrong, loaded.error().message);
    const Document& document = (*loaded)->document;
    return json{{"name", document.name},
                {"rules", document.rules.size()},
                {"tests", document.tests.size()},
                {"warnings", document.warnings}};
}

Outcome<json> Control::diff(std::string_view text, std::string_view file) const {
    const auto after = parse_policy(text, printable(file, 256), plane_.now().wall);
    if (!after) return refuse(Refused::Why::wrong, after.error().message);
    Document before;
    before.name = after->name;
    const Difference found = difference(governing_.loaded ? governing_.loaded->document : before, *after);
    json changed = json::object();
    for (const auto& [id, what] : found.changed) changed[id] = what;
    return json{{"added", found.added}, {"removed", found.removed},         {"changed", std::move(changed)},
                {"other", found.other}, {"none_before", governing_.none()}, {"warnings", after->warnings}};
}

Outcome<json> Control::apply(std::string text, std::string_view file_name, std::chrono::seconds confirm,
                             std::string_view who) {
    auto applied = put_on(std::move(text), file_name, confirm, who);
    if (!applied) tell(PolicyEvent::Kind::refused, who, applied.error().message);
    return applied;
}

Outcome<json> Control::put_on(std::string text, std::string_view file_name, std::chrono::seconds confirm,
                              std::string_view who) {
    const std::string file = printable(file_name, 256);
    const bool on_trial = confirm.count() > 0;
    if (trial_)
        return refuse(Refused::Why::state, "a policy is on trial until " + date_text(trial_->wall_deadline) +
                                               ": confirm it or roll it back first");
    const ClockPair now = plane_.now();
    auto loaded = load(std::move(text), file, now);
    if (!loaded) return refuse(Refused::Why::wrong, loaded.error().message);
    json warnings = (*loaded)->document.warnings;
    std::vector<PublicKey> peers = plane_.peers();
    std::sort(peers.begin(), peers.end());
    for (const auto& [name, key] : (*loaded)->document.peers) {
        if (!std::binary_search(peers.begin(), peers.end(), key) && warnings.size() < 20)
            warnings.push_back(file + ": peer '" + name + "' is not a peer of this interface");
    }
    const WallTime wall_deadline = now.wall + confirm;
    const auto stored = on_trial ? store_.begin_trial((*loaded)->text, wall_deadline)
                                 : store_.replace((*loaded)->text, state_on_disk(governing_));
    if (!stored) {
        settle_disk(governing_);
        return refuse(Refused::Why::failed,
                      "nothing was changed: the policy cannot be kept: " + stored.error().message);
    }
    const std::string name = shown_name((*loaded)->document.name);
    Governing before = governing_;
    if (auto done = publish(Governing{.loaded = std::move(*loaded), .failure = {}}); !done) {
        if (on_trial) store_.drop_trial();
        settle_disk(governing_);
        return refuse(Refused::Why::failed, done.error().message);
    }
    if (on_trial)
        trial_ = Trial{
            .before = std::move(before), .deadline = now.boot + confirm, .wall_deadline = wall_deadline};
    else
        store_.settled();
    log_notice(fmt::format("{} applied by {}{}", name, who,
                           on_trial ? ", on trial until " + date_text(wall_deadline) : ""));
    tell(PolicyEvent::Kind::loaded, who,
         "from " + file + (on_trial ? ", on trial until " + date_text(wall_deadline) : ""));
    json answer = summary();
    answer["warnings"] = std::move(warnings);
    return answer;
}

Outcome<json> Control::confirm(std::string_view who) {
    if (!trial_) return refuse(Refused::Why::state, "no policy is on trial");
    if (auto kept = store_.confirm_trial(state_on_disk(trial_->before)); !kept) {
        settle_disk(trial_->before);
        return refuse(Refused::Why::failed, "not confirmed, and still on trial: " + kept.error().message);
    }
    store_.settled();
    trial_.reset();
    log_notice(fmt::format("the policy is confirmed by {}", who));
    tell(PolicyEvent::Kind::confirmed, who, {});
    return summary();
}

Outcome<json> Control::rollback(std::string_view who) {
    if (trial_) {
        back(fmt::format("rolled back by {}", who), who);
        return summary();
    }
    const auto previous = store_.load_previous();
    if (!previous) return refuse(Refused::Why::failed, previous.error().message);
    if (!*previous) return refuse(Refused::Why::state, "there is no earlier policy to go back to");
    ClockPair now = plane_.now();
    now.wall = std::max(now.wall, (*previous)->written);
    auto loaded = load((*previous)->text, store_.directory() + "/previous.toml", now);
    if (!loaded) return refuse(Refused::Why::failed, loaded.error().message);
    if (auto kept = store_.replace((*loaded)->text, state_on_disk(governing_)); !kept) {
        settle_disk(governing_);
        return refuse(Refused::Why::failed,
                      "nothing was changed: the policy cannot be kept: " + kept.error().message);
    }
    log_notice(fmt::format("rolled back by {}", who));
    if (auto done = publish(Governing{.loaded = std::move(*loaded), .failure = {}}); !done) {
        settle_disk(governing_);
        return refuse(Refused::Why::failed, done.error().message);
    }
    store_.settled();
    tell(PolicyEvent::Kind::rolled_back, who, "to the policy before");
    return summary();
}

// The disk first: what it still holds when something fails is what still governs, also when that denies
// everything.
Outcome<json> Control::remove(std::string_view who) {
    if (trial_)
        return refuse(Refused::Why::state, "a policy is on trial until " + date_text(trial_->wall_deadline) +
                                               ": confirm it or roll it back first");
    if (governing_.none()) return refuse(Refused::Why::state, "no policy is in force");
    const bool broken = !governing_.loaded;
    if (auto removed = broken ? store_.set_aside_broken() : store_.remove(); !removed) {
        settle_disk(governing_);
        return refuse(Refused::Why::failed, "nothing was changed: the policy cannot be taken off the disk: " +
                                                removed.error().message);
    }
    const std::string name = governing_.loaded ? shown_name(governing_.loaded->document.name)
                                               : "the policy that could not be loaded";
    if (auto done = publish({}); !done) {
        settle_disk(governing_);
        return refuse(Refused::Why::failed, done.error().message);
    }
    store_.settled();
    log_notice(fmt::format("{} removed by {}", name, who));
    tell(PolicyEvent::Kind::removed, who, name + ": allowed IPs only from now on");
    return summary();
}

}  // namespace vern::policy
