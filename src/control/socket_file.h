// A Unix socket that is listened on, and its file: made so that nobody connects who must not, taken over from
// a daemon that was killed, never from one that lives, and removed at the end. Control thread only.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "crypto/error.h"
#include "dataplane/io/fd.h"

namespace vern {

class SocketFile {
  public:
    // Makes `directory`/NAME.sock (directory 0755, socket 0600 whatever the umask; a stale socket is
    // replaced, a live one is the error EADDRINUSE), or takes a listening descriptor with adopt_fd >= 0,
    // which it then owns. Not blocking, closed on exec.
    static Result<SocketFile> open(std::string_view name, std::string_view directory, int adopt_fd = -1);
    SocketFile(SocketFile&& other) noexcept;
    SocketFile& operator=(SocketFile&&) = delete;
    ~SocketFile();  // removes the file if it is still the one made (or adopted) here

    int fd() const { return listener_.get(); }
    Fd take_listener() { return std::move(listener_); }  // the file stays this object's
    const std::string& path() const { return path_; }
    // Somebody deleted or replaced the file. One system call.
    bool removed() const;
    // Lets others connect. An error: it is 0600 still, and works for its owner.
    Result<void> share(mode_t mode, std::optional<gid_t> group) const;

  private:
    // Which file a path names, to know later whether it is still the same.
    struct Identity {
        dev_t device = 0;
        ino_t inode = 0;
        friend bool operator==(const Identity&, const Identity&) = default;
    };
    static std::optional<Identity> identity_of(const std::string& path);
    SocketFile(std::string path, Fd listener)
        : path_(std::move(path)), listener_(std::move(listener)), identity_(identity_of(path_)) {}

    std::string path_;
    Fd listener_;
    std::optional<Identity> identity_;
};

}  // namespace vern
