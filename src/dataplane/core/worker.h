// The packet path: trains from the TUN device become sealed trains for the underlay, trains from the underlay
// become opened, checked and coalesced packets for the TUN device. One object and one thread a worker.
// Allocates nothing after construction, reads no clock, does no I/O: output goes to the Outlet.
//
// A turn:  begin(now), any number of from_underlay() and from_tun(), flush(), then the outlet's own flush.
// Between two turns the worker holds no pointer to a session, peer or snapshot: that is its quiescent state.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/core/coalescer.h"
#include "dataplane/core/device.h"
#include "dataplane/core/segmenter.h"
#include "dataplane/core/staging.h"
#include "dataplane/policy/gate.h"
#include "dataplane/policy/reject.h"

namespace vern {

class Worker {
  public:
    struct Options {
        bool coalesce_tcp = true;  // the TUN device takes TSO superpackets
        bool coalesce_udp = true;  // and USO ones
        // Less than this is not handed to another worker: it would cost more than it saves.
        std::size_t seal_share_bytes = std::size_t{8} << 10;
        std::size_t open_share_bytes = std::size_t{16} << 10;
    };
    // `id` below device.workers(), a worker each. `device` must outlive it.
    Worker(Device& device, unsigned id, const Options& options);

    void begin(Instant now) noexcept;
    // The trains' memory must stay until flush() and the outlet's flush.
    void from_underlay(const UnderlayTrain& train, Outlet& outlet) noexcept;
    void from_tun(const TunTrain& train, Outlet& outlet) noexcept;
    void flush(Outlet& outlet) noexcept;
    // Packets that wait for a session. Any thread.
    std::size_t staged() const noexcept { return staging_.depth(); }
    // The device's take_wakeups() named this worker: staged packets go, or are given up.
    void flush_staged(Outlet& outlet) noexcept;

    // True when something was queued for the slow path since the last call: wake it.
    bool take_request() noexcept { return std::exchange(requested_, false); }
    void allow_coalescing(bool tcp, bool udp) noexcept { coalescer_.allow(tcp, udp); }
    Counters& counters() noexcept { return counters_; }
    const Counters& counters() const noexcept { return counters_; }
    const policy::Gate& gate() const noexcept { return gate_; }

  private:
    static constexpr std::size_t kOpenBatch = 256;
    static constexpr std::size_t kAnswersPerTurn = 16;  // to packets that are rejected

    // A train that is being filled: messages for one peer under one session, all of one size but perhaps the
    // last.
    struct Departing {
        Peer* peer = nullptr;  // nullptr: no train is open
        Session* session = nullptr;
        Endpoint to;
        std::span<std::byte> buffer;
        std::size_t used = 0;
        std::size_t segment_bytes = 0;
        std::size_t count = 0;
        bool open = false;  // its last message is as long as its first: another may follow
        std::uint8_t tos = 0;
        struct Message {
            std::uint32_t bytes;    // of plaintext, with padding
            std::uint32_t front;    // so many of them are where they will be sealed; the others
            const std::byte* rest;  // are here, until the turn ends; null if there are none
        };
        std::array<Message, kSendSegmentsMax> messages;
    };
    // A train that is complete, until it is sealed and sent. Not more of them than there may be buffers
    // beside the one that is being filled.
    struct Departure {
        Peer* peer;
        Session* session;
        Endpoint to;
        std::span<std::byte> train;
        std::size_t segment_bytes;
        std::uint8_t tos;
        std::optional<AeadLine::Number> task;  // none: sealed
        std::array<aead::SealJob, kSendSegmentsMax> jobs;
    };
    static constexpr std::size_t kDeparturesMax = Outlet::kHeldBuffersMax - 1;
    static_assert(kDeparturesMax <= AeadLine::kTasks);
    static constexpr std::size_t kOpenShareStep = 16;  // messages: what the AEAD takes at a time

    // Beside each open job: whose it is and where it came from.
    struct Arrival {
        Session* session;
        std::uint32_t train;  // index into arriving_trains_
    };
    struct ArrivingTrain {
        Endpoint from;
        std::uint8_t ecn;
    };

    // The last source looked up; of this turn only, since configuration may change between turns.
    struct SourceMemo {
        std::array<std::byte, 16> address;
        bool v6;
        const Peer* owner = nullptr;
    };

