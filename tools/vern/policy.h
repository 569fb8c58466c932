// What the commands that ask a daemon share.
#pragma once

#include <boost/program_options.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "control/api/message.h"
#include "control/json.h"
#include "control/policy/document.h"

namespace vern::cli {

// Exit status of from-nft: written, but not all of the ruleset is in it.
inline constexpr int kIncomplete = 3;

struct NftRequest {
    std::string file;
    std::string interface;      // empty: by the ruleset
    std::vector<Prefix> local;  // this host's addresses
    bool json = false;
};
int run_from_nft(const NftRequest& request);

// Asks the daemon of --interface, or of the only one there is (api/client.h).
Result<nlohmann::json> ask_daemon(const Invocation& invocation, api::Method method, std::string_view target,
                                  std::string_view body = {});
void declare_interface(boost::program_options::options_description& options);
// What the daemon says against something of a file, with the file's name before it; unless it names one of
// `others`.
Result<nlohmann::json> about_file(Result<nlohmann::json> answer, const std::string& file,
                                  const std::vector<std::string>& others = {});
// Fails with what went wrong: a line each, or as JSON if that was asked for.
int refuse(const Invocation& invocation, const Error& error);
int print_json(const nlohmann::json& document);
int print_done(nlohmann::json answer);  // what the daemon has said, as JSON with "ok": true
// What a JSON answer says, fit for a terminal; nothing if there is no such member.
std::string text_of(const nlohmann::json& object, const char* key);
std::string joined(const nlohmann::json& object, const char* key);  // of a list of texts: "a, b"
std::uint64_t number_of(const nlohmann::json& object, const char* key);
// "policy: db-servers, 12 rules" for `vern show`, from the daemon's summary.
std::string policy_line(const nlohmann::json& summary);

}  // namespace vern::cli
