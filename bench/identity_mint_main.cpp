// identity_mint ssh|x509 COUNT DAEMON_KEY PEER_KEY UNTIL DIRECTORY: what a daemon with that key needs to find
// itself with COUNT identities, the first of them PEER_KEY's: identities.json for its state directory,
// peers.conf with the other peers, ca and revoked for `vern trust`.
#include <sodium.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <optional>

#include "control/json.h"
#include "control/text.h"
#include "crypto/start.h"
#include "identity_mint.h"

namespace {

using namespace vern;

void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

std::vector<PublicKey> peers_with(const PublicKey& first, std::size_t count, const std::string& file) {
    std::vector<PublicKey> peers{first};
    std::string text;
    for (std::size_t i = 1; i < count; ++i) {
        PublicKey& key = peers.emplace_back();
        randombytes_buf(key.bytes.data(), key.bytes.size());
        key.bytes.back() &= std::byte{0x7f};
        text += "[Peer]\nPublicKey = " + to_base64(key.bytes) + "\nAllowedIPs = 10.200." +
                std::to_string(i / 250) + "." + std::to_string(i % 250) + "/32\n";
    }
    write(file, text);
    return peers;
}

nlohmann::json handed_in(std::string_view means, const PublicKey& peer, const bench::Minted& minted) {
    nlohmann::json one{{"means", means}, {"peer", to_base64(peer.bytes)}, {"proof", minted.proof}};
    if (!minted.statement.empty()) one["statement"] = minted.statement;
    return one;
}

}  // namespace

int main(int argc, char** argv) {
    PublicKey daemon, peer;
    if (argc != 7 || !start_crypto() || !from_base64(argv[3], daemon.bytes) ||
        !from_base64(argv[4], peer.bytes)) {
        std::fprintf(stderr, "usage: identity_mint ssh|x509 COUNT DAEMON_KEY PEER_KEY UNTIL DIRECTORY\n");
        return 2;
    }
    const bool ssh = std::string_view(argv[1]) == "ssh";
    const trust::UnixSeconds from = std::time(nullptr) - 60, until = std::stoll(argv[5]);
    const std::string directory = std::string(argv[6]) + "/";
    const auto peers = peers_with(peer, std::stoul(argv[2]), directory + "peers.conf");
    nlohmann::json file{{"version", 1}, {"latest", from}, {"handed_in", nlohmann::json::array()}};
    const auto keep = [&](std::string_view means, const std::vector<bench::Minted>& proofs) {
        for (std::size_t i = 0; i < peers.size(); ++i)
            file["handed_in"].push_back(handed_in(means, peers[i], proofs[i]));
    };
    if (ssh) {
        const auto mint = bench::mint_ssh(peers, daemon, from, until);
        write(directory + "ca", mint.ca_line);
        write(directory + "revoked", mint.krl);
        keep("statement-ssh", mint.proofs);
    } else {
        const auto mint = bench::mint_x509(peers, from, until);
        write(directory + "ca", mint.ca_pem);
        write(directory + "revoked", mint.crl_first);
        keep("certificate", mint.proofs);
    }
    write(directory + "identities.json", file.dump());
    return 0;
}
