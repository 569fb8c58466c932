// What is to happen when. Events of one instant happen in the order in which they were added.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "virtual_time.h"

namespace vern::sim {

class Agenda {
  public:
    using Action = std::function<void()>;

    Nanos now() const noexcept { return now_; }
    bool empty() const noexcept { return heap_.empty(); }
    std::uint64_t done() const noexcept { return done_; }

    void at(Nanos when, Action action) {
        heap_.push_back({std::max(when, now_), ++added_, std::move(action)});
        std::push_heap(heap_.begin(), heap_.end(), later);
    }
    void in(Nanos delay, Action action) { at(now_ + delay, std::move(action)); }

    // Runs the next event, if it is due by `until`; otherwise time moves there.
    bool step(Nanos until) {
        if (heap_.empty() || heap_.front().at > until) {
            now_ = std::max(now_, until);
            return false;
        }
        std::pop_heap(heap_.begin(), heap_.end(), later);
        Entry entry = std::move(heap_.back());
        heap_.pop_back();
        now_ = entry.at;
        ++done_;
        entry.action();
        return true;
    }

  private:
    struct Entry {
        Nanos at;
        std::uint64_t number;
        Action action;
    };
    static bool later(const Entry& a, const Entry& b) noexcept {
        return a.at != b.at ? a.at > b.at : a.number > b.number;
    }

    Nanos now_ = 0;
    std::uint64_t added_ = 0;
    std::uint64_t done_ = 0;
    std::vector<Entry> heap_;
};

}  // namespace vern::sim
