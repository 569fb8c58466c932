// The allowed IPs of one host as the simulation believes them to be: a list, searched to its end.
// Deliberately not the core's data structure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "dataplane/base/address.h"
#include "packet.h"

namespace vern::sim {

struct Owners {
    struct Entry {
        Prefix prefix;
        HostId owner;
    };
    std::vector<Entry> entries;

    HostId of(const std::byte* address, bool v6) const noexcept {
        HostId owner = kNobody;
        int longest = -1;
        for (const Entry& entry : entries) {
            if ((entry.prefix.address.family == Family::v6) != v6 || entry.prefix.length <= longest) continue;
            if (!covers(entry.prefix, address)) continue;
            owner = entry.owner;
            longest = entry.prefix.length;
        }
        return owner;
    }
    void give(const Prefix& prefix, HostId owner) {
        for (Entry& entry : entries) {
            if (entry.prefix == prefix) {
                entry.owner = owner;
                return;
            }
        }
        entries.push_back({prefix, owner});
    }
    void drop(HostId owner) {
        std::erase_if(entries, [owner](const Entry& entry) { return entry.owner == owner; });
    }

  private:
    static bool covers(const Prefix& prefix, const std::byte* address) noexcept {
        for (unsigned bit = 0; bit < prefix.length; ++bit) {
            const auto mask = static_cast<std::byte>(0x80U >> bit % 8);
            if ((prefix.address.bytes[bit / 8] & mask) != (address[bit / 8] & mask)) return false;
        }
        return true;
    }
};

}  // namespace vern::sim
