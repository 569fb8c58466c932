// Which one it is of a CA's lists of revocations, so that an older one does not take the place of a newer
// one: KRLs by krl_version, CRLs by crlNumber (RFC 5280, 5.2.3), and by when they were made where the number
// is the same or there never was one (ssh-keygen writes version 0 unless it is told).
#pragma once

#include <string>

#include "control/trust/identity.h"

namespace vern::trust {

struct Edition {
    std::string number;    // without leading zeros, all of one CA's to one base; empty: it has none
    UnixSeconds made = 0;  // thisUpdate, or the KRL's generated_date
};

// Taking `next` would forget revocations. A list may not lose its number.
inline bool goes_back(const Edition& known, const Edition& next) {
    if (known.number.empty() || next.number == known.number) return next.made < known.made;
    if (next.number.size() != known.number.size()) return next.number.size() < known.number.size();
    return next.number < known.number;
}

}  // namespace vern::trust
