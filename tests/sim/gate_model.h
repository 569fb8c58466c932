// What a policy means, in as few words as possible: lists, maps and loops, no code of the engine's.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace vern::sim {

using Seconds = double;

enum class RuleAction { allow, deny, reject };

struct ModelRule {
    std::uint64_t id = 0;
    bool in = true;
    RuleAction action = RuleAction::allow;
    unsigned peer = 0;  // 0: any
    std::uint8_t protocol = 0;
    std::uint16_t first_port = 0, last_port = 65535;
    unsigned burst = 0;  // 0: no rate
    Seconds per_token = 0;
};

struct ModelPolicy {
    std::vector<ModelRule> rules;
    unsigned generation = 0;
    unsigned flows_per_peer = 0;
};

// One packet as its sender made it. Hosts are numbers; 0 is the hub itself.
struct ModelPacket {
    unsigned from = 0, to = 0;
    std::uint8_t protocol = 17;
    std::uint16_t source_port = 0, destination_port = 0;
    std::uint8_t tcp_flags = 0;
    // Fragments: of the payload. `more` or begin > 0: it is one.
    std::uint16_t id = 0;
    unsigned begin = 0, end = 0;
    bool more = false;
    bool quotes = false;  // an ICMP error that quotes what went the other way with these ports
    std::uint8_t quoted_protocol = 0;
    unsigned quoted_from = 0, quoted_to = 0;

    bool is_fragment() const { return more || begin > 0; }
};

class GateModel {
  public:
    void change(ModelPolicy policy) { policy_ = std::move(policy); }
    const ModelPolicy& policy() const { return policy_; }
    void restart(Seconds now);
    // A half-open flow was given up for another. Which one the model does not know: what it takes for a reply
    // may have begun the flow anew.
    void evicted() { evicted_ = true; }

    // The gate has let `packet` pass, carried by `peer`. Why it may not have; empty: it may.
    std::string passed(bool in, unsigned peer, const ModelPacket& packet, Seconds now);
    // The gate has refused it. Why it had to pass; empty: nothing says so.
    std::string refused(bool in, unsigned peer, const ModelPacket& packet, Seconds now);
    // Some rule says "reject" to it, and none before it says "deny".
    bool rejects(bool in, unsigned peer, const ModelPacket& packet) const;

    std::uint64_t tokens_taken = 0, picked_up = 0;

  private:
    // Remote host and port, local host and port, protocol.
    using Key = std::tuple<unsigned, std::uint16_t, unsigned, std::uint16_t, std::uint8_t>;
    struct Flow {
        unsigned peer = 0;
        bool began_in = true;
        bool answered = false;
        Seconds last_seen = 0;
    };
    struct Datagram {
        unsigned generation = 0;
        Seconds began = 0;
        std::vector<std::pair<unsigned, unsigned>> pieces;
    };
    struct Bucket {
        double tokens = 0;
        Seconds at = 0;
    };

    static Key key_of(bool in, const ModelPacket& packet);
    std::vector<const ModelRule*> matching(bool in, unsigned peer, std::uint8_t protocol,
                                           std::uint16_t port) const;
    bool allowed(bool in, unsigned peer, std::uint8_t protocol, std::uint16_t port) const;
    bool allowed(const Flow& flow, const Key& key) const;
    bool take_token(bool in, unsigned peer, unsigned source, std::uint8_t protocol, std::uint16_t port,
                    Seconds now);
    const Flow* live(const Key& key, unsigned peer, Seconds now) const;
    std::string whole(bool in, unsigned peer, const ModelPacket& packet, Seconds now);
    std::string later_fragment(bool in, unsigned peer, const ModelPacket& packet, Seconds now);
    std::string error(bool in, unsigned peer, const ModelPacket& packet, Seconds now) const;

    ModelPolicy policy_;
    std::map<Key, Flow> flows_;
    std::map<std::tuple<bool, unsigned, unsigned, unsigned, std::uint8_t, std::uint16_t>, Datagram>
        datagrams_;
    std::map<std::pair<std::uint64_t, unsigned>, Bucket> buckets_;  // by rule and source
    Seconds pick_up_until_ = 0;
    bool evicted_ = false;
};

}  // namespace vern::sim
