#include "control/policy/messages.h"

#include <algorithm>

namespace vern::policy {

std::vector<std::string> Messages::told(std::vector<Message>& messages) const {
    std::stable_sort(messages.begin(), messages.end(),
                     [](const Message& a, const Message& b) { return a.at < b.at; });
    std::vector<std::string> lines;
    for (const Message& message : messages) {
        if (lines.size() == kToldMax) {
            lines.push_back(file_ + ": and " + std::to_string(messages.size() - kToldMax) + " more");
            break;
        }
        lines.push_back(file_ + ":" + std::to_string(message.at.line) + ":" +
                        std::to_string(message.at.column) + ": " + message.what);
    }
    return lines;
}

std::string Messages::errors() {
    std::string text;
    for (const std::string& line : told(errors_)) text += (text.empty() ? "" : "\n") + line;
    return text;
}

std::vector<std::string> Messages::warnings() { return told(warnings_); }

}  // namespace vern::policy
