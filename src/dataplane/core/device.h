// A WireGuard device without I/O: what its workers share, and its slow path.
//
//   workers (worker.h)   trains in, trains out; one object and one thread each
//   slow path            handshakes, timers, keepalives: service(), from one thread
//   control              apply(), status(), set_…(): from any thread
//
// The slow path and control exclude each other by the device's lock, which workers never take. Workers see
// configuration as an immutable Snapshot, and sessions and peers by pointer; what is replaced or removed is
// *retired*: take_retired() hands it out, and the caller gives it to dispose() once every worker has passed a
// quiescent state (a moment between two of its turns). The core reads no clock: `now` comes in, and must not
// go back between calls (if it does, it counts as standing still).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "crypto/aead.h"
#include "crypto/error.h"
#include "crypto/secret_pool.h"
#include "dataplane/base/counters.h"
#include "dataplane/base/random.h"
#include "dataplane/base/spsc_ring.h"
#include "dataplane/core/admission.h"
#include "dataplane/core/aead_board.h"
#include "dataplane/core/allowed_ips.h"
#include "dataplane/core/config.h"
#include "dataplane/core/fair_mutex.h"
#include "dataplane/core/loop_guard.h"
#include "dataplane/core/peer.h"
#include "dataplane/core/rate_limiter.h"
#include "dataplane/core/session_table.h"
#include "dataplane/policy/gate.h"

namespace vern {

inline constexpr unsigned kWorkersMax = 32;  // bits of Peer::staged_by
inline constexpr std::size_t kHandshakeQueueMax =
    1024;  // messages a worker may have waiting for the slow path; under load from 1/8 on
inline constexpr std::size_t kAttentionQueueMax = 4096;  // peers a worker may have waiting for the slow path

// In a list that is sorted by serial; nullptr when it is not there.
Peer* find_peer(std::span<Peer* const> peers, std::uint64_t serial) noexcept;

// The configuration as workers see it. Never changes once published.
struct Snapshot {
    std::uint64_t generation = 0;
    std::vector<Peer*> peers;  // by serial, rising
    AllowedIps allowed_ips;
    Peer* find(std::uint64_t serial) const noexcept { return find_peer(peers, serial); }
};

// A handshake message on its way from a worker to the slow path.
struct HandshakeMessage {
    Endpoint from;
    std::uint32_t length = 0;
    std::array<std::byte, kLargestHandshakeBytes> bytes;
};

// Worker to slow path: two queues a worker.
struct WorkerQueues {
    SpscRing<HandshakeMessage> handshakes{kHandshakeQueueMax};
    SpscRing<std::uint64_t> attention{kAttentionQueueMax};  // peers' serials
};

// Where the slow path puts its datagrams.
class DatagramSink {
  public:
    enum class Sent : std::uint8_t {
        whole,
        without_source,  // the source address in `to` was refused: the peer then forgets it
        refused,
        refused_either_way,  // with the source address, which is forgotten, and without it
    };
    static bool is_lost(Sent sent) noexcept {
        return sent == Sent::refused || sent == Sent::refused_either_way;
    }
    virtual ~DatagramSink() = default;
    virtual Sent send(const Endpoint& to, std::span<const std::byte> datagram, std::uint8_t tos) noexcept = 0;
};

class Device {
  public:
    // `random` and `aead` must outlive the device. `workers` is fixed for its life.
    Device(Random& random, const aead::Implementation& aead, unsigned workers);
    ~Device();  // no worker may be running; wipes everything
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    // --- control: any thread
    // -----------------------------------------------------------------------------------------------------------

    // Whole or not at all. Sessions go on but for peers that are removed and for a changed private key.
    // listen_port and fwmark are the caller's to carry out; they are only kept for status() here.
    Result<void> apply(const DeviceChange& change, Instant now);
    // Whether apply() will take it: memory for it is kept. For callers that have to change something else
    // along with it.
    Result<void> check(const DeviceChange& change);
    DeviceStatus status() const;
    // An interface that is down sends nothing and forgets its sessions.
    void set_running(bool running, Instant now);
    // Forgets every endpoint's source address: routing has changed.
    void clear_sources();
    void set_listen_port(std::uint16_t port);
    // Peers that are not admitted lose their sessions and what waits for them at once, and no handshake with
    // them is begun or answered; the rest is as it was. Counts also for peers that are added later.
    void set_admission(Admission admission, Instant now);
    // Whose allowed IPs `address` is of, as for a packet that comes from there.
    std::optional<PublicKey> peer_of(const IpAddress& address) const;
    bool has_peer(const PublicKey& key) const;
    // False also for who is no peer.
    bool admits(const PublicKey& key) const;
    // The interface's own; nullopt without a private key.
    std::optional<PublicKey> own_public_key() const;
    // The inner MTU: padding never passes it.
    void set_mtu(std::uint32_t mtu) noexcept { mtu_.store(mtu, std::memory_order_relaxed); }

