// How one tunnel uses several cores: a worker puts the AEAD of its trains up as tasks, and workers that have
// nothing of their own to do take them.
//
//   owner    the worker whose trains they are. It offers tasks in order, and goes on only with the oldest:
//   seals it itself if nobody has taken it,
//            waits if somebody has and is not ready. So the order of trains does not depend on who did the
//            work.
//   helper   a worker that is idle. It attends to the board, takes tasks from the front of any owner's line,
//   runs them, and touches nothing else.
//
// All tasks of a turn are done before the owner's turn ends, so what they point to (keys, buffers) lives by
// the owner's quiescent state alone. A helper holds one task at a time: what its being preempted costs is
// bounded by one train.
//
// Handing over costs one compare-and-swap a train; with nobody attending, an owner pays one load of a line
// that does not change.
#pragma once

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "crypto/aead.h"
#include "dataplane/base/spin_lock.h"

namespace vern {

// One piece of work: a departing train, or a part of a batch of arrivals. One of the two is empty. The jobs
// are the owner's until it has seen the task done.
struct AeadTask {
    std::span<const aead::SealJob> seal;
    std::span<aead::OpenJob> open;
};

// One worker's tasks, in order, taken from the front. One thread offers, any thread takes.
class AeadLine {
  public:
    using Number = std::uint64_t;  // of a task, from 0 on; never used again
    static constexpr std::size_t kTasks = 16;

    // --- the owner alone

    // There must be room: at most kTasks that the owner has not seen done.
    Number offer(const AeadTask& task) noexcept {
        const Number number = offered_.load(std::memory_order_relaxed);
        assert(number < kTasks || done(number - kTasks));
        slot(number).task = task;
        offered_.store(number + 1, std::memory_order_release);
        return number;
    }
    bool done(Number number) const noexcept {
        return slot(number).done.load(std::memory_order_acquire) > number;
    }
    std::size_t untaken() const noexcept {
        return static_cast<std::size_t>(offered_.load(std::memory_order_relaxed) -
                                        taken_.load(std::memory_order_relaxed));
    }

    // --- anyone

    // The oldest task that nobody has: whoever gets it must run() it, soon.
    std::optional<Number> take() noexcept {
        Number next = taken_.load(std::memory_order_relaxed);
        while (next < offered_.load(std::memory_order_acquire)) {
            if (taken_.compare_exchange_weak(next, next + 1, std::memory_order_relaxed)) return next;
        }
        return std::nullopt;
    }
    void run(Number number, const aead::Implementation& aead) noexcept {
        Slot& mine = slot(number);
        if (!mine.task.seal.empty()) aead.seal(mine.task.seal);
        if (!mine.task.open.empty()) aead.open(mine.task.open);
        mine.done.store(number + 1, std::memory_order_release);
    }
    std::uint64_t offered() const noexcept { return offered_.load(std::memory_order_relaxed); }
    std::size_t depth() const noexcept {
        const Number taken = taken_.load(std::memory_order_acquire);  // first: it is never ahead
        return static_cast<std::size_t>(offered_.load(std::memory_order_acquire) - taken);
    }

  private:
    struct alignas(64) Slot {
        AeadTask task;
        std::atomic<Number> done{0};  // one more than the number of the last task that was done here
    };
    Slot& slot(Number number) noexcept { return slots_[number % kTasks]; }
    const Slot& slot(Number number) const noexcept { return slots_[number % kTasks]; }

    alignas(64) std::atomic<Number> offered_{0};  // written by the owner alone
    alignas(64) std::atomic<Number> taken_{0};
    std::array<Slot, kTasks> slots_{};
};

class AeadBoard {
  public:
    // What an owner, a worker, does while a helper is not ready: for those who have threads. `round` counts
    // the calls of one wait.
    class Patience {
      public:
        virtual ~Patience() = default;
        virtual void wait(unsigned worker, unsigned round) noexcept = 0;
    };
    // 100 us or more; a helper works 15 to 50 on a full train. Who waits for so long waits for one that lost
    // its CPU.
    static constexpr unsigned kStallRounds = 4000;

    // A worker's two lines. Seals leave by the outlet in their order, arrivals are settled in theirs; neither
    // waits for the other.
    class Desk {
      public:
        AeadLine seals;
        AeadLine opens;

        // The owner: runs the oldest task of a line if nobody has it.
        bool run_own(AeadLine& line, const aead::Implementation& aead) noexcept;

        // Any thread.
        std::uint64_t handed_over() const noexcept {
            const std::uint64_t own = own_.load(std::memory_order_relaxed);
            return seals.offered() + opens.offered() - own;
        }
        std::uint64_t stalls() const noexcept { return stalls_.load(std::memory_order_relaxed); }

      private:
        friend class AeadBoard;
        std::atomic<std::uint64_t> own_{0};     // tasks that the owner ran; written by it alone, as the next
        std::atomic<std::uint64_t> stalls_{0};  // waits for a helper that had lost its CPU
    };

    explicit AeadBoard(unsigned workers) : desks_(new Desk[workers]), workers_(workers) {}

    Desk& desk(unsigned worker) noexcept { return desks_[worker]; }
    const Desk& desk(unsigned worker) const noexcept { return desks_[worker]; }
    // Before workers run. Must outlive the board's use.
    void set_patience(Patience& patience) noexcept { patience_ = &patience; }

    // --- the owner

    // How many helpers look at the board now: what is offered will be taken at once.
    unsigned attending() const noexcept { return attending_.load(std::memory_order_relaxed); }
    // Returns when the task is done: runs what nobody has taken, from the front on, and waits when nothing of
    // that is left.
    void finish(Desk& desk, AeadLine& line, AeadLine::Number number,
                const aead::Implementation& aead) noexcept;

    // --- helpers

    // Between the two calls: take and run tasks without delay, several thousand times a millisecond.
    void attend() noexcept { attending_.fetch_add(1, std::memory_order_relaxed); }
    void leave() noexcept { attending_.fetch_sub(1, std::memory_order_relaxed); }
    // Takes one task of any owner and runs it. False: there is none. `first`: whose desk to look at first.
    bool help(unsigned first, const aead::Implementation& aead) noexcept;

  private:
    class Spin final : public Patience {
      public:
        void wait(unsigned, unsigned) noexcept override { cpu_relax(); }
    };

    alignas(64) std::atomic<unsigned> attending_{0};
    alignas(64) std::unique_ptr<Desk[]> desks_;
    unsigned workers_;
    Spin spin_;
    Patience* patience_ = &spin_;
};

}  // namespace vern
