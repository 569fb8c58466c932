// Names of Unix sockets.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <string>

#include "crypto/error.h"

namespace vern {

// Of a socket in the file system. Errors: ENAMETOOLONG.
inline Result<sockaddr_un> unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return fail(path + ": longer than a socket's name can be", ENAMETOOLONG);
    std::copy(path.begin(), path.end(), address.sun_path);
    return address;
}

}  // namespace vern
