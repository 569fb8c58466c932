// Identities with a CA and a user of the real ssh-keygen's, peers and a clock of the test's.
#pragma once

#include <gtest/gtest.h>

#include "../trust/ssh_workshop.h"
#include "control/identity/identities.h"
#include "fake_peers.h"

namespace vern::identity::test {

using std::chrono::seconds;
using trust::Identity;
using trust::Refusal;
using trust::Statement;
using trust::UnixSeconds;
using trust::Verdict;
using vern::test::read_file;
using vern::test::TemporaryDirectory;
using vern::test::Workshop;

class IdentitiesTest : public ::testing::Test {
  protected:
    void SetUp() override {
        NEEDS_SSH_KEYGEN();
        ca_ = workshop().key("ed25519", "-identities-ca");
        user_ = workshop().key("ed25519", "-identities-user");
        open();
    }
    static Workshop& workshop() { return Workshop::get(); }

    std::vector<std::string> open(StateDirectory::StepHook hook = nullptr) {
        identities.reset();
        identities = std::make_unique<Identities>(
            state.path() + "/wg0", peers, random, [this](const IdentityEvent& event) { note(event); },
            [this] {
                ++changes;
                peers.clock.boot += slow;
                if (no_memory) throw std::bad_alloc();
                return rules_fit;
            },
            std::move(hook));
        return identities->start();
    }
    void note(const IdentityEvent& event) {
        std::string line(name_of(event.kind));
        if (event.binding != nullptr)
            line += " " + event.binding->identity.key_id + event.binding->identity.common_name;
        if (!event.reason.empty()) line += " " + event.reason;
        if (!event.by.empty()) line += " by " + event.by;
        told.push_back(line);
    }
    bool trust_ca(std::optional<std::string> krl = {}, std::optional<std::string> principals = {}) {
        const auto done = identities->trust(trust::SshSource{.name = "corp",
                                                             .key = workshop().public_line(ca_),
                                                             .krl = std::move(krl),
                                                             .principals = std::move(principals),
                                                             .principals_file = "principals",
                                                             .groups = {"staff"}},
                                            "uid 0");
        EXPECT_TRUE(done) << (done ? "" : done.error().sentence);
        return done.has_value();
    }
    void certify(std::vector<std::string> options = {}, const std::string& principals = "dba,web") {
        ASSERT_FALSE(workshop().certify(ca_, user_, std::move(options), principals).empty());
    }
    std::string signed_text(const std::string& text, const std::string& space = std::string(kNamespace)) {
        return workshop().sign(user_ + "-cert", space, text);
    }
    static Statement statement(const Nonces::Nonce& nonce = {}, UnixSeconds until = kNow + 3600) {
        return {.wg = kLaptop, .audience = kDaemon, .nonce = nonce, .not_after = until};
    }
    Nonces::Nonce nonce(const IpAddress& from = kLaptopAddress) {
        const auto invitation = identities->invite(from);
        EXPECT_TRUE(invitation);
        return invitation ? invitation->nonce : Nonces::Nonce{};
    }
    Verdict<Binding> present(const Statement& said, const IpAddress& from = kLaptopAddress) {
        const std::string text = encode_statement(said);
        return present_ssh(from, text, signed_text(text));
    }
    Verdict<Binding> present_ssh(const IpAddress& from, const std::string& text,
                                 const std::string& signature) {
        const auto presenter = identities->presenter(from);
        if (!presenter) return tl::unexpected(presenter.error());
        return identities->present_ssh(*presenter, from, text, signature);
    }
    Verdict<Binding> present_tls(const IpAddress& from, const TlsChain& chain,
                                 trust::UnixSeconds not_after = kNever) {
        const auto presenter = identities->presenter(from);
        if (!presenter) return tl::unexpected(presenter.error());
        return identities->present_tls(*presenter, from, chain, {*presenter, kDaemon, not_after});
    }
    static std::string code_of(const Verdict<Binding>& verdict) {
        return verdict ? "bound" : std::string(refusal_code(verdict.error().code));
    }
    void tick_at_end(seconds time) {
        peers.pass(time);
        identities->tick();
    }

    std::string ca_, user_;
    TemporaryDirectory state;
    FakePeers peers;
    SeededRandom random;
    std::vector<std::string> told;
    int changes = 0;
    Duration slow{};  // what a change of rules takes
    bool rules_fit = true, no_memory = false;
    std::unique_ptr<Identities> identities;
};

}  // namespace vern::identity::test
