// Routes to the peers' allowed IPs, and what it takes to send everything through the tunnel: policy rules
// that let the tunnel's own packets (they carry a mark) take the usual way, and a firewall table that drops
// packets for the tunnel's addresses that come from elsewhere. Laid out as wg-quick lays it out, so that
// either program can take down what the other has set up.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/core/config.h"
#include "steps.h"

namespace vern::cli {

class Routes {
  public:
    // `table`: "auto", "off", or where the routes go. `set_fwmark` gives the running device a mark.
    Routes(Steps& steps, std::string interface, std::string table)
        : steps_(steps), interface_(std::move(interface)), table_(std::move(table)) {}

    using SetFwmark = std::function<Result<void>(std::uint32_t)>;
    Result<void> add(const DeviceStatus& status, const SetFwmark& set_fwmark);

    // Whether follow() would do: nothing goes from one table to another, and default routes of "auto", which
    // rules and a firewall table belong to, neither come nor go. `defaults`: those that the file asks for.
    Result<void> can_follow(const DeviceStatus& now, const std::set<Family>& defaults) const;
    // Whether a default route of "auto" is in force.
    bool has_default(const DeviceStatus& now, Family family) const;
    // Behind a change of the peers: the interface's routes to what is no longer allowed go, and those that
    // are missing come; also what is left of a change that did not come to its end. Does all it can, gives
    // the first error.
    Result<void> follow(const DeviceStatus& before, const DeviceStatus& after);

    // Takes away rules and firewall of a tunnel with that mark; the routes go with the interface. Does all it
    // can, gives the first error.
    Result<void> remove(std::uint32_t fwmark);
    // Undoes add(), whole or half done.
    void roll_back();

  private:
    std::string table() const { return table_ == "auto" ? "main" : table_; }
    Result<void> add_plain(std::vector<Prefix> prefixes, const std::set<Prefix>& present,
                           Steps::OnError on_error);
    Result<void> run_each(const char* what, const std::vector<Prefix>& prefixes, const std::string& protocol,
                          Steps::OnError on_error);
    Result<void> add_default(const std::vector<Prefix>& defaults, std::uint32_t fwmark,
                             const SetFwmark& set_fwmark);
    Result<void> add_rules(const Prefix& route);
    Result<void> add_firewall(const Prefix& route);
    Result<void> accept_marked_sources();
    Result<void> remove_rules(const std::string& family, std::uint32_t mark);
    Result<void> remove_firewall();

    Steps& steps_;
    std::string interface_;
    std::string table_;
    std::uint32_t mark_ = 0;        // also the number of the table, once there are rules for it
    bool source_mark_set_ = false;  // sysctl src_valid_mark was 0 before
};

}  // namespace vern::cli
