#include "control/trust/statement.h"

#include <sodium.h>

#include "control/text.h"

namespace vern::trust {
namespace {

constexpr int kBase64 = sodium_base64_VARIANT_ORIGINAL;
constexpr std::size_t kKeyCharacters = 44;
constexpr std::size_t kNonceCharacters = 24;
constexpr std::uint64_t kNotAfterMax = 253'402'300'800;  // 10000-01-01

constexpr std::string_view kBeforeWg = "{\"version\":1,\"wg\":\"";
constexpr std::string_view kBeforeAudience = "\",\"audience\":\"";
constexpr std::string_view kBeforeNonce = "\",\"nonce\":\"";
constexpr std::string_view kBeforeNotAfter = "\",\"not_after\":";
constexpr std::string_view kEnd = "}\n";

std::string nonce_base64(const std::array<std::byte, kNonceBytes>& nonce) {
    std::string text(kNonceCharacters, '\0');
    sodium_bin2base64(text.data(), kNonceCharacters + 1, reinterpret_cast<const unsigned char*>(nonce.data()),
                      kNonceBytes, kBase64);
    return text;
}

bool nonce_from_base64(std::string_view text, std::array<std::byte, kNonceBytes>& nonce) {
    std::size_t length = 0;
    return sodium_base642bin(reinterpret_cast<unsigned char*>(nonce.data()), kNonceBytes, text.data(),
                             text.size(), nullptr, &length, nullptr, kBase64) == 0 &&
           length == kNonceBytes && nonce_base64(nonce) == text;
}

class Line {
  public:
    explicit Line(std::string_view text) : rest_(text) {}
    bool expect(std::string_view literal) {
        if (!rest_.starts_with(literal)) return false;
        rest_.remove_prefix(literal.size());
        return true;
    }
    std::string_view take(std::size_t size) {
        const std::string_view taken = rest_.substr(0, size);
        rest_.remove_prefix(taken.size());
        return taken;
    }
    std::string_view take_before(std::string_view end) { return take(rest_.find(end)); }

  private:
    std::string_view rest_;
};

}  // namespace

std::string encode_statement(const Statement& statement) {
    std::string text(kBeforeWg);
    text.append(to_base64(statement.wg.bytes)).append(kBeforeAudience);
    text.append(to_base64(statement.audience.bytes)).append(kBeforeNonce);
    text.append(nonce_base64(statement.nonce)).append(kBeforeNotAfter);
    return text.append(std::to_string(statement.not_after)).append(kEnd);
}

Verdict<Statement> parse_statement(std::string_view text) {
    if (text.size() > kStatementBytesMax)
        return refuse(Refusal::too_large,
                      "statement: larger than " + std::to_string(kStatementBytesMax) + " bytes");
    const auto malformed = [](const char* why) {
        return refuse(Refusal::malformed, std::string("statement: ") + why);
    };
    Statement statement;
    Line line(text);
    if (!line.expect(kBeforeWg)) return malformed("does not begin with version 1 and the peer's key");
    if (!from_base64(line.take(kKeyCharacters), statement.wg.bytes) || statement.wg.is_zero())
        return malformed("\"wg\" is not a key in base64");
    if (!line.expect(kBeforeAudience)) return malformed("\"audience\" does not follow \"wg\"");
    if (!from_base64(line.take(kKeyCharacters), statement.audience.bytes) || statement.audience.is_zero())
        return malformed("\"audience\" is not a key in base64");
    if (!line.expect(kBeforeNonce)) return malformed("\"nonce\" does not follow \"audience\"");
    if (!nonce_from_base64(line.take(kNonceCharacters), statement.nonce))
        return malformed("\"nonce\" is not 16 bytes in base64");
    if (!line.expect(kBeforeNotAfter)) return malformed("\"not_after\" does not follow \"nonce\"");
    const auto not_after = parse_decimal<std::uint64_t>(line.take_before("}"), kNotAfterMax);
    if (!not_after) return malformed("\"not_after\" is not a time in seconds");
    statement.not_after = static_cast<UnixSeconds>(*not_after);
    // Whatever was read, only what would be written is taken.
    if (encode_statement(statement) != text) return malformed("is not one line in its one spelling");
    return statement;
}

}  // namespace vern::trust
