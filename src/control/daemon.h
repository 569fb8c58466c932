// The daemon of one interface: brings up the runtime, and then is its control thread: the UAPI socket, what the kernel says about the
// interface and routing, and signals.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "control/link_monitor.h"
#include "control/uapi_server.h"
#include "dataplane/runtime/runtime.h"

namespace vern {

struct DaemonOptions {
    std::string interface_name;
    int tun_fd = -1;   // WG_TUN_FD: an interface that somebody else made
    int uapi_fd = -1;  // WG_UAPI_FD: a listening socket
    TunOptions tun;
    RuntimeOptions runtime;
    const aead::Implementation* aead = nullptr;  // nullptr: the best
    std::string aead_reason;                     // why it is not the best one
};

class Daemon final : private UapiTarget {
  public:
    // Makes interface, sockets and threads; on return the daemon carries packets and the UAPI socket answers. Blocks SIGTERM, SIGINT and SIGHUP
    // in this thread first, so call it before there are others.
    static Result<std::unique_ptr<Daemon>> start(DaemonOptions options);
    ~Daemon() override;

    // Until SIGTERM or SIGINT, or the interface or the UAPI socket is deleted by somebody. Says why in one sentence.
    std::string run();

  private:
    explicit Daemon(DaemonOptions options);
    Result<void> open();
    void handle_link();
    void follow_interface(LinkEvents& events);

    // UapiTarget
    DeviceStatus status() override;
    Result<void> apply(DeviceChange change) override;
    std::string status_json() override;
    void refused(const Error& why) override;

    DaemonOptions options_;
    std::unique_ptr<Runtime> runtime_;
    std::optional<LinkMonitor> links_;
    std::optional<LinkMonitor> moved_links_;  // of the namespace that the interface was moved to
    std::unique_ptr<UapiServer> uapi_;
    Fd signals_;
    std::uint32_t mtu_ = 0;
    bool link_gone_ = false;
};

}  // namespace vern
