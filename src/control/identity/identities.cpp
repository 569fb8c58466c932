#include "control/identity/identities.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/log.h"
#include "control/text.h"

namespace vern::identity {
namespace {

using nlohmann::json;
using trust::Identity;
using trust::Refusal;
using trust::refuse;
using trust::Refused;
using trust::UnixSeconds;
using trust::Verdict;

constexpr std::string_view kFile = "identities.json";
constexpr std::string_view kBroken = "identities.broken.json";  // nothing reads it
constexpr std::size_t kFileBytesMax = std::size_t{256} << 20;
constexpr UnixSeconds kKeepTimeSeconds = 60;
// So many times as long as settling took there is none for proofs, or less, if that is longer than a wait
// that nobody minds; but never less than the other.
constexpr int kSettlingPause = 9, kSettlingPauseLeast = 3;
constexpr std::chrono::milliseconds kSettlingWait{40};
// Nobody waits longer than this for the next: a stalled disk or a suspended machine makes what settling took
// long, and an end is in force within a second. What failed is tried again after as long.
constexpr std::chrono::milliseconds kPauseMax{500};
// Rules say sooner than this that somebody has ended. Else (this thread is held up by a disk, is not run, or
// rules cannot be compiled) the data plane passes nothing of that peer from then on.
constexpr std::chrono::milliseconds kRulesLate{250};
constexpr std::chrono::seconds kWriteAgain{5};  // a disk that was full

UnixSeconds seconds_of(WallTime wall) {
    return std::chrono::floor<std::chrono::seconds>(wall).time_since_epoch().count();
}

}  // namespace

std::string_view name_of(IdentityEvent::Kind kind) noexcept {
    switch (kind) {
        case IdentityEvent::Kind::bound: return "identity.bound";
        case IdentityEvent::Kind::renewed: return "identity.renewed";
        case IdentityEvent::Kind::refused: return "identity.refused";
        case IdentityEvent::Kind::ended: return "identity.ended";
        case IdentityEvent::Kind::trust_changed: return "trust.changed";
    }
    return "";
}

Identities::Identities(std::string directory, Peers& peers, Random& random, Tell tell, Changed changed,
                       StateDirectory::StepHook before_step)
    : peers_(peers),
      tell_(std::move(tell)),
      changed_(std::move(changed)),
      files_(directory, before_step),
      store_(std::move(directory), std::move(before_step)),
      nonces_(random) {}

Identities::~Identities() {
    if (!store_.empty() || !handed_in_.empty() || !waiting_.empty()) keep();
}

// A wall clock that was set back goes on from the latest time that was seen, by the clock that never steps.
policy::ClockPair Identities::clock() const {
    const policy::ClockPair now = peers_.now();
    return {std::max<WallTime>(now.wall, latest_ + (now.boot - latest_at_)), now.boot};
}

void Identities::note_time() {
    const policy::ClockPair now = clock();
    latest_ = now.wall;
    latest_at_ = now.boot;
}

UnixSeconds Identities::now() const { return seconds_of(clock().wall); }

// The least of all ends.
void Identities::set_end(Binding& binding, const policy::ClockPair& now) const {
    binding.ends = std::min(binding.identity.not_after, binding.statement_ends);
    if (longest_) binding.ends = std::min(binding.ends, binding.bound_at + longest_->count());
    binding.deadline = deadline_of(binding.ends, now);
}

void Identities::set_longest(std::optional<std::chrono::seconds> longest) {
    if (longest_ == longest) return;
    longest_ = longest;
    registry_.prove_again([&, now = clock()](Binding& one) -> std::optional<std::string> {
        set_end(one, now);
        return std::nullopt;
    });
    limit_all();
}

Trusted Identities::trusted() const { return {store_.ssh(), store_.x509(), now()}; }

std::vector<std::string> Identities::start() {
    std::vector<std::string> wrong;
    latest_at_ = peers_.now().boot;
    const auto stored = files_.read(kFile, kFileBytesMax);
    json handed_in = json::array();
    if (!stored) {
        wrong.push_back(stored.error().message);
        unread_ = true;
    } else if (*stored) {
        const json file = json::parse((*stored)->text, nullptr, false);
        unread_ = !file.is_object() || !file.value("handed_in", json()).is_array();
        if (unread_)
            wrong.push_back(files_.path_of(kFile) + ": is not what was written there");
        else
            handed_in = file["handed_in"];
        if (file.is_object() && file.value("latest", json()).is_number_integer())
            latest_ = WallTime(
                std::chrono::seconds(std::clamp<UnixSeconds>(file["latest"].get<UnixSeconds>(), 0, kFar)));
    }
    if (auto loaded = store_.load(now()); !loaded)
        wrong.push_back("nobody is trusted: " + loaded.error().message);
    for (const auto& entry : store_.entries()) {
        if (!entry.unusable.empty())
            wrong.push_back("the CA '" + entry.name + "' is not used: " + entry.unusable);
    }
    waiting_.assign(handed_in.begin(), handed_in.end());
    audience_ = peers_.own_public_key();
    prove_waiting();
    return wrong;
}

namespace {

std::string text_in(const json& one, const char* key) {
    return one.is_object() && one.value(key, json()).is_string() ? one[key].get<std::string>()
                                                                 : std::string();
}

}  // namespace

// At the start neither peers nor a key are there: those come by the UAPI. While it is not known who is
// trusted, nobody is refused for good.
void Identities::prove_waiting() {
    if (waiting_.empty() || !store_.readable() || !peers_.own_public_key()) return;
    for (json& one : std::exchange(waiting_, {})) {
        if (PublicKey peer; from_base64(text_in(one, "peer"), peer.bytes) && !peers_.has_peer(peer)) {
            waiting_.push_back(std::move(one));
            continue;
        }
        if (const auto again = add_again(one); !again)
            log_error("an identity that was handed in is no longer one: " + again.error().sentence);
    }
}

Verdict<Binding> Identities::add_again(const json& handed_in) {
    const std::string means = text_in(handed_in, "means"), proof = text_in(handed_in, "proof");
    const auto prove = [&]() -> Verdict<Proof> {
        if (means == name_of(Means::certificate)) return prove_by_certificate(proof, trusted());
        const auto own = own_key();
        if (!own) return tl::unexpected(own.error());
        const Expected expected{*own, std::nullopt, std::nullopt};
        if (means == name_of(Means::statement_cms)) return prove_by_cms(proof, expected, trusted());
        return prove_by_ssh(text_in(handed_in, "statement"), proof, expected, trusted());
    };
    const auto kind = means == name_of(Means::certificate)     ? Means::certificate
                      : means == name_of(Means::statement_cms) ? Means::statement_cms
                                                               : Means::statement_ssh;
    return bind(prove(), kind, std::nullopt, handed_in, "");
}

void Identities::peers_changed() {
    const auto own = peers_.own_public_key();
    const bool other_key = audience_ && own != audience_;
    audience_ = own;
    auto gone = registry_.prove_again([&](Binding& one) -> std::optional<std::string> {
        if (!peers_.has_peer(one.peer)) return "peer-removed";
        if (other_key && one.means != Means::certificate) return "audience";
        return std::nullopt;
    });
    for (const auto& one : gone) {
        if (const auto kept = handed_in_.find(one.binding.id); kept != handed_in_.end())
            waiting_.push_back(std::move(kept->second));
    }
    limit_all();  // a peer that was removed and is back has lost its limit
    cut(gone, "");
    prove_waiting();
}

std::optional<Instant> Identities::deadline() const {
    auto due = registry_.next_end();
    if (dirty_) due = std::min(due.value_or(not_before()), not_before());
    if (unwritten_) due = std::min(due.value_or(write_not_before()), write_not_before());
    if (keep_due_) due = std::min(due.value_or(*keep_due_), *keep_due_);
    return due;
}

void Identities::tick() {
    note_time();
    if (auto over = registry_.end_due(peers_.now().boot); !over.empty()) {
        cut(over, "");
        // That it was so late: a clock that is set back after kill -9 must not make it earlier.
        if (!keep_due_)
            keep_due_ = latest_at_ + std::chrono::seconds(std::clamp<UnixSeconds>(
                                         kept_at_ + kKeepTimeSeconds - now(), 0, kKeepTimeSeconds));
    }
    if (keep_due_ && *keep_due_ <= latest_at_) keep();
    settle();
}

void Identities::clock_was_set() {
    note_time();
    registry_.clock_was_set(clock());
    limit_all();
}

// The peer has lost, or loses then, what the rules still say of it.
void Identities::rules_owe(const Binding& binding, Instant lost) {
    const Instant late = lost + kRulesLate;
    Instant& at = overdue_.try_emplace(binding.peer, late).first->second;
    at = std::min(at, late);
}

// How long the data plane trusts the rules about a peer.
IdentityLimit Identities::limit_of(const PublicKey& peer) const {
    const auto late = overdue_.find(peer);
    Instant until = late == overdue_.end() ? Instant::max() : late->second;
    for (const Binding* binding : registry_.of(peer))
        if (binding->deadline < until - kRulesLate) until = binding->deadline + kRulesLate;
    return {peer, until};
}

void Identities::limit(const PublicKey& peer) {
    const IdentityLimit one = limit_of(peer);
    peers_.set_identity_limits({&one, 1});
}

void Identities::limit_overdue() {
    std::vector<IdentityLimit> limits;
    for (const auto& [peer, late] : overdue_) limits.push_back(limit_of(peer));
    peers_.set_identity_limits(limits);
}

void Identities::limit_all() {
    std::vector<IdentityLimit> limits;
    for (const PublicKey& peer : registry_.peers()) limits.push_back(limit_of(peer));
    peers_.set_identity_limits(limits);
}

// Somebody is less than he was.
void Identities::changed() {
    dirty_ = urgent_ = true;
    settle();
}

// One compilation and one write serve all who came since the last. Ends leave half of the time for others, as
// compiling takes its time, and wait for no disk; proofs leave nine tenths, and at least three quarters where
// that lasts, so that a crowd that comes at once is let in sooner.
Instant Identities::not_before() const {
    if (rules_failed_) return compiled_ + kPauseMax;
    if (urgent_) return compiled_ + std::min<Duration>(compiling_took_, kPauseMax);
    const auto pause = std::min<Duration>(kSettlingPause * settling_took_, kSettlingWait);
    const auto least = std::max<Duration>(pause, kSettlingPauseLeast * settling_took_);
    return settled_ + std::min<Duration>(least, kPauseMax);
}

Instant Identities::write_not_before() const { return write_failed_ ? written_ + kWriteAgain : not_before(); }

void Identities::settle() {
    const Instant begin = peers_.now().boot;
    const bool rules = dirty_ && begin >= not_before(), disk = unwritten_ && begin >= write_not_before();
    if (rules) compile();
    if (disk) keep();
    if (rules || disk) {
        settled_ = peers_.now().boot;
        settling_took_ = settled_ - begin;
    }
    finish();
}

// Nobody is bound on this thread meanwhile, so that all who have been are settled.
void Identities::finish() {
    if (pending()) return;
    tell_bound();
    if (settled_hook_) settled_hook_();
    over_.clear();
}

void Identities::tell_bound() {
    if (!in_force()) return;
    for (const auto& [id, one] : std::exchange(untold_, {})) {
        if (const Binding* binding = registry_.find(id))
            tell_({.kind = one.kind,
                   .peer = binding->peer,
                   .binding = binding,
                   .reason = {},
                   .detail = {},
                   .by = one.by});
    }
}

std::string Identities::why_over(std::uint64_t id) const {
    const auto found = over_.find(id);
    return found == over_.end() ? "it is over" : found->second;
}

// What could not be put in force is still to be: until then rules hold for some who have ended.
void Identities::compile() {
    const Instant begin = peers_.now().boot;
    bool done = false;
    try {
        done = changed_();
    } catch (const std::exception& error) {
        log_error("rules for identities cannot be compiled anew", error.what());
    }
    compiled_ = peers_.now().boot;
    compiling_took_ = compiled_ - begin;
    rules_failed_ = !done;
    if (!done) return;
    dirty_ = urgent_ = false;
    const auto settled = std::exchange(overdue_, {});
    std::vector<IdentityLimit> limits;
    limits.reserve(settled.size());
    for (const auto& [peer, late] : settled) limits.push_back(limit_of(peer));
    peers_.set_identity_limits(limits);
}

// Rules first, and with many at once: telling of ten thousand takes longer than cutting them off.
void Identities::cut(const std::vector<Registry::Ended>& ended, std::string_view by) {
    constexpr std::size_t kSoonTold = 64;
    if (ended.size() > kSoonTold) compiling_took_ = {};
    for (const auto& [binding, reason] : ended) {
        if (untold_.erase(binding.id) != 0) over_[binding.id] = reason;
    }
    for (const auto& [binding, reason] : ended)
        rules_owe(binding, std::min(binding.deadline, peers_.now().boot));
    limit_overdue();
    if (!ended.empty()) changed();
    for (const auto& [binding, reason] : ended) {
        handed_in_.erase(binding.id);
        tell_({.kind = IdentityEvent::Kind::ended,
               .peer = binding.peer,
               .binding = &binding,
               .reason = reason,
               .detail = {},
               .by = std::string(by)});
    }
}

Verdict<PublicKey> Identities::peer_at(const IpAddress& source) const {
    const auto peer = peers_.peer_of(source);
    if (!peer) return refuse(Refusal::no_peer, "no peer here has the address " + to_text(source));
    return *peer;
}

Verdict<PublicKey> Identities::own_key() const {
    const auto own = peers_.own_public_key();
    if (!own) return refuse(Refusal::audience, "the interface has no private key yet");
    return *own;
}

Verdict<Identities::Invitation> Identities::invite(const IpAddress& source) {
    const auto peer = peer_at(source);
    if (!peer) return tl::unexpected(peer.error());
    const auto own = own_key();
    if (!own) return tl::unexpected(own.error());
    return Invitation{*peer, *own, nonces_.give(*peer, peers_.now().boot)};
}

// In a second of the boot clock's.
bool Identities::too_often(const PublicKey& peer) {
    constexpr std::size_t kRemembered = 1 << 16;
    const Instant now = peers_.now().boot;
    if (attempts_.size() >= kRemembered)
        std::erase_if(attempts_,
                      [&](const auto& one) { return now - one.second.from >= std::chrono::seconds(1); });
    Attempts& attempts = attempts_[peer];
    if (now - attempts.from >= std::chrono::seconds(1)) attempts = {now, 0};
    return ++attempts.count > kPresentationsPerSecond;
}

Verdict<PublicKey> Identities::presenter(const IpAddress& source) {
    const auto peer = peer_at(source);
    if (!peer) return tl::unexpected(refused(peer.error(), std::nullopt, "").error());
    if (too_often(*peer)) return refuse(Refusal::limit, "more than 8 proofs in a second");
    return *peer;
}

Verdict<Binding> Identities::present_ssh(const PublicKey& presenter, const IpAddress& source,
                                         std::string_view statement, std::string_view signature) {
    const auto own = own_key();
    if (!own) return refused(own.error(), presenter, "");
    const Expected expected{*own, presenter, source};
    const auto said = read_statement(statement, expected, now());
    if (!said) return refused(said.error(), presenter, "");
    if (!nonces_.take(presenter, said->nonce, peers_.now().boot))
        return refused(
            {Refusal::nonce, "the nonce is not one that this peer has been given, or was used already"},
            presenter, "");
    auto proof = prove_by_ssh(statement, signature, expected, trusted());
    if (!proof) return refused(proof.error(), presenter, "");
    return bind(std::move(proof), Means::tunnel_ssh, source, {}, "");
}

Verdict<Binding> Identities::present_tls(const PublicKey& presenter, const IpAddress& source,
                                         const TlsChain& chain, const Claim& claim) {
    const auto own = own_key();
    if (!own) return refused(own.error(), presenter, "");
    if (claim.audience != *own)
        return refused({Refusal::audience, "the proof is for another daemon"}, presenter, "");
    if (claim.wg != presenter)
        return refused({Refusal::peer_key, "the proof names another peer than the one that it came from"},
                       presenter, "");
    if (claim.not_after <= now())
        return refused({Refusal::statement_expired, "the proof has ended"}, presenter, "");
    auto proof = prove_by_tls(chain, presenter, trusted());
    if (!proof) return refused(proof.error(), presenter, "");
    proof->statement_ends = claim.not_after;
    return bind(std::move(proof), Means::tunnel_tls, source, {}, "");
}

Verdict<Binding> Identities::add_ssh(std::string_view statement, std::string_view signature,
                                     std::string_view by) {
    const auto own = own_key();
    if (!own) return refused(own.error(), std::nullopt, by);
    json kept{{"means", name_of(Means::statement_ssh)}, {"statement", statement}, {"proof", signature}};
    return bind(prove_by_ssh(statement, signature, {*own, std::nullopt, std::nullopt}, trusted()),
                Means::statement_ssh, std::nullopt, std::move(kept), by);
}

Verdict<Binding> Identities::add_cms(std::string_view cms, std::string_view by) {
    const auto own = own_key();
    if (!own) return refused(own.error(), std::nullopt, by);
    json kept{{"means", name_of(Means::statement_cms)}, {"proof", cms}};
    return bind(prove_by_cms(cms, {*own, std::nullopt, std::nullopt}, trusted()), Means::statement_cms,
                std::nullopt, std::move(kept), by);
}

Verdict<Binding> Identities::add_certificate(std::string_view pem, std::string_view by) {
    json kept{{"means", name_of(Means::certificate)}, {"proof", pem}};
    return bind(prove_by_certificate(pem, trusted()), Means::certificate, std::nullopt, std::move(kept), by);
}

Verdict<Binding> Identities::refused(Refused why, const std::optional<PublicKey>& peer, std::string_view by) {
    tell_({.kind = IdentityEvent::Kind::refused,
           .peer = peer,
           .binding = nullptr,
           .reason = std::string(trust::refusal_code(why.code)),
           .detail = why.sentence,
           .by = std::string(by)});
    return tl::unexpected(std::move(why));
}

Verdict<Binding> Identities::bind(Verdict<Proof> proof, Means means, const std::optional<IpAddress>& source,
                                  json handed_in, std::string_view by) {
    if (!proof) return refused(proof.error(), std::nullopt, by);
    if (!peers_.has_peer(proof->peer))
        return refused({Refusal::no_peer, "the key is that of no peer here"}, proof->peer, by);
    const policy::ClockPair now = clock();
    Binding binding;
    binding.peer = proof->peer;
    binding.identity = std::move(proof->identity);
    binding.means = means;
    binding.bound_at = seconds_of(now.wall);
    // What is proven again at a start was bound when it was handed in.
    if (const auto before = handed_in.find("bound_at");
        before != handed_in.end() && before->is_number_integer())
        binding.bound_at = std::min(binding.bound_at, std::max<UnixSeconds>(before->get<UnixSeconds>(), 0));
    binding.statement_ends = proof->statement_ends;
    binding.evidence = std::move(proof->evidence);
    set_end(binding, now);
    if (binding.deadline <= now.boot)
        return refused({Refusal::expired, "a binding may not last so long (identity_max)"}, proof->peer, by);
    binding.source = source;
    const auto bound = registry_.bind(std::move(binding));
    if (!bound) return refused(bound.error(), proof->peer, by);
    // A renewal through the tunnel leaves what was handed in where it is: for a restart, after which a peer
    // without an identity may not have a session to come through.
    if (!handed_in.is_null()) {
        handed_in["peer"] = to_base64(bound->binding->peer.bytes);
        handed_in["bound_at"] = bound->binding->bound_at;
        handed_in_[bound->binding->id] = std::move(handed_in);
        unwritten_ |= !by.empty();
    }
    // Rules say what was bound before until they are compiled anew.
    if (bound->renewed && bound->changed) rules_owe(*bound->binding, bound->ended_before);
    limit(bound->binding->peer);
    dirty_ |= bound->changed;
    untold_.emplace(
        bound->binding->id,
        Untold{bound->renewed ? IdentityEvent::Kind::renewed : IdentityEvent::Kind::bound, std::string(by)});
    settle();
    return *bound->binding;
}

bool Identities::remove(std::uint64_t id, std::string_view by) {
    auto ended = registry_.end(id, "removed");
    if (!ended) return false;
    unwritten_ |= handed_in_.erase(id) != 0;
    std::vector<Registry::Ended> one;
    one.push_back(std::move(*ended));
    cut(one, by);
    return true;
}

// The latest time that was seen goes with it. What cannot be written is still to be.
void Identities::keep() {
    kept_at_ = now();
    keep_due_.reset();
    json file{{"version", 1}, {"latest", kept_at_}, {"handed_in", json::array()}};
    for (const auto& [id, one] : handed_in_) file["handed_in"].push_back(one);
    for (const json& one : waiting_) file["handed_in"].push_back(one);
    if (std::exchange(unread_, false)) (void)files_.rename(kFile, kBroken);
    const auto kept = files_.replace(kFile, file.dump(-1, ' ', true, json::error_handler_t::replace) + "\n");
    if (!kept && !write_failed_)
        log_error("what is handed in and what is removed will not outlive a restart: " +
                  kept.error().message);
    unwritten_ = write_failed_ = !kept;
    written_ = peers_.now().boot;
}

Verdict<void> Identities::trust(trust::SshSource source, std::string_view by) {
    const std::string name = source.name;
    if (auto done = store_.put(std::move(source)); !done) return done;
    trust_changed(Identity::Kind::ssh, name, "is trusted", by);
    return {};
}

Verdict<void> Identities::trust(trust::X509CaText source, std::string_view by) {
    const std::string name = source.name;
    if (auto done = store_.put(std::move(source), now()); !done) return done;
    trust_changed(Identity::Kind::x509, name, "is trusted", by);
    return {};
}

Result<bool> Identities::distrust(Identity::Kind kind, std::string_view name, std::string_view by) {
    auto removed = store_.remove(kind, name);
    if (removed && *removed) trust_changed(kind, name, "is no longer trusted", by);
    return removed;
}

// What was proven by CAs of this kind is proven again: who is revoked now, or has no CA any more, ends; names
// and groups may be others; a newer list is good for longer.
void Identities::trust_changed(Identity::Kind kind, std::string_view name, std::string_view what,
                               std::string_view by) {
    tell_({.kind = IdentityEvent::Kind::trust_changed,
           .peer = {},
           .binding = nullptr,
           .reason = {},
           .detail = fmt::format("{} CA '{}' {}", kind == Identity::Kind::ssh ? "SSH" : "X.509",
                                 printable(name), what),
           .by = std::string(by)});
    const Trusted trusted = this->trusted();
    auto over = registry_.prove_again([&, now = clock()](Binding& one) -> std::optional<std::string> {
        if (one.identity.kind != kind) return std::nullopt;
        auto again = prove_again(one, trusted);
        if (!again) return std::string(trust::refusal_code(again.error().code));
        if (!(*again == one.identity)) rules_owe(one, std::min(one.deadline, now.boot));
        one.identity = std::move(*again);
        set_end(one, now);
        return std::nullopt;
    });
    limit_all();
    if (over.empty()) changed();
    cut(over, by);
    keep();
    finish();
}

}  // namespace vern::identity
