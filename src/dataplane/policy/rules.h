// A policy as control hands it to the data plane: names resolved, positions kept only as indices. Text, files
// and time zones are control's.
//
// Rules are matched as a set, not as a list: of all rules that match, deny and reject come before allow, and
// within those the earlier one decides. What no rule matches is denied. A rule says which new flows it speaks
// of; replies belong to the flow.
//
//   in    from a peer, through the tunnel, to this host or what it routes to     remote = source,      local
//   = destination out   from this host or what it routes for, into the tunnel to a peer       remote =
//   destination, local = source
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "crypto/instant.h"
#include "crypto/keys.h"
#include "dataplane/base/address.h"

namespace vern::policy {

inline constexpr std::size_t kRulesMax = 1 << 17;
inline constexpr std::size_t kPeerSetsMax = 1 << 16;
inline constexpr std::size_t kFlowsMax = 1 << 24;

enum class Direction : std::uint8_t { in, out };
enum class Action : std::uint8_t {
    allow,
    deny,    // dropped in silence
    reject,  // answered: TCP with RST, else ICMP 3/13 or ICMPv6 1/1 (communication administratively
             // prohibited)
};

// Which protocol and destination ports. For ICMP and ICMPv6 a "port" is type * 256 + code. Protocols without
// ports have port 0, and are matched only by the whole range.
struct Service {
    static constexpr std::uint16_t kAnyProtocol = 256;
    std::uint16_t protocol = kAnyProtocol;  // IANA number, or kAnyProtocol
    std::uint16_t first_port = 0;
    std::uint16_t last_port = 65535;
    friend auto operator<=>(const Service&, const Service&) = default;
};

// A limit on new flows, as a token bucket: `burst` at once, then one each interval / count. A new flow that
// finds no token is not matched by the rule; the rules behind it are asked. A retransmitted SYN takes none.
struct Rate {
    enum class Scope : std::uint8_t {
        source,
        peer,
        rule
    };                        // one bucket for each address that the flow begins from, each peer, or all
    std::uint32_t count = 0;  // at least 1
    Duration interval{};      // of `count` flows
    std::uint32_t burst = 0;  // at least 1
    Scope scope = Scope::source;
};

inline constexpr std::uint32_t kAnyPeer = std::numeric_limits<std::uint32_t>::max();

struct Rule {
    std::uint64_t id = 0;  // of the rule's name, the same in the next policy: rates and counters go on
    Direction direction = Direction::in;
    Action action = Action::deny;
    std::uint32_t peers = kAnyPeer;  // index into RuleSet::peer_sets
    std::vector<Prefix> remote;      // empty: any
    std::vector<Prefix> local;       // empty: any
    std::vector<Service> services;   // empty: any
    std::optional<Rate> rate;        // with allow only
    std::optional<Instant>
        expires;       // from then on the rule does not exist, and the flows that it allowed end
    bool log = false;  // each new flow that it decides, and for deny and reject each packet (both limited)
    bool observe = false;  // with deny and reject only: counted and logged as would-be, and not applied
};

struct RuleSet {
    std::uint32_t generation = 0;  // rises with each policy that is published; never 0
    std::vector<Rule> rules;       // as the operator ordered them
    std::vector<std::vector<PublicKey>> peer_sets;
    std::size_t flows_per_peer = 65536;
    bool observe = false;     // the whole policy: what would be denied passes, counted and logged
    bool log_default = true;  // what no rule matched is logged
};

}  // namespace vern::policy