    // worker_out.cpp
    // How long the packet's memory stays as it is. What from_tun() is given is read until flush().
    enum class Keep { turn, call };
    static constexpr std::size_t kShortBytes = 256;  // up to so many are copied: cheaper than two places
    bool send_packet(Peer& peer, const InnerPacket& packet, const Segmenter& plan, Keep keep,
                     Outlet& outlet) noexcept;
    void write_packet(const Segmenter& plan, std::size_t i, std::byte* plain, Keep keep) noexcept;
    Session* session_for(Peer& peer, Endpoint& to) noexcept;
    void stage(Peer& peer, const TunTrain& train) noexcept;
    void release_staged(Peer& peer, Outlet& outlet) noexcept;
    std::byte* make_room(Peer& peer, Session& session, const Endpoint& to, std::uint8_t tos,
                         std::size_t padded_bytes, Outlet& outlet) noexcept;
    void depart(Outlet& outlet) noexcept;
    std::span<std::byte> take_buffer(Outlet& outlet) noexcept;
    void emit_departures(std::size_t keep, Outlet& outlet) noexcept;
    void emit(const Departure& departure, Outlet& outlet) noexcept;
    std::size_t padded(std::size_t bytes) const noexcept;
    void want_handshake(Peer& peer) noexcept;
    void ask(Peer& peer, Attention what) noexcept;

    // worker_in.cpp
    void take_datagram(std::span<std::byte> datagram, const UnderlayTrain& train, Outlet& outlet) noexcept;
    void queue_handshake(std::span<const std::byte> datagram, const Endpoint& from) noexcept;
    void take_data(std::span<std::byte> datagram, const UnderlayTrain& train, Outlet& outlet) noexcept;
    void open_arrivals(Outlet& outlet) noexcept;
    void open_shared(std::size_t count, std::size_t bytes, Outlet& outlet) noexcept;
    void settle_range(std::size_t begin, std::size_t end, Outlet& outlet) noexcept;
    void settle(std::span<aead::OpenJob> jobs, const Arrival& arrival, Outlet& outlet) noexcept;
    void expect(std::span<const aead::OpenJob> jobs) noexcept;
    void heard_from(Peer& peer, Session& session, const Endpoint& from, bool data) noexcept;
    const Peer* owner_of_source(const InnerPacket& packet) noexcept;
    void deliver(Peer& peer, std::span<std::byte> plain, std::uint8_t outer_ecn, Outlet& outlet) noexcept;

    // worker_policy.cpp
    bool admit_out(Peer& peer, const InnerPacket& packet, const Segmenter& plan, Outlet& outlet) noexcept;
    // Whose source address it is; 0: no peer's.
    static std::uint64_t source_serial(const void* worker, const InnerPacket& packet) noexcept;
    bool admit(policy::Direction direction, Peer& peer, const InnerPacket& packet, std::size_t packets,
               Outlet& outlet) noexcept;
    void answer_rejected(policy::Direction direction, Peer& peer, const InnerPacket& packet,
                         Outlet& outlet) noexcept;
    void note_staged() noexcept;
    bool staged_still_valid(const Peer& peer) const noexcept;
    std::uint32_t policy_generation() const noexcept {
        return gate_.active() ? gate_.policy().generation() : 0;
    }

    Device& device_;
    const unsigned id_;
    const Options options_;
    AeadBoard& board_;
    AeadBoard::Desk& desk_;
    Instant now_{};
    const Snapshot* snapshot_ = nullptr;
    std::uint64_t generation_ = 0;
    bool requested_ = false;
    Counters counters_;

    Departing departing_;
    std::span<std::byte> spare_buffer_;  // of a train that was given up
    // A ring: the trains from departures_begin_ to departures_end_ are on their way, in this order.
    std::array<Departure, kDeparturesMax> departures_;
    std::size_t departures_begin_ = 0;
    std::size_t departures_end_ = 0;
    Staging staging_;
    std::vector<std::uint64_t> staged_peers_;
    std::unique_ptr<std::byte[]>
        scratch_;  // where a staged packet is put together again; first used when one is

    std::size_t arrivals_ = 0;
    std::size_t arriving_trains_count_ = 0;
    std::array<aead::OpenJob, kOpenBatch> jobs_;
    std::array<Arrival, kOpenBatch> arrivals_of_;
    std::array<ArrivingTrain, kOpenBatch> arriving_trains_;
    SourceMemo source_memo_;
    Coalescer coalescer_;

    policy::Gate gate_;
    // What staged packets were let in by: the policy of the oldest, and the earliest end of a rule of its.
    std::uint32_t staged_generation_ = 0;
    Instant staged_valid_until_{};
    std::unique_ptr<std::byte[]> answer_buffers_;
    std::size_t answers_ = 0;  // of this turn
    Instant answers_full_at_{};
};

}  // namespace vern
