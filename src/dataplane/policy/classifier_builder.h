// Makes a Classifier: sets of rules first, then which of them are asked together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "crypto/error.h"
#include "dataplane/policy/classifier.h"
#include "dataplane/policy/rules.h"

namespace vern::policy {

class ClassifierBuilder {
  public:
    using Set = std::uint32_t;
    struct Ranked {
        std::uint32_t rank;  // precedence: the lowest one decides; below 2^31
        const Rule* rule;
    };
    ClassifierBuilder();

    // Adds what it takes to `entries`, `ranks`, of a limit each. Errors: more than `weight_max`; nothing is
    // added then.
    Result<Set> add(std::span<const Ranked> rules, std::size_t weight_max);
    Classifier::List list(std::span<const Set> sets);
    // Of entries, intervals and list members: what the limit is on.
    std::size_t weight() const noexcept;
    // Last. Errors: no memory.
    Result<Classifier> finish() &&;

  private:
    template <std::size_t kWords>
    struct Pending {
        std::vector<Classifier::Entry<kWords>> entries;
        std::vector<Classifier::Probe<kWords>> probes;  // by tuple
        std::vector<Classifier::Range> sets;            // of probes
    };
    struct Claims;

    template <std::size_t kWords>
    bool add_tuples(Claims& claims, Pending<kWords>& pending, std::size_t weight_max);
    template <std::size_t kWords>
    void add_list(std::span<const Set> sets, const Pending<kWords>& pending,
                  Classifier::Space<kWords>& space);
    template <std::size_t kWords>
    static bool fill(const Pending<kWords>& pending, Classifier::Space<kWords>& space);

    Pending<1> v4_;
    Pending<4> v6_;
    Classifier out_;
};

}  // namespace vern::policy
