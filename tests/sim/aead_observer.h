// An AEAD implementation that shows every job to whoever drives the core at that moment, before and after the
// real one works on it.
#pragma once

#include <span>

#include "crypto/aead.h"

namespace vern::sim {

class AeadObserver {
  public:
    virtual ~AeadObserver() = default;
    // The plaintexts may still be changed: sealing is in place.
    virtual void before_seal(std::span<const aead::SealJob> jobs) noexcept = 0;
    virtual void before_open() noexcept = 0;
    // May also change the verdicts, which is what a defect would do.
    virtual void after_open(std::span<aead::OpenJob> jobs) noexcept = 0;
};

extern const aead::Implementation kObservedAead;

// Who observes, in this thread. Restores the one before when it ends.
class Observing {
  public:
    explicit Observing(AeadObserver& observer) noexcept;
    ~Observing();
    Observing(const Observing&) = delete;
    Observing& operator=(const Observing&) = delete;

  private:
    AeadObserver* before_;
};

}  // namespace vern::sim
