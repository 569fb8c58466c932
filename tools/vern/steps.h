// The steps of bringing a tunnel up or down: each is shown the way wg-quick shows it ("[#] ip link ..."),
// run, and what goes wrong becomes one sentence.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/json.h"
#include "crypto/error.h"

namespace vern::cli {

using Words = std::vector<std::string>;

class Steps {
  public:
    // From here on SIGINT, SIGTERM and SIGHUP only make the next step fail, so that what was begun can be
    // undone.
    explicit Steps(bool quiet);

    Result<void> run(const Words& words, std::string_view input = {});
    // One `ip -batch` for many changes; `family` is "-4" or "-6". The error is of the first that failed.
    enum class OnError : std::uint8_t { stop, go_on };
    Result<void> ip_batch(const std::string& family, const std::vector<Words>& commands, OnError on_error);
    // wg-quick's hooks: a line for bash (sh where there is none), %i replaced by the interface's name.
    Result<void> hooks(const std::vector<std::string>& lines, std::string_view interface);
    void show(std::string_view what) const;
    // While something is being undone signals no longer count.
    void ignore_signals() { heed_signals_ = false; }
    Result<void> interrupted() const;

  private:
    bool quiet_;
    bool heed_signals_ = true;
};

// A look at the system: not shown. The output of a program that succeeded, else an error.
Result<std::string> ask(const Words& words);
// `ip -j ...`: a list of objects, empty when there is nothing, ip fails or says something else.
nlohmann::json ask_ip(Words words);

}  // namespace vern::cli
