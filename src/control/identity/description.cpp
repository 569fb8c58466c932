#include "control/identity/description.h"

#include <algorithm>

#include "control/text.h"

namespace vern::identity {

using nlohmann::json;
using trust::Identity;

std::string label_of(const Identity& identity) {
    constexpr std::size_t kLabelBytesMax = 256;
    const bool ssh = identity.kind == Identity::Kind::ssh;
    std::string text =
        (ssh ? "ssh:" + identity.key_id : "x509:" + identity.common_name) + "@" + identity.authority;
    std::string names;
    for (const std::string& one : ssh ? identity.principals : identity.org_units)
        names += (names.empty() ? "" : ", ") + one;
    if (!names.empty()) text += " (" + names + ")";
    std::ranges::replace_if(
        text, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
    return printable(text, kLabelBytesMax);
}

json to_json(const Binding& binding) {
    const Identity& identity = binding.identity;
    const bool ssh = identity.kind == Identity::Kind::ssh;
    json out{{"id", binding.id},
             {"peer", to_base64(binding.peer.bytes)},
             {"kind", ssh ? "ssh" : "x509"},
             {"label", label_of(identity)},
             {"means", name_of(binding.means)},
             {"ca", identity.authority},
             {"issuer", identity.issuer},
             {"serial", identity.serial},
             {"key", identity.key},
             {"groups", identity.groups},
             {"bound_at", date_text(binding.bound_at)},
             {"ends", date_text(binding.ends)}};
    if (ssh) {
        out["key_id"] = identity.key_id;
        out["principals"] = identity.principals;
    } else {
        out["common_name"] = identity.common_name;
        out["org_units"] = identity.org_units;
        out["alternatives"] = identity.alternatives;
    }
    return out;
}

}  // namespace vern::identity
