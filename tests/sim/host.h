// A host: one Device with its workers, its clocks and its configuration, all of which outlive a restart but
// for the device.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "crypto/noise.h"
#include "dataplane/core/device.h"
#include "lane.h"
#include "rng.h"

namespace vern::sim {

struct PeerSetting {
    bool neighbour = false;  // meant to be a peer at all
    bool present = false;
    std::optional<Place> endpoint;
    std::uint16_t keepalive_s = 0;
    std::uint32_t life =
        0;  // counts how often the core learned of this peer anew, and with that forgot its timestamps
    Secret<32> preshared_key;
};

class Host final : public DatagramSink, public AeadObserver, public AeadBoard::Patience {
  public:
    Host(World& world, HostId id, unsigned workers);
    ~Host() override;

    HostId id() const noexcept { return id_; }
    bool up() const noexcept { return device_ != nullptr; }
    const Place& place() const noexcept { return place_; }
    const IpAddress& own_address() const noexcept { return own_address_; }
    const PublicKey& public_key() const noexcept { return keys_.public_key; }
    const noise::StaticIdentity& keys() const noexcept { return keys_; }
    Device& device() noexcept { return *device_; }
    std::size_t lanes() const noexcept { return lanes_.size(); }
    Lane& lane(std::size_t i) noexcept { return *lanes_[i]; }
    Lane& lane_of(std::uint64_t flow_hash) noexcept { return *lanes_[mix(flow_hash) % lanes_.size()]; }
    World& world() noexcept { return world_; }

    // --- clocks
    Nanos boot() const noexcept;  // CLOCK_BOOTTIME
    WallTime wall() const noexcept;
    void jump_boot(Nanos forward);
    void jump_wall(Nanos by) noexcept;
    void correct_wall() noexcept { wall_offset_ = wall_greatest_; }

    // --- life
    void start();
    void stop();
    void move(const Place& to, bool own_address) noexcept;
    void set_running(bool running);

    // --- configuration: `settings` and `owners` first, then the core
    PeerSetting& setting(HostId peer) noexcept { return settings_[peer]; }
    const Owners& owners() const noexcept { return *owners_; }
    std::shared_ptr<const Owners> owners_now() const noexcept { return owners_; }
    void set_owners(Owners owners);
    PeerChange whole_peer(HostId peer) const;
    void apply(const DeviceChange& change);
    void new_key();
    void use_key(bool present);  // tells the core the private key, or that there is none
    void set_mtu(std::uint32_t mtu);

    // --- what happens
    void receive(Datagram datagram);
    void schedule_turn(Lane& lane);
    void schedule_service(bool again = false);
    void service(bool at_deadline);
    void turn_ended(bool requested);
    void maybe_preempt(const Lane& from);

    // --- what is known
    const Peer* peer(HostId id) const;
    HostId owner_of_index(std::uint32_t index) const noexcept;
    struct KeyUse {
        HostId peer;
        Nanos since;
    };
    const KeyUse* key_use(const std::byte* key) const noexcept;
    // An authentic message of `peer` came from there.
    void heard_at(HostId peer, const Place& from) { heard_.push_back({peer, from}); }
    void endpoint_set(HostId peer, const Place& to) { endpoints_[peer] = to; }
    void check_endpoints();
    void check_memory();
    void check_accounts(bool final);
    bool any_lane_busy() const noexcept;
    // Nothing of any session is left.
    void check_forgotten();

    // DatagramSink
    Sent send(const Endpoint& to, std::span<const std::byte> datagram, std::uint8_t tos) noexcept override;
    // AeadObserver: the slow path's keepalives
    void before_seal(std::span<const aead::SealJob> jobs) noexcept override;
    void before_open() noexcept override {}
    void after_open(std::span<aead::OpenJob>) noexcept override {}
    // AeadBoard::Patience
    void wait(unsigned worker, unsigned) noexcept override { lanes_[worker]->wait_for_helper(); }

  private:
    struct Waste {
        Device::Retired retired;
        std::vector<std::uint64_t> turns;  // of each lane, when it was taken; odd: in a turn
        Nanos not_before;
    };
    void learn_sessions();
    void settle_handshakes();
    void take_waste();
    void dispose_waste();
    void schedule_deadline(Nanos late = 0);
    void after_slow_path();

    World& world_;
    const HostId id_;
    const unsigned workers_;
    noise::StaticIdentity keys_;
    Place place_;
    IpAddress own_address_;  // behind a NAT, not what others see
    Nanos boot_offset_;
    Nanos wall_offset_ = 0, wall_greatest_ = 0;
    std::uint32_t mtu_ = 1420;
    bool running_ = true;
    std::array<PeerSetting, kHostsMax> settings_;
    std::shared_ptr<const Owners> owners_;

    std::unique_ptr<SeededRandom> random_;
    std::unique_ptr<Device> device_;
    std::vector<std::unique_ptr<Lane>> lanes_;
    std::uint64_t life_ = 0;  // events of an earlier one are void
    bool service_scheduled_ = false;
    bool in_service_ = false;
    bool preempting_ = false;
    std::optional<Nanos> deadline_;  // boot time
    std::uint64_t deadline_number_ = 0;
    Nanos services_since_ = 0;
    unsigned services_ = 0;
    std::vector<Waste> waste_;

    struct Heard {
        HostId peer;
        Place from;
    };
    std::vector<Heard> heard_;
    std::map<HostId, Place> endpoints_;
    std::unordered_map<std::uint64_t, KeyUse> key_uses_;
    std::unordered_map<std::uint32_t, HostId> index_owners_;
    std::vector<std::uint32_t> answered_;  // receiver indices of responses in this service()
    std::uint64_t bad_responses_ = 0;
};

}  // namespace vern::sim