    // --- policy (device_policy.cpp): any thread. Without one nothing is checked but allowed IPs; one without
    // rules denies everything.

    // Counts for the next packet of each worker's next turn; flows live on, and are asked for again. nullptr:
    // no policy any more. `flows_max` is fixed by the first one. Errors: no memory for flows; then everything
    // stays as it was.
    Result<void> set_policy(std::unique_ptr<const policy::Policy> policy,
                            std::size_t flows_max = policy::kFlowsDefault);
    // For kPickUpTime from then on TCP is picked up in midstream where a rule lets it begin: a restart must
    // not cut what it carried.
    void pick_up_flows(Instant started);
    // From then on the policy denies whatever the peer sends or is sent, until this is called again: what its
    // rules take for granted about who the peer is may be over, whatever keeps others from saying so in time.
    // New peers have no such time. Flows live on. No effect for who is no peer.
    void set_identity_limits(std::span<const IdentityLimit> limits);
    std::uint32_t policy_generation() const;  // 0: none
    // Of each rule, in the order of its policy, and last of what no rule matched. Empty: no policy.
    std::vector<policy::RuleCounts> policy_counts() const;
    // nullopt: no policy, or no such peer. `key` and `port` as policy::Policy::match() takes them.
    std::optional<policy::Explanation> explain(policy::Direction direction, const PublicKey& peer,
                                               const policy::FlowKey& key, std::uint16_t port,
                                               Instant now) const;
    // Flows from `cursor` (0 at first) on, as many as fit into `out`; 0: that was all. Peers are named by
    // serial: public_key_of().
    std::size_t copy_flows(std::size_t& cursor, std::span<policy::Flow> out, Instant now) const;
    std::size_t flow_count() const noexcept;
    std::optional<PublicKey> public_key_of(std::uint64_t serial) const;
    // The next decision that worker `worker` has logged. One thread for all workers.
    bool next_policy_log(unsigned worker, policy::LogRecord& out);

    // --- slow path: one thread
    // ---------------------------------------------------------------------------------------------------------

    // Handles what workers queued and the timers that are due; bounded work a call. True: there is more, call
    // again.
    bool service(Instant now, WallTime wall, DatagramSink& sink);
    // When service() must be called at the latest though no worker asks.
    std::optional<Instant> next_deadline() const;
    const Counters& slow_counters() const noexcept { return counters_; }

    // Workers whose staged packets can go (or must be dropped): bit i means wake worker i. Cleared by the
    // call.
    std::uint32_t take_wakeups() noexcept { return wakeups_.exchange(0, std::memory_order_acquire); }

    class Retired {
      public:
        Retired() = default;
        Retired(Retired&&) = default;
        Retired& operator=(Retired&&) = default;
        bool empty() const noexcept {
            return sessions.empty() && peers.empty() && snapshots.empty() && tables.empty() &&
                   policies.empty();
        }

      private:
        friend class Device;
        std::vector<Session*> sessions;
        std::vector<Peer*> peers;
        std::vector<std::unique_ptr<const Snapshot>> snapshots;
        std::vector<std::unique_ptr<SessionTable::Buckets>> tables;
        std::vector<std::unique_ptr<const policy::Policy>> policies;
    };
    Retired take_retired();
    void dispose(
        Retired retired);  // wipes and frees; every worker has passed a quiescent state since take_retired()

    // --- workers: worker.h
    // -------------------------------------------------------------------------------------------------------------

    const Snapshot& snapshot() const noexcept { return *live_.load(std::memory_order_acquire); }
    const policy::Policy* policy() const noexcept {
        return live_policy_.load(std::memory_order_acquire);
    }  // nullptr: none
    policy::Tables* policy_tables() const noexcept { return live_tables_.load(std::memory_order_acquire); }
    const SessionTable& sessions() const noexcept { return sessions_; }
    WorkerQueues& queues(unsigned worker) noexcept { return *queues_[worker]; }
    LoopGuard& loops() noexcept { return loops_; }
    unsigned workers() const noexcept { return static_cast<unsigned>(queues_.size()); }
    std::uint32_t mtu() const noexcept { return mtu_.load(std::memory_order_relaxed); }
    const aead::Implementation& aead() const noexcept { return aead_; }
    // Where workers hand AEAD work to one another.
    AeadBoard& board() noexcept { return board_; }
    const AeadBoard& board() const noexcept { return board_; }
    // Asks the slow path to look at a peer. False when the queue is full: the next packet asks again.
    bool request(unsigned worker, Peer& peer, Attention what) noexcept;
    void wake_workers(std::uint32_t mask) noexcept { wakeups_.fetch_or(mask, std::memory_order_release); }

  private:
    // The interface's own key pair, and the cookies that go with it.
    struct Identity {
        explicit Identity(noise::StaticIdentity pair) noexcept
            : keys(std::move(pair)), cookies(keys.public_key) {}
        noise::StaticIdentity keys;
        CookieChecker cookies;
    };
    struct Deadline {
        Instant at;
        std::uint64_t serial;
        bool operator>(const Deadline& other) const noexcept { return at > other.at; }
    };

