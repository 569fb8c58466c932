// What another policy changes, told by the ids of its rules.
#pragma once

#include <string>
#include <vector>

#include "control/policy/document.h"

namespace vern::policy {

struct Difference {
    std::vector<std::string> added, removed;
    std::vector<std::pair<std::string, std::string>> changed;  // id, and what of it: "services, rate"
    std::vector<std::string> other;                            // "name: a, now b", "the order of the rules"
    bool empty() const { return added.empty() && removed.empty() && changed.empty() && other.empty(); }
};

Difference difference(const Document& before, const Document& after);
std::string to_text(const Difference& difference);  // lines that begin with +, -, ~ and *

}  // namespace vern::policy
