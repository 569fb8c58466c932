// What a proof of identity costs, from the client's bytes to the binding; and what it costs rules when many
// come or end at once. Keys, certificates and signatures are ssh-keygen's.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "control/identity/identities.h"
#include "control/policy/language.h"
#include "control/process.h"
#include "crypto/start.h"
#include "dataplane/runtime/system_random.h"
#include "identity_mint.h"

namespace {

using namespace vern;
using namespace vern::identity;

constexpr trust::UnixSeconds kNow = 1'800'000'000;

struct Signed {
    std::string statement, signature;
    Trusted trusted;
};

std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

void must(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "identity_bench: %s\n", what);
    std::exit(1);
}

const Identities* identities_for_rules = nullptr;  // of the one that is measured

PublicKey peer_number(unsigned number) {
    PublicKey key;
    for (std::size_t i = 0; i < 4; ++i)
        key.bytes[i] = static_cast<std::byte>((number * 2654435761U + 1) >> (24 - 8 * i) & 0xff);
    return key;
}

// A statement signed by a key of `type`, certified by a CA of the same.
const Signed& signed_by(const char* type) {
    static std::map<std::string, Signed> made;
    if (const auto found = made.find(type); found != made.end()) return found->second;
    std::string directory = (std::filesystem::temp_directory_path() / "vern-bench-XXXXXX").string();
    must(::mkdtemp(directory.data()) != nullptr, "no temporary directory");
    const auto run = [&](std::vector<std::string> arguments, std::string_view input = {}) {
        arguments.insert(arguments.begin(), "ssh-keygen");
        const auto done = run_process(arguments, {.input = input});
        must(done && done->ok(), "ssh-keygen failed");
        return done->output;
    };
    for (const char* name : {"/ca", "/id"})
        run({"-q", "-t", type, "-N", "", "-C", "", "-f", directory + name});
    run({"-q", "-s", directory + "/ca", "-I", "ada", "-n", "dba", "-V", "always:forever",
         directory + "/id.pub"});
    Signed one;
    one.statement = trust::encode_statement(
        {.wg = peer_number(1), .audience = peer_number(0), .nonce = {}, .not_after = kNow + 3600});
    one.signature =
        run({"-Y", "sign", "-n", std::string(kNamespace), "-f", directory + "/id-cert.pub"}, one.statement);
    auto key = trust::parse_ssh_key_line(read(directory + "/ca.pub"));
    must(key.has_value(), "no CA key");
    auto trusted = trust::SshTrust::make(
        {{.key = std::move(*key), .krl = {}, .principals = {}, .groups = {}, .name = "corp"}});
    must(trusted.has_value(), "no trust");
    one.trusted = {std::make_shared<const trust::SshTrust>(std::move(*trusted)),
                   std::make_shared<const trust::X509Trust>(), kNow};
    std::filesystem::remove_all(directory);
    return made.emplace(type, std::move(one)).first->second;
}

