// A hub between a few peers, packet by packet through the gate, and beside it a plain model of what the
// policy means: nothing may pass that the model cannot justify. The worlds of world.h have the whole core and
// little policy; this one has the whole policy and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace vern::sim {

// What is done wrong on purpose, to show that the model sees it.
enum class Plant {
    none,
    deny_not_told,    // the gate knows only what is allowed
    change_not_told,  // the gate keeps its first policy
    rate_not_told,
    cap_not_told,
    pick_up_stays,
    wrong_carrier,       // errors are judged as if they came from whose flow they quote
    fragments_as_whole,  // later fragments lose their offset
    out_not_asked,       // what is forwarded passes the gate once
    answer_to_target,    // what rejects answers whom the packet was for
};

struct GateViolation {
    std::string invariant;
    std::string message;
};

// What happened in a world: how much of it was looked at, and what was wrong.
struct GateOutcome {
    std::optional<GateViolation> violation;
    std::uint64_t passed = 0, denied = 0, rejected = 0, forwarded = 0;
    std::uint64_t errors_passed = 0, fragments_passed = 0, picked_up = 0, tokens = 0, restarts = 0;
};

GateOutcome run_gate_world(std::uint64_t seed, Plant plant = Plant::none);

}  // namespace vern::sim
