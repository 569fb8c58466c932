// An interface with two peers, at addresses of their own, and a clock that a test moves.
#pragma once

#include <map>
#include <random>
#include <set>

#include "control/identity/identities.h"
#include "control/text.h"

namespace vern::identity::test {

inline constexpr trust::UnixSeconds kNow = 1'500'000'000;

class SeededRandom final : public Random {
  public:
    void fill(std::span<std::byte> bytes) noexcept override {
        for (auto& byte : bytes) byte = static_cast<std::byte>(engine_() & 0xff);
    }

  private:
    std::mt19937_64 engine_{1};
};

inline PublicKey key_number(unsigned char number) {
    PublicKey key;
    key.bytes.fill(std::byte{number});
    return key;
}
inline const PublicKey kDaemon = key_number(0xdd), kLaptop = key_number(1), kOther = key_number(2);
inline const IpAddress kLaptopAddress = *parse_address("10.100.0.2"),
                       kOtherAddress = *parse_address("10.100.0.3");

struct FakePeers final : Peers {
    policy::ClockPair clock{WallTime(std::chrono::seconds(kNow)), Instant(std::chrono::seconds(1000))};
    std::map<std::string, PublicKey> at{{"10.100.0.2", kLaptop}, {"10.100.0.3", kOther}};
    std::set<PublicKey> known{kLaptop, kOther};
    std::optional<PublicKey> own = kDaemon;

    policy::ClockPair now() const override { return clock; }
    std::optional<PublicKey> own_public_key() const override { return own; }
    std::optional<PublicKey> peer_of(const IpAddress& address) const override {
        const auto found = at.find(to_text(address));
        return found == at.end() ? std::nullopt : std::optional(found->second);
    }
    bool has_peer(const PublicKey& peer) const override { return known.contains(peer); }
    std::map<PublicKey, Instant> until;
    void set_identity_limits(std::span<const IdentityLimit> limits) override {
        for (const auto& [peer, time] : limits) until[peer] = time;
    }
    void pass(std::chrono::seconds time) {
        clock.wall += time;
        clock.boot += time;
    }
};

}  // namespace vern::identity::test
