#include "control/api/operator_tls.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "control/identity/identities.h"
#include "control/trust/tls_files.h"

namespace vern::api {
namespace {

using trust::Identity;
using trust::UnixSeconds;

constexpr std::size_t kCaFileBytesMax = std::size_t{1} << 20;

// The wall clock, but for steps back: what has ended stays so.
UnixSeconds now() {
    static std::atomic<UnixSeconds> latest{0};
    const UnixSeconds wall =
        std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()).time_since_epoch().count();
    UnixSeconds seen = latest.load();
    while (seen < wall && !latest.compare_exchange_weak(seen, wall)) {
    }
    return std::max(seen, wall);
}

Role role_of(const OperatorTls& options, const Identity& identity) {
    const auto among = [&](const std::vector<policy::Selector>& selectors) {
        return std::ranges::any_of(selectors,
                                   [&](const auto& one) { return policy::matches(one, identity); });
    };
    return among(options.writers) ? Role::write : among(options.readers) ? Role::read : Role::none;
}

}  // namespace

Result<std::uint16_t> listen_for_operators(Server& server, const OperatorTls& options) {
    const auto text = trust::read_tls_file(options.ca_file, kCaFileBytesMax, false);
    if (!text) return tl::unexpected(text.error());
    auto ca = trust::load_x509_ca(
        {.certificates = std::string(text->begin(), text->end()), .crls = {}, .groups = {}, .name = "api"},
        now());
    if (!ca) return fail(options.ca_file + ": " + ca.error().sentence);
    auto trusted = std::make_shared<trust::X509Trust>();
    trusted->cas.push_back(std::move(*ca));
    auto context = trust::make_tls_server(
        {.files = options.files,
         .trust = [trusted]() -> std::shared_ptr<const trust::X509Trust> { return trusted; },
         .now = now});
    if (!context) return tl::unexpected(context.error());
    // Asked again for each request: a certificate ends also in the middle of a connection.
    return server.listen_tls(options.address, options.port, context->get(),
                             [options](SSL* ssl) -> std::optional<Caller> {
                                 const auto identity = trust::verified_identity(ssl);
                                 if (!identity || identity->not_after <= now()) return std::nullopt;
                                 Caller caller;
                                 caller.role = role_of(options, *identity);
                                 caller.name = identity::label_of(*identity);
                                 return caller;
                             });
}

}  // namespace vern::api