    // device_config.cpp: everything below with the lock held
    Result<void> check_limits(const DeviceChange& change);
    void set_private_key(const PrivateKey& key);
    void apply_peer(const PeerChange& change, Instant now);
    void sweep_allowed_ips(const DeviceChange& change);
    void drop_allowed_ips(Peer& peer);
    void restart(Peer& peer, Instant now);
    void apply_allowed_ips(Peer& peer, const PeerChange& change);
    Peer* add_peer(const PublicKey& key);
    void remove_peer(Peer& peer);
    void publish_snapshot();

    // device_handshake.cpp
    void handle(const HandshakeMessage& message, bool under_load, Instant now, WallTime wall,
                DatagramSink& sink);
    bool admit(const HandshakeMessage& message, bool under_load, Instant now, DatagramSink& sink);
    void consume_initiation(const HandshakeMessage& message, Instant now, DatagramSink& sink);
    void consume_response(const HandshakeMessage& message, Instant now, WallTime wall, DatagramSink& sink);
    void consume_cookie_reply(const HandshakeMessage& message, Instant now);
    void initiate(Peer& peer, bool retry, Instant now, WallTime wall, DatagramSink& sink);
    void end_handshake(Peer& peer) noexcept;
    void give_up(Peer& peer) noexcept;
    void forget_handshakes(Peer& peer) noexcept;
    void handshake_complete(Peer& peer, WallTime wall);
    bool static_static(Peer& peer);
    Session* make_session(Peer& peer, noise::SessionKeys& keys, std::uint32_t local_index,
                          std::uint32_t remote_index, bool initiator, Instant now);
    void drop_session(Peer& peer, Session* Peer::*slot);
    void drop_sessions(Peer& peer);
    std::uint32_t reserve_index(Peer& peer);
    void send_handshake(Peer& peer, std::span<std::byte> message, Instant now, DatagramSink& sink);
    void send_to(Peer& peer, std::span<const std::byte> message, std::uint8_t tos, Instant now,
                 DatagramSink& sink);
    void heard_from(Peer& peer, const HandshakeMessage& message, Instant now);

    // device_timers.cpp
    void attend(std::uint64_t serial, Instant now, WallTime wall, DatagramSink& sink);
    void promote_confirmed(Peer& peer, WallTime wall);
    void run_timers(Peer& peer, Instant now, WallTime wall, DatagramSink& sink);
    void retry_or_give_up(Peer& peer, Instant now, WallTime wall, DatagramSink& sink);
    void expire_sessions(Peer& peer, Instant now);
    Instant monotonic(Instant now) noexcept { return latest_ = std::max(latest_, now); }
    void send_keepalive(Peer& peer, Instant now, WallTime wall, DatagramSink& sink);
    std::optional<Instant> due(const Peer& peer) const;
    void schedule(Peer& peer);
    void discard_stale_deadlines();
    Duration jitter();

    void sweep_flows(Instant now);
    static constexpr unsigned kSweepsForRemoved = 64;  // of the flows of peers that were removed: all of them
    unsigned sweeps_for_removed_ = 0;

    Random& random_;
    const aead::Implementation& aead_;
    std::vector<std::unique_ptr<WorkerQueues>> queues_;
    AeadBoard board_;
    std::atomic<std::uint32_t> mtu_{1420};
    std::atomic<std::uint32_t> wakeups_{0};

    mutable FairMutex lock_;
    SecretPool identity_pool_;
    SecretPool peer_pool_;
    SecretPool session_pool_;
    SessionTable sessions_;
    Counters counters_;
    bool running_ = true;
    Admission admission_;
    Identity* identity_ = nullptr;  // none: the interface does not speak
    RateLimiter rate_limiter_;
    std::optional<Instant> loaded_at_;  // last time that a queue was found long
    std::unordered_map<PublicKey, Peer*, PublicKeyHash> peers_by_key_;
    std::vector<Peer*> peers_;  // by serial, rising
    std::map<Prefix, Peer*> allowed_ips_;
    std::uint64_t next_serial_ = 1;
    std::uint16_t listen_port_ = 0;
    std::uint32_t fwmark_ = 0;
    Instant latest_{};  // the greatest `now` so far
    std::vector<Deadline>
        deadlines_;  // a heap, earliest first; an entry counts only while it equals its peer's timer_at
    std::unique_ptr<const Snapshot> snapshot_;
    std::atomic<const Snapshot*> live_;
    std::unique_ptr<const policy::Policy> policy_;
    std::uint32_t policy_generation_ = 0;            // the highest that was published
    std::unique_ptr<policy::Tables> policy_tables_;  // with the first policy, and then for good
    std::atomic<const policy::Policy*> live_policy_{nullptr};
    std::atomic<policy::Tables*> live_tables_{nullptr};
    Instant pick_up_until_{};
    Instant next_sweep_{};
    Retired retired_;
    LoopGuard loops_;
};

}  // namespace vern
