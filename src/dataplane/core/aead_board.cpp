#include "dataplane/core/aead_board.h"

namespace vern {
namespace {

// Single writer: no locked instruction.
void count(std::atomic<std::uint64_t>& cell) noexcept {
    cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

bool AeadBoard::Desk::run_own(AeadLine& line, const aead::Implementation& aead) noexcept {
    const auto number = line.take();
    if (!number) return false;
    line.run(*number, aead);
    count(own_);
    return true;
}

void AeadBoard::finish(Desk& desk, AeadLine& line, AeadLine::Number number,
                       const aead::Implementation& aead) noexcept {
    for (unsigned round = 0; !line.done(number);) {
        if (desk.run_own(line, aead)) continue;
        if (round++ == kStallRounds) count(desk.stalls_);
        patience_->wait(static_cast<unsigned>(&desk - desks_.get()), round);
    }
}

bool AeadBoard::help(unsigned first, const aead::Implementation& aead) noexcept {
    for (unsigned i = 0; i < workers_; ++i) {
        Desk& desk = desks_[(first + i) % workers_];
        for (AeadLine* line : {&desk.seals, &desk.opens}) {
            if (const auto number = line->take()) {
                line->run(*number, aead);
                return true;
            }
        }
    }
    return false;
}

}  // namespace vern
