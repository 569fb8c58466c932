#include "recovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "host.h"
#include "world.h"

namespace vern::sim {
namespace {

constexpr Nanos kRetry = nanos(kRekeyTimeout + kRekeyTimeoutJitterMax);
constexpr Nanos kNotice = nanos(kKeepaliveTimeout + kRekeyTimeout + kRekeyTimeoutJitterMax);
constexpr Nanos kWay = kSecond;
// One for data that came, one that confirms a handshake, one in reserve for a handshake of the other side
// that crossed ours.
constexpr unsigned kLastKeepalives = 3;

}  // namespace

bool Recovery::knows(Host& self, Host& other) const {
    const Peer* peer = self.peer(other.id());
    return peer && peer->endpoint.known() && place_of(peer->endpoint) == other.place();
}

Recovery::State Recovery::state(Host& from, Host& to) const {
    const Peer* there = from.peer(to.id());
    const Peer* here = to.peer(from.id());
    if (!there || !here) return State::stale;
    const Session* session = there->next && there->next->confirmed.load() ? there->next : there->current;
    if (!session || !session->usable_for_sending(instant(from.boot()))) return State::none;
    for (const Session* known : {here->current, here->next, here->previous}) {
        if (!known || known->local_index != session->remote_index) continue;
        // One that ends while we watch may carry the first probe or not.
        const Nanos margin = 30 * kSecond;
        const bool lasts =
            !known->expired(instant(to.boot() + margin)) && !session->expired(instant(from.boot() + margin));
        return lasts && session->next_counter.load() < kRejectAfterMessages - 1000 ? State::carries
                                                                                   : State::stale;
    }
    return State::stale;
}

Nanos Recovery::wait(State state) const noexcept {
    return kProbe + (state == State::carries ? 0 : state == State::none ? kRetry : kNotice);
}

Nanos Recovery::watch() {
    Nanos last = 0;
    for (HostId from = 0; from < world_.host_count(); ++from) {
        for (HostId to = 0; to < world_.host_count(); ++to) {
            Host& a = world_.host(from);
            Host& b = world_.host(to);
            if (!a.setting(to).neighbour) continue;
            const State ours = state(a, b);
            Nanos bound = knows(a, b) ? wait(ours) : INT64_MAX;
            if (knows(b, a)) {
                const Nanos after = wait(state(b, a)) + (ours == State::carries ? kProbe
                                                         : ours == State::none  ? kProbe + kRetry
                                                                                : kNotice + kProbe);
                bound = std::min(bound, after);
            }
            bound += kWay;
            last = std::max(last, bound);
            awaited_[from][to] = true;
            ++waiting_;
            world_.agenda.in(bound, [this, from, to, bound, ours] {
                if (awaited_[from][to])
                    world_.fail("recovery", fmt::format("host {} gets nothing from host {} within {} ms of "
                                                        "the network's healing (state {})",
                                                        to, from, bound / kMillisecond,
                                                        ours == State::carries ? "carries"
                                                        : ours == State::none  ? "none"
                                                                               : "stale"));
            });
        }
    }
    return world_.now() + last;
}

void Recovery::heard(HostId from, HostId at) {
    if (waiting_ == 0 || !awaited_[from][at]) return;
    awaited_[from][at] = false;
    --waiting_;
    ++world_.coverage.recoveries;
}

Nanos Recovery::begin_silence() {
    silence_from_ = world_.now();
    // The last data may go unanswered (noticed after kNotice), the handshake then be tried once more, its end
    // be confirmed by a keepalive.
    quiet_from_ = silence_from_ + nanos(kKeepaliveTimeout) + kNotice + 2 * kRetry + 3 * kWay;
    return quiet_from_;
}

void Recovery::sent(HostId from, HostId to, std::uint8_t type, std::size_t bytes) {
    if (silence_from_ == 0 || world_.failed()) return;
    if (world_.now() > quiet_from_)
        return world_.fail(
            "silence", fmt::format("host {} sends {} bytes of type {} to host {}, {} s after the last packet",
                                   from, bytes, type, to, (world_.now() - silence_from_) / kSecond));
    if (type == 4 && to != kNobody && ++keepalives_[from][to] > kLastKeepalives)
        world_.fail("silence",
                    fmt::format("host {} sends host {} more than {} keepalives after the last packet", from,
                                to, kLastKeepalives));
}

}  // namespace vern::sim
