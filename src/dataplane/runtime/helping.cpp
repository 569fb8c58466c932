#include "dataplane/runtime/helping.h"

#include <time.h>

#include <algorithm>
#include <utility>

namespace vern {
namespace {

Instant monotonic_now() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return Instant(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

}  // namespace

Helping::Helping(AeadBoard& board, const aead::Implementation& aead, unsigned members, HandOver when,
                 std::function<void(unsigned)> wake)
    : board_(board),
      aead_(aead),
      members_(when == HandOver::never ? 1 : members),
      when_(when),
      wake_(std::move(wake)),
      seats_(new Seat[members]) {
    board_.set_patience(*this);
}

void Helping::begin_thread(unsigned worker) noexcept {
    if (members_ > 1) seats_[worker].cpu.watch();
}

bool Helping::before_wait(unsigned member) noexcept {
    if (members_ == 1) return false;
    if (seats_[member].attentive) return true;
    seats_[member].asleep.store(true, std::memory_order_relaxed);
    return false;
}

void Helping::after_wait(unsigned member) noexcept {
    if (members_ > 1) seats_[member].asleep.store(false, std::memory_order_relaxed);
}

void Helping::begin_turn(unsigned worker, std::size_t bytes) noexcept {
    if (members_ == 1 || bytes < kCallBytes) return;
    Seat& seat = seats_[worker];
    if (when_ == HandOver::automatic) {
        const Instant now = monotonic_now();
        if (now - seat.looked_at >= kLook) look(worker, now);
        if (now.time_since_epoch().count() < quiet_until_ns_.load(std::memory_order_relaxed)) return;
    }
    seat.calling = true;
    callers_.fetch_add(1, std::memory_order_relaxed);
    if (board_.attending() >= bytes / kCallBytes) return;
    for (unsigned i = 1; i < members_; ++i) {
        const unsigned other = (worker + i) % members_;
        std::atomic<bool>& asleep = seats_[other].asleep;
        if (!asleep.load(std::memory_order_relaxed) || !asleep.exchange(false, std::memory_order_relaxed))
            continue;
        ++seat.calls;
        calls_.fetch_add(1, std::memory_order_relaxed);
        return wake_(other);
    }
}

void Helping::end_turn(unsigned worker) noexcept {
    if (std::exchange(seats_[worker].calling, false)) callers_.fetch_sub(1, std::memory_order_relaxed);
}

// Whether a CPU is to be had. What is not known counts as a no: nothing is lost then but the help.
void Helping::look(unsigned worker, Instant now) noexcept {
    Seat& seat = seats_[worker];
    const bool fresh = now - seat.looked_at < 2 * kLook;
    seat.looked_at = now;
    const bool called = seat.calls > 0;
    auto verdict = seat.cpu.sample();
    if (!of_use(worker)) verdict = CpuWait::Verdict::crowded;
    if (fresh && verdict == CpuWait::Verdict::free) {
        if (called) pause_ns_.store(kFirstPause.count(), std::memory_order_relaxed);
        return;
    }
    Duration pause = kLook;
    if (verdict == CpuWait::Verdict::crowded) {
        pause = Duration(pause_ns_.load(std::memory_order_relaxed));
        pause_ns_.store(std::min(2 * pause, kLongestPause).count(), std::memory_order_relaxed);
    }
    quiet_until_ns_.store((now + pause).time_since_epoch().count(), std::memory_order_relaxed);
}

// Since the last look.
bool Helping::of_use(unsigned worker) noexcept {
    Seat& seat = seats_[worker];
    const std::uint64_t handed_over = board_.desk(worker).handed_over();
    const std::uint64_t tasks = handed_over - std::exchange(seat.handed_over, handed_over);
    return tasks >= kTasksOfACall * std::exchange(seat.calls, 0);
}

void Helping::attend(unsigned member) noexcept {
    Seat& seat = seats_[member];
    const bool again = std::exchange(seat.attentive, false);
    if (members_ == 1 || (!again && callers_.load(std::memory_order_relaxed) == 0)) return;
    board_.attend();
    const Instant begin = monotonic_now();
    if (!again) seat.had_work = begin;
    for (Instant now = begin; patient(now - seat.had_work); now = monotonic_now()) {
        if (board_.help(member + 1, aead_)) seat.had_work = monotonic_now();
        cpu_relax();
        if (now - begin < kShift) continue;
        seat.attentive = true;
        break;
    }
    board_.leave();
}

bool Helping::patient(Duration idle) const noexcept {
    if (callers_.load(std::memory_order_relaxed) == 0) return idle < kLinger;
    return idle < kPatience || when_ == HandOver::always;
}

void Helping::wait(unsigned, unsigned round) noexcept {
    if (round < AeadBoard::kStallRounds) return cpu_relax();
    const timespec nap{0, kNap.count()};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
}

}  // namespace vern
