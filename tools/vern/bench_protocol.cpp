#include "bench_protocol.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <stdexcept>

namespace vern::cli::bench {

std::string to_text(const Token& token) {
    std::string text;
    for (const std::byte byte : token) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
    return text;
}

std::optional<Token> token_of(std::string_view text) {
    Token token;
    if (text.size() != 2 * token.size()) return std::nullopt;
    for (std::size_t i = 0; i < token.size(); ++i) {
        unsigned value = 0;
        const char* const begin = text.data() + 2 * i;
        const auto [end, status] = std::from_chars(begin, begin + 2, value, 16);
        if (status != std::errc{} || end != begin + 2) return std::nullopt;
        token[i] = static_cast<std::byte>(value);
    }
    return token;
}

Token random_token() {
    Token token;
    if (::getrandom(token.data(), token.size(), 0) != static_cast<ssize_t>(token.size()))
        throw std::runtime_error("no random bytes");
    return token;
}

}  // namespace vern::cli::bench
