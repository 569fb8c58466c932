// vern save: the running tunnel's state into its file.
#include "save.h"

#include "command.h"
#include "control/json.h"
#include "control/uapi_client.h"
#include "link.h"

namespace vern::cli {
namespace {

// What the file says stays as it is; of what the system may have changed, the present state counts.
WgConfig kept_part(const ConfigFile& file) {
    const WgConfig& from = file.config;
    WgConfig kept;
    kept.addresses = present_addresses(file.interface, from.addresses);
    kept.dns = from.dns;
    kept.dns_search = from.dns_search;
    kept.table = from.table;
    kept.pre_up = from.pre_up;
    kept.post_up = from.post_up;
    kept.pre_down = from.pre_down;
    kept.post_down = from.post_down;
    kept.save_config = from.save_config;
    if (!from.mtu) return kept;
    kept.mtu = from.mtu;
    for (const auto& link : ask_ip({"link", "show", "dev", file.interface})) {
        if (link.contains("mtu") && link["mtu"].is_number_unsigned())
            kept.mtu = link["mtu"].get<std::uint32_t>();
    }
    return kept;
}

int run_save(const Invocation& invocation) {
    if (auto root = require_root(); !root) return failed(root.error());
    const auto file = load_config(invocation.operands.front());
    if (!file) return failed(file.error());
    const auto saved = save_config(*file);
    return saved ? kSuccess : failed(saved.error());
}

}  // namespace

Result<void> save_config(const ConfigFile& file) {
    auto status =
        UapiClient::connect(file.interface).and_then([](UapiClient&& client) { return client.get(); });
    if (!status) return fail(file.interface + " is not up: " + status.error().message, status.error().code);
    return replace_file(file.path, format_wg_config(kept_part(file), *status));
}

const Command kSave{"save",
                    "CONFIG | INTERFACE",
                    "write a running tunnel's state into its file",
                    "Replaces the file by the tunnel's present keys, peers and addresses, and the settings "
                    "and hooks that the file had.\n"
                    "Comments are lost. The old file is there until the new one is complete.",
                    1,
                    1,
                    nullptr,
                    run_save};

}  // namespace vern::cli
