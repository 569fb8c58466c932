// What the daemon tells its audit trail: decisions of the data plane, what becomes of policies, its own start
// and end. Owns trail, aggregation and journal. Control thread only; decisions come to it from the data
// plane's bounded rings, so nobody's packets wait for a disk.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "control/audit/aggregate.h"
#include "control/audit/journal.h"
#include "control/audit/trail.h"
#include "control/audit/watch.h"
#include "control/identity/identities.h"
#include "control/json.h"
#include "control/policy/control.h"

namespace vern::audit {

struct RecorderOptions {
    std::string directory;
    // Without its trail the daemon does not start. Else it starts, says so, and tries again.
    bool required = false;
    std::string interface;
    bool journal = false;
    std::string journal_socket{kJournalSocket};
};

// How records are kept, since the daemon began.
struct Keeping {
    std::string failure;    // what is wrong now, in words; empty: nothing is
    std::uint64_t seq = 0;  // of the last record
    std::uint64_t lost = 0;
    std::optional<std::uint64_t> journal_lost;  // nothing: the journal is not told
};

class Recorder final : public policy::PolicyObserver {
  public:
    using Clock = std::function<policy::ClockPair()>;

    // Errors: the trail is required, and cannot be written.
    static Result<std::unique_ptr<Recorder>> start(RecorderOptions options, Clock clock);
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;
    ~Recorder() override;

    // `proven`: what the peer has proven. Of several the record has the one that the rule asks for; if that
    // is none or not one alone, the names of all.
    void flow(const policy::LogRecord& logged, const std::optional<PublicKey>& peer,
              const policy::InForce& policy, std::vector<const identity::Binding*> proven = {});
    void identity_event(const identity::IdentityEvent& event, const policy::InForce& policy);
    void policy_event(const policy::PolicyEvent& event) override;
    // When look() is due, and what it is to look at.
    bool wants_look() const { return clock_().boot >= watch_.deadline(); }
    void look(const Watch::Count& count, const std::vector<PeerStatus>& peers, const Watch::NameOf& name_of);
    // `suppressed`: how many decisions the data plane has not logged since it began.
    void tick(std::uint64_t suppressed);
    std::optional<Instant> deadline() const;
    // The last record. Nothing is to come after it.
    void stop(std::string_view why);

    Keeping keeping() const;
    nlohmann::json summary() const;  // the same for `vern show --json`

  private:
    Recorder(RecorderOptions options, Clock clock);
    Result<void> open_trail();
    void write(Record record);
    void tell_suppressed();

    RecorderOptions options_;
    Clock clock_;
    std::optional<Journal> journal_;
    bool journal_failed_ = false;
    std::optional<Trail> trail_;
    std::string no_trail_;                   // why there is none
    std::uint64_t missed_ = 0, untold_ = 0;  // while there was none, and not yet in a trail
    Instant open_again_{};
    Aggregate flows_;
    Watch watch_;
    std::uint64_t suppressed_ = 0, suppressed_told_ = 0;
    Instant suppressed_again_{};  // not told before
    bool stopped_ = false;
};

}  // namespace vern::audit
