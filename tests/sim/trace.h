// What happened, as a hash over everything and the last few hundred entries in full. Two runs of a seed must
// give the same hash.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "rng.h"
#include "virtual_time.h"

namespace vern::sim {

// X(name, format of its three numbers)
#define VERN_SIM_EVENTS(X)                                             \
    X(tun_in, "host {} takes packet {} of flow {} from its stack")     \
    X(sent, "host {} sends datagram {} ({} bytes)")                    \
    X(lost, "datagram {} from host {} is lost (reason {})")            \
    X(arrived, "host {} gets datagram {} ({} bytes)")                  \
    X(delivered, "host {} hands packet {} of flow {} to its stack")    \
    X(turn, "host {} worker {} takes a turn with {} inputs")           \
    X(service, "host {} serves its slow path, more {}, wakeups {:#x}") \
    X(deadline, "host {} reaches its deadline {} ns (boot), {}")       \
    X(dispose, "host {} disposes of what is retired (turn {}, {})")    \
    X(endpoint, "host {}: peer {} is now at port {}")                  \
    X(fault, "fault {2} on host {0} (other {1})")                      \
    X(phase, "phase {} begins (host {}, {})")                          \
    X(hostile, "host {} gets hostile datagram of kind {} ({} bytes)")

enum class Event : std::uint8_t {
#define X(name, text) name,
    VERN_SIM_EVENTS(X)
#undef X
};

class Trace {
  public:
    explicit Trace(bool verbose) : verbose_(verbose) {}

    void add(Nanos at, Event what, std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0) {
        hash_ = mix(hash_ ^ static_cast<std::uint64_t>(at)) ^
                mix(a ^ (b << 20) ^ (c << 40) ^ static_cast<std::uint64_t>(what));
        ring_[count_++ % ring_.size()] = {at, what, a, b, c};
        if (verbose_) print(ring_[(count_ - 1) % ring_.size()]);
    }
    // Contents count too, not only that something was sent.
    void mix_in(std::uint64_t value) noexcept { hash_ = mix(hash_ ^ value); }
    std::uint64_t hash() const noexcept { return hash_; }
    std::uint64_t count() const noexcept { return count_; }
    std::string tail(std::size_t lines) const;

  private:
    struct Entry {
        Nanos at;
        Event what;
        std::uint64_t a, b, c;
    };
    static std::string text(const Entry& entry);
    static void print(const Entry& entry);

    bool verbose_;
    std::uint64_t hash_ = 0;
    std::uint64_t count_ = 0;
    std::array<Entry, 512> ring_;
};

}  // namespace vern::sim
