// Many WireGuard peers in one process: each has a key, a session with one daemon and an address of its own
// behind one TUN interface, so that programs bound to those addresses speak through as many tunnels. For
// measuring the daemon: sessions are made once and never renewed (that is good for two minutes), and what the
// daemon sends is trusted to come in order.
#pragma once

#include <netinet/in.h>

#include <string>
#include <vector>

#include "crypto/aead.h"
#include "crypto/noise.h"
#include "dataplane/base/random.h"
#include "dataplane/io/fd.h"

namespace vern::bench {

class TunnelFarm {
  public:
    // Makes the interface `tun`. Ends the process when something is not to be had.
    TunnelFarm(const std::string& tun, std::size_t peers, Random& random);

    std::size_t size() const { return peers_.size(); }
    const PublicKey& key(std::size_t peer) const { return peers_[peer].identity.public_key; }
    static in_addr address(std::size_t peer);  // 10.200.0.0 and on
    // Of the other end's configuration file.
    std::string peers_conf() const;

    void handshake(const PublicKey& daemon, const sockaddr_in& endpoint);

    // Readable when carry() has something to do.
    int tun_fd() const { return tun_.get(); }
    int udp_fd() const { return udp_.get(); }
    void carry();

  private:
    struct Peer {
        noise::StaticIdentity identity;
        noise::Initiator handshake;
        noise::SessionKeys keys;
        std::uint32_t their_index = 0;
        std::uint64_t sent = 0;
        bool established = false;
    };
    void initiate(std::size_t number, const PublicKey& daemon);
    bool take_response();
    void send(Peer& peer, std::size_t bytes);  // of packet_, behind the header's place
    void carry_out();
    void carry_in();

    Random& random_;
    const aead::Implementation& aead_;
    std::vector<Peer> peers_;
    Fd tun_, udp_;
    std::vector<std::byte> packet_;
};

}  // namespace vern::bench
