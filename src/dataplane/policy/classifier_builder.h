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
    // Each list has tuples of its own, best first: `tuples_max` of all lists together. Errors: more than
    // that.
    Result<Classifier::List> list(std::span<const Set> sets, std::size_t tuples_max);
    // Of entries, intervals and list members: what the limit is on.
    std::size_t weight() const noexcept;
    // Last. Errors: no memory. `wide`: for tests, whether what this CPU has for many tuples at once is used.
    Result<Classifier> finish(bool wide = true) &&;

  private:
    template <std::size_t kWords>
    struct Tuple {
        Classifier::Words<kWords> mask;
        std::uint64_t salt, protocol_mask, port_mask;
        std::uint32_t best, tag;
    };
    template <std::size_t kWords>
    struct Pending {
        std::vector<Classifier::Entry<kWords>> entries;
        std::vector<Tuple<kWords>> tuples;    // by number
        std::vector<Classifier::Range> sets;  // of tuples
    };
    struct Claims;

    template <std::size_t kWords>
    bool add_tuples(Claims& claims, Pending<kWords>& pending, std::size_t weight_max);
    template <std::size_t kWords>
    static std::size_t tuples_of(std::span<const Set> sets, const Pending<kWords>& pending) noexcept;
    template <std::size_t kWords>
    static void add_list(std::span<const Set> sets, const Pending<kWords>& pending,
                         Classifier::Space<kWords>& space);
    template <std::size_t kWords>
    bool fill(const Pending<kWords>& pending, Classifier::Space<kWords>& space) const;
    template <std::size_t kWords>
    std::span<const Classifier::Interval> intervals_of(const Classifier::Entry<kWords>& entry) const noexcept;
    template <std::size_t kWords>
    static bool fill_filter(const std::vector<std::uint64_t>& asked, Classifier::Space<kWords>& space);
    template <typename Visit>
    static void each_block(std::span<const Classifier::Interval> intervals, const Visit& visit);

    Pending<1> v4_;
    Pending<4> v6_;
    Classifier out_;
};

}  // namespace vern::policy
