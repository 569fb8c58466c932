// Going into the background once the daemon is ready, and telling whoever waits for that: the parent process,
// or systemd.
#pragma once

#include <string_view>

#include "crypto/error.h"
#include "dataplane/io/fd.h"

namespace vern {

// The parent's side never returns: it exits 0 when the child is ready, with the child's status when that ends
// before. The child goes on in a session of its own, still with the terminal's standard error, so what goes
// wrong while starting is seen. Before any thread.
class Background {
  public:
    static Result<Background> begin();
    // Lets the parent go and the terminal, too.
    void ready() noexcept;

  private:
    explicit Background(Fd pipe) noexcept : pipe_(std::move(pipe)) {}
    Fd pipe_;
};

// "READY=1" and the like to the socket in NOTIFY_SOCKET, when there is one (sd_notify(3)).
void notify_service_manager(std::string_view state) noexcept;

}  // namespace vern
