// When workers help one another with the AEAD (aead_board.h): who calls, who wakes up, how long a helper
// stays.
//
//   An owner whose turn brought at least kCallBytes calls: it wakes one member that sleeps, unless one for
//   every kCallBytes is there already. Less is done before a sleeper would be there. A member that is woken
//   attends to the board. It sleeps again when it had nothing to do for kPatience, or for kLinger after the
//   last caller's turn ended: the next turn of a busy tunnel follows at once. Its own input comes first: it
//   looks for that every kShift. Nobody calls while threads of ours wait for CPUs (cpu_wait.h): then there is
//   no idle core to be had, and handing over would only add its costs. Nor while calls bring little, because
//   whoever is woken comes too late. Both are looked at every kLook of load; after a no it is tried again in
//   kFirstPause, then in twice that, up to kLongestPause.
//
// Members are the workers, and after them threads that are nothing but helpers. With one member nothing of
// this happens.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "crypto/instant.h"
#include "dataplane/core/aead_board.h"
#include "dataplane/runtime/cpu_wait.h"

namespace vern {

// When AEAD work may be handed over. Always: crowded or not, and helpers stay until the turn that called them
// ends.
enum class HandOver { automatic, always, never };

class Helping final : public AeadBoard::Patience {
  public:
    // `wake` ends a member's sleep; any thread calls it.
    Helping(AeadBoard& board, const aead::Implementation& aead, unsigned members, HandOver when,
            std::function<void(unsigned)> wake);

    // --- each member's thread, with its own number

    // Around its sleep. True: do not sleep.
    bool before_wait(unsigned member) noexcept;
    void after_wait(unsigned member) noexcept;
    // It was woken and nothing came: helps as long as that is of use, but no longer than kShift.
    void attend(unsigned member) noexcept;

    // --- each worker's thread

    void begin_thread(unsigned worker) noexcept;
    // Around a turn that brought so many bytes of trains.
    void begin_turn(unsigned worker, std::size_t bytes) noexcept;
    void end_turn(unsigned worker) noexcept;

    // AeadBoard::Patience
    void wait(unsigned worker, unsigned round) noexcept override;

    std::uint64_t calls() const noexcept { return calls_.load(std::memory_order_relaxed); }

    static constexpr std::size_t kCallBytes = std::size_t{160} << 10;  // three full trains, or nearly
    static constexpr std::uint64_t kTasksOfACall = 2;  // fewer, and the call costs more than it brings
    static constexpr Duration kPatience = std::chrono::microseconds(150);
    static constexpr Duration kLinger = std::chrono::microseconds(30);
    static constexpr Duration kShift = std::chrono::microseconds(100);
    static constexpr Duration kNap = std::chrono::microseconds(20);
    static constexpr Duration kLook = std::chrono::milliseconds(10);
    static constexpr Duration kFirstPause = std::chrono::milliseconds(20);
    static constexpr Duration kLongestPause = std::chrono::seconds(2);

  private:
    struct alignas(64) Seat {
        std::atomic<bool> asleep{false};  // and may be woken
        // The member's own.
        bool calling = false;
        bool attentive = false;  // its last shift ended because it had lasted long enough
        Instant had_work{};
        CpuWait cpu;
        Instant looked_at{};
        std::uint64_t calls = 0;        // since the last look
        std::uint64_t handed_over = 0;  // until then
    };

    void look(unsigned worker, Instant now) noexcept;
    bool of_use(unsigned worker) noexcept;
    bool patient(Duration idle) const noexcept;

    AeadBoard& board_;
    const aead::Implementation& aead_;
    const unsigned members_;  // 1 where nothing is to be handed over
    const HandOver when_;
    const std::function<void(unsigned)> wake_;
    std::unique_ptr<Seat[]> seats_;
    alignas(64) std::atomic<unsigned> callers_{0};
    // Written once every kLook at most.
    std::atomic<Duration::rep> quiet_until_ns_{0};
    std::atomic<Duration::rep> pause_ns_{kFirstPause.count()};
    std::atomic<std::uint64_t> calls_{0};
};

}  // namespace vern