// All that one presentation costs the control thread but for the registry's few hundred nanoseconds.
void proof(benchmark::State& state, const char* type) {
    const Signed& one = signed_by(type);
    const Expected expected{peer_number(0), peer_number(1), std::nullopt};
    for (auto _ : state) {
        const auto proven = prove_by_ssh(one.statement, one.signature, expected, one.trusted);
        must(proven.has_value(), "a good proof is refused");
    }
    state.counters["proofs a second"] =
        benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(proof, ed25519, "ed25519")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(proof, ecdsa, "ecdsa")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(proof, rsa, "rsa")->Unit(benchmark::kMicrosecond);

// What a change of trust costs for each identity that its CA has certified.
void proof_again(benchmark::State& state, const char* type) {
    const Signed& one = signed_by(type);
    const auto proven = prove_by_ssh(one.statement, one.signature,
                                     {peer_number(0), peer_number(1), std::nullopt}, one.trusted);
    must(proven.has_value(), "a good proof is refused");
    Binding binding;
    binding.evidence = proven->evidence;
    for (auto _ : state)
        must(prove_again(binding, one.trusted).has_value(), "a proof does not hold any more");
}
BENCHMARK_CAPTURE(proof_again, ed25519, "ed25519")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(proof_again, rsa, "rsa")->Unit(benchmark::kMicrosecond);

// Ten thousand peers, and a clock that stands.
struct ManyPeers final : Peers {
    std::vector<PublicKey> keys;
    std::set<PublicKey> known;

    ManyPeers() {
        for (unsigned i = 1; i <= 10'000; ++i) keys.push_back(peer_number(i));
        known.insert(keys.begin(), keys.end());
    }
    policy::ClockPair now() const override { return {WallTime(std::chrono::seconds(kNow)), Instant{}}; }
    std::optional<PublicKey> own_public_key() const override { return peer_number(0); }
    std::optional<PublicKey> peer_of(const IpAddress&) const override { return std::nullopt; }
    bool has_peer(const PublicKey& peer) const override { return known.contains(peer); }
    void set_identity_limits(std::span<const IdentityLimit>) override {}
};

// From the operator's word to rules that can be published, and what is told and written after it: what a list
// that revokes one of ten thousand costs, with what is proven again of all of them.
template <typename AddAll, typename Revoke>
void revoke_one_of_10000(benchmark::State& state, AddAll add_all, Revoke revoke) {
    ManyPeers peers;
    SystemRandom random;
    const auto document = policy::parse_policy(
        "version = 1\n[[rule]]\nid = \"r\"\nin = { from = [\"ssh:principal=dba\", \"x509:ou=DBA\"] }\n"
        "allow = [\"tcp/22\"]\n",
        "bench", WallTime{});
    must(document.has_value(), "the policy is refused");
    double until_compiled = 0;
    for (auto _ : state) {
        state.PauseTiming();
        std::string directory = (std::filesystem::temp_directory_path() / "vern-bench-XXXXXX").string();
        must(::mkdtemp(directory.data()) != nullptr, "no temporary directory");
        bool rules_matter = false;
        std::chrono::steady_clock::time_point compiled;
        auto identities = std::make_unique<Identities>(
            directory, peers, random, [](const IdentityEvent&) {},
            [&] {
                if (!rules_matter) return true;
                const auto policy = policy::Policy::compile(
                    policy::rule_set_of(*document, {}, 1, identities_for_rules->registry().holders()), 2);
                must(policy.has_value(), "the policy does not compile");
                compiled = std::chrono::steady_clock::now();
                return true;
            });
        identities_for_rules = identities.get();
        add_all(*identities, peers);
        must(identities->registry().size() == peers.keys.size(), "not all are bound");
        rules_matter = true;
        const auto begin = std::chrono::steady_clock::now();
        state.ResumeTiming();
        revoke(*identities);
        state.PauseTiming();
        until_compiled += std::chrono::duration<double, std::milli>(compiled - begin).count();
        must(identities->registry().size() == peers.keys.size() - 1, "one should be gone");
        identities.reset();
        std::filesystem::remove_all(directory);
        state.ResumeTiming();
    }
    state.counters["until_compiled_ms"] = until_compiled / static_cast<double>(state.iterations());
}

void krl_for_10000(benchmark::State& state) {
    ManyPeers peers;
    const auto mint = bench::mint_ssh(peers.keys, peer_number(0), kNow - 60, kNow + 3600);
    const auto trust = [&](Identities& identities, std::optional<std::string> krl) {
        trust::SshSource source;
        source.name = "bench";
        source.key = mint.ca_line;
        source.krl = std::move(krl);
        must(identities.trust(std::move(source), "").has_value(), "the CA is refused");
    };
    revoke_one_of_10000(
        state,
        [&](Identities& identities, Peers&) {
            trust(identities, std::nullopt);
            for (const auto& one : mint.proofs)
                must(identities.add_ssh(one.statement, one.proof, "").has_value(), "a proof is refused");
        },
        [&](Identities& identities) { trust(identities, mint.krl); });
}
BENCHMARK(krl_for_10000)->Unit(benchmark::kMillisecond)->Iterations(3);

void crl_for_10000(benchmark::State& state) {
    ManyPeers peers;
    const auto mint = bench::mint_x509(peers.keys, kNow - 60, kNow + 3600);
    const auto trust = [&](Identities& identities, const std::string& crl) {
        trust::X509CaText text{.certificates = mint.ca_pem, .crls = {crl}, .groups = {}, .name = "bench"};
        must(identities.trust(std::move(text), "").has_value(), "the CA is refused");
    };
    revoke_one_of_10000(
        state,
        [&](Identities& identities, Peers&) {
            trust(identities, mint.crl_none);
            for (const auto& one : mint.proofs)
                must(identities.add_certificate(one.proof, "").has_value(), "a proof is refused");
        },
        [&](Identities& identities) { trust(identities, mint.crl_first); });
}
BENCHMARK(crl_for_10000)->Unit(benchmark::kMillisecond)->Iterations(3);

Binding binding(unsigned number) {
    Binding one;
    one.peer = peer_number(number);
    one.identity.key = "SHA256:" + std::to_string(number);
    one.identity.principals = {"dba", "team-" + std::to_string(number % 100)};
    one.ends = kNow + 3600;
    one.deadline = Instant(std::chrono::seconds(3600));
    return one;
}

void fill(Registry& registry, unsigned count) {
    for (unsigned i = 0; i < count; ++i) must(registry.bind(binding(i)).has_value(), "a binding is refused");
}

void bind_and_end_10000(benchmark::State& state) {
    for (auto _ : state) {
        Registry registry;
        fill(registry, 10'000);
        must(registry.end_due(Instant(std::chrono::seconds(3600))).size() == 10'000, "not all ended");
    }
}
BENCHMARK(bind_and_end_10000)->Unit(benchmark::kMillisecond);

// From a change of who has proven what to a policy that can be published.
void rules_of_10000_identities(benchmark::State& state) {
    std::string text = "version = 1\n";
    for (int i = 0; i < state.range(0); ++i)
        text += "[[rule]]\nid = \"r" + std::to_string(i) + "\"\nin = { from = [\"ssh:principal=team-" +
                std::to_string(i % 100) + "\"], to = [\"10." + std::to_string(i / 250) + "." +
                std::to_string(i % 250) + ".1\"] }\nallow = [\"tcp/" + std::to_string(1 + i) + "\"]\n";
    const auto document = policy::parse_policy(text, "bench", WallTime{});
    must(document.has_value(), "the policy is refused");
    Registry registry;
    fill(registry, 10'000);
    std::uint32_t generation = 0;
    for (auto _ : state) {
        auto compiled =
            policy::Policy::compile(policy::rule_set_of(*document, {}, ++generation, registry.holders()), 2);
        must(compiled.has_value(), "the policy does not compile");
    }
}
BENCHMARK(rules_of_10000_identities)->Arg(100)->Arg(1000)->Arg(10'000)->Unit(benchmark::kMillisecond);

}  // namespace

int main(int argc, char** argv) {
    must(start_crypto(), "crypto does not start");
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
