// What is said of who a peer has proven to be: to people, in logs and in the API. Any thread.
#pragma once

#include <string>

#include "control/identity/registry.h"
#include "control/json.h"

namespace vern::identity {

// In a few words of printable ASCII: "ssh:ada@corp (dba, web)", "x509:CN@ca".
std::string label_of(const trust::Identity& identity);
nlohmann::json to_json(const Binding& binding);

}  // namespace vern::identity
