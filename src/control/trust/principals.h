// The AuthorizedPrincipalsFile of sshd(8), so that one file can serve sshd and the tunnel: a principal a
// line, options before it, "#" begins a comment anywhere.
//
// Stricter than sshd, which skips a line that it cannot read, and silently loses options that follow a space:
// here such a line refuses the file, with "file:line". Options that concern only terminals, agents, X11 and
// the user's rc file are taken, since a tunnel gives nothing of that; all others (from=, command=, restrict…)
// would be a promise that nobody keeps, and refuse the file too.
//
// Threads: any; a value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/trust/refusal.h"

namespace vern::trust {

inline constexpr std::size_t kPrincipalsFileBytesMax = std::size_t{1} << 20;
inline constexpr std::size_t kPrincipalBytesMax = 1024;

class PrincipalsFile {
  public:
    PrincipalsFile(std::string file_name, std::vector<std::string> principals);

    bool accepts(std::string_view principal) const;
    const std::string& file_name() const noexcept { return file_name_; }
    const std::vector<std::string>& principals() const noexcept { return principals_; }  // sorted, each once

  private:
    std::string file_name_;
    std::vector<std::string> principals_;
};

// Refusals: malformed, too_large, unknown_critical (an option that cannot be enforced). A file without
// principals is one that accepts nobody.
Verdict<PrincipalsFile> parse_principals(std::string_view text, std::string file_name);

}  // namespace vern::trust
