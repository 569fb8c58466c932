// The daemon of one interface: brings up the runtime, and then is its control thread: the UAPI socket, what
// is asked by the control API, what the kernel says about the interface and routing, and signals.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "control/api/identity_routes.h"
#include "control/api/interface_routes.h"
#include "control/api/operator_tls.h"
#include "control/api/server.h"
#include "control/api/tunnel_server.h"
#include "control/audit/recorder.h"
#include "control/identity/identities.h"
#include "control/link_monitor.h"
#include "control/policy/control.h"
#include "control/policy/device_plane.h"
#include "control/uapi_server.h"
#include "dataplane/runtime/runtime.h"
#include "dataplane/runtime/system_random.h"

namespace vern {

struct DaemonOptions {
    std::string interface_name;
    int tun_fd = -1;   // WG_TUN_FD: an interface that somebody else made
    int uapi_fd = -1;  // WG_UAPI_FD: a listening socket
    TunOptions tun;
    RuntimeOptions runtime;
    const aead::Implementation* aead = nullptr;  // nullptr: the best
    std::string aead_reason;                     // why it is not the best one
    std::string policy_file;                     // a first policy, where none is stored; empty: none
    std::string state_directory{policy::kStateDirectory};  // the interface's is made in it
    bool audit = true;
    std::string
        audit_directory;  // it must be fit for a trail; empty: the interface's state directory, if it is
    bool audit_journal = false;                      // to systemd's journal as well
    std::uint16_t identity_port = api::kTunnelPort;  // where peers prove who they are; 0: nowhere
    std::optional<api::OperatorTls> api_tls;         // the control API over TCP; nothing: it is not
};

class Daemon final : private UapiTarget,
                     private api::InterfaceSource,
                     private policy::PolicyObserver,
                     private identity::Peers {
  public:
    // Makes interface, sockets and threads; on return the daemon carries packets and the UAPI socket answers.
    // Blocks SIGTERM, SIGINT and SIGHUP in this thread first, so call it before there are others.
    static Result<std::unique_ptr<Daemon>> start(DaemonOptions options);
    ~Daemon() override;

    // Until SIGTERM or SIGINT, or the interface or the UAPI socket is deleted by somebody. Says why in one
    // sentence.
    std::string run();

  private:
    explicit Daemon(DaemonOptions options);
    Result<void> open();
    void handle_link();
    LinkEvents look_where_it_moved();
    std::string state_directory() const;
    Result<void> open_audit();
    void open_identities();
    Result<void> open_policy();
    Result<void> open_api();
    void settle_tunnel_listener();
    std::string serve();
    void record_decisions();
    std::string policy_name(const PublicKey& peer) const;  // empty: it has none
    int poll_timeout() const;
    void handle_policy(const std::vector<pollfd>& set);
    void release_answers();
    void watch_clock();

    // UapiTarget
    DeviceStatus status() override;
    Result<void> apply(DeviceChange change) override;
    std::string status_json() override;
    void refused(const Error& why) override;

    // PolicyObserver
    void policy_event(const policy::PolicyEvent& event) override;

    // identity::Peers
    policy::ClockPair now() const override { return plane_->now(); }
    std::optional<PublicKey> own_public_key() const override { return runtime_->device().own_public_key(); }
    std::optional<PublicKey> peer_of(const IpAddress& address) const override {
        return runtime_->device().peer_of(address);
    }
    bool has_peer(const PublicKey& peer) const override { return runtime_->device().has_peer(peer); }
    void set_identity_limits(std::span<const IdentityLimit> limits) override {
        runtime_->device().set_identity_limits(limits);
    }

    void identity_event(const identity::IdentityEvent& event);

    // InterfaceSource
    nlohmann::json interface_facts() override;
    DeviceStatus device_status() override { return status(); }
    api::Measured measured() override;

    struct NamedOffload {
        const char* name;
        Offload state;
    };
    std::vector<NamedOffload> offloads() const;

    DaemonOptions options_;
    std::unique_ptr<Runtime> runtime_;
    std::optional<LinkMonitor> links_;
    bool moved_ = false;            // the interface, to another network namespace
    Fd moved_link_;                 // readable when something happens to it there
    std::optional<bool> moved_up_;  // as it was seen there, or is taken for
    Instant look_again_ = Instant::max();
    std::unique_ptr<UapiServer> uapi_;
    std::unique_ptr<audit::Recorder> audit_;    // nullptr: none is wanted
    std::optional<policy::DevicePlane> plane_;  // of the runtime's device
    SystemRandom random_;
    std::optional<identity::Identities> identities_;
    std::optional<policy::Control> policy_;
    api::Router router_;
    std::unique_ptr<api::Server> api_;
    api::Router tunnel_router_;
    std::unique_ptr<api::TunnelServer> tunnel_;  // while anybody is trusted
    trust::TlsContext tunnel_tls_;
    bool trust_changed_ = true;
    Instant listen_again_ = Instant::max();  // the listener for peers could not be opened
    Fd clock_;                               // readable when the wall clock was set
    Fd signals_;
    std::uint32_t mtu_ = 0;
    bool link_gone_ = false;
};

}  // namespace vern
