// One worker of a host, with the engine around it: its queues, its outlet, and the checks on what goes in and
// out. Where the core calls out, the world may let another worker, the slow path or a configuration change
// run first, as threads would.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "aead_observer.h"
#include "dataplane/core/worker.h"
#include "ledger.h"
#include "network.h"
#include "owners.h"
#include "policies.h"

namespace vern::sim {

struct StackPacket {
    std::vector<std::byte> bytes;
    VnetHeader header;
    std::size_t segments = 1;
};

class Host;

class Lane final : public Outlet, public AeadObserver {
  public:
    Lane(Host& host, unsigned id);

    void receive(Datagram datagram);
    void take(StackPacket packet);
    void wake() noexcept { staged_may_go_ = true; }  // then a turn must follow
    void turn();
    bool busy() const noexcept { return in_turn_; }
    bool has_work() const noexcept { return staged_may_go_ || !arrived_.empty() || !from_stack_.empty(); }
    std::uint64_t turns() const noexcept { return turns_; }
    unsigned id() const noexcept { return id_; }
    const Counters& counters() const noexcept { return worker_.counters(); }
    bool turn_scheduled = false;

    // A handshake message that was queued for the slow path, in its order.
    struct Queued {
        std::uint64_t wire;
        Place from;
    };
    std::deque<Queued> handshakes;

    // When nothing waits any more, what came in is what went out and what was counted. `final`: nothing may
    // be staged either.
    void check_accounts(bool final);

    // Outlet
    std::span<std::byte> send_buffer() noexcept override;
    void send(const Endpoint& to, std::span<std::byte> train, std::size_t segment_bytes,
              std::uint8_t tos) noexcept override;
    void write(const VnetHeader& header, std::span<const iovec> pieces) noexcept override;
    // AeadObserver
    void before_seal(std::span<const aead::SealJob> jobs) noexcept override;
    void before_open() noexcept override;
    void after_open(std::span<aead::OpenJob> jobs) noexcept override;
    // Nothing is left to the worker but to wait for one of its helpers.
    void wait_for_helper();

  private:
    struct Entered {  // a datagram of this turn
        std::size_t offset;
        std::size_t bytes;
        std::uint64_t wire;
        Place from;
    };
    struct Sealed {  // a message between seal and send
        HostId peer;
        std::uint8_t ecn;
        std::uint64_t counter;
        std::size_t message_bytes;
    };
    struct Written {
        VnetHeader header;
        std::size_t first_piece;
        std::size_t pieces;
    };

    void feed_underlay();
    void feed_stack();
    void enter(Datagram& datagram);
    void hand_over_written();
    void check_sealed(const aead::SealJob& job);
    void opened(const aead::OpenJob& job);
    void preempt();
    // Helpers are other threads: they take tasks and finish them at any moment at which this one calls out.
    void help();
    void finish_one();
    void end_of_help();
    std::vector<Sealed>& sealed_in(const std::byte* at) noexcept {
        return sealed_[static_cast<std::size_t>(at - buffers_.data()) / kTrainBytesMax];
    }
    std::size_t sum(std::initializer_list<Counter> of) const noexcept;

    Host& host_;
    World& world_;
    const unsigned id_;
    Worker worker_;
    std::deque<Datagram> arrived_;
    std::deque<StackPacket> from_stack_;
    bool staged_may_go_ = false;
    bool in_turn_ = false;
    std::uint64_t turns_ = 0;
    Nanos clock_ = 0;  // what the worker was told; never goes back
    std::uint32_t mtu_before_ = 0;
    std::shared_ptr<const Owners> owners_;  // as of the turn's beginning
    std::shared_ptr<const HostPolicy> policy_;

    std::vector<std::byte> arena_;  // the turn's datagrams, trains in one piece
    std::vector<Entered> entered_;
    std::vector<StackPacket> taken_;
    std::vector<std::byte> buffers_;
    std::vector<std::byte*> free_buffers_;
    std::array<std::vector<Sealed>, kHeldBuffersMax> sealed_;  // by buffer
    struct Taken {
        AeadLine* line;
        AeadLine::Number task;
    };
    std::vector<Taken> taken_by_helpers_;
    unsigned helpers_ = 0;
    bool helping_ = false;
    struct OnItsWay {
        Place to;
        std::vector<std::byte> bytes;
        std::uint8_t tos;
        std::uint64_t wire;
    };
    std::vector<OnItsWay> overtaken_;  // sabotage: swap_trains
    std::vector<Written> written_;
    std::vector<iovec> pieces_;
    std::vector<std::byte> whole_;
    std::optional<std::vector<std::byte>> held_back_;  // sabotage: swap_order
    VnetHeader held_back_header_;

    // Accounts.
    std::uint64_t in_datagrams_ = 0, delivered_ = 0, keepalives_ = 0, handshake_messages_ = 0;
    std::uint64_t in_packets_ = 0, out_messages_ = 0;
    bool whole_packets_only_ = true;  // no superpacket yet: the stack's side can be accounted exactly
};

}  // namespace vern::sim
