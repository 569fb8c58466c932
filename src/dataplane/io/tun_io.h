// Reading and writing one TUN queue by plain system calls. The worker's thread only.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "crypto/error.h"
#include "dataplane/base/counters.h"
#include "dataplane/core/train.h"
#include "dataplane/io/engine.h"
#include "dataplane/io/mapping.h"
#include "dataplane/io/tun.h"

namespace vern {

// Reads one packet after the other into one piece of memory, close together: a turn of small packets touches
// few pages.
class TunReader {
  public:
    static Result<TunReader> make(const TunQueue& queue);

    // Reads until the device is empty or the turn's budget is spent. What was read before ends.
    std::span<TunTrain> read(Counters& counters) noexcept;

    // The last read() stopped because the device was empty.
    bool drained() const noexcept { return drained_; }
    // The device was deleted.
    bool gone() const noexcept { return gone_; }

  private:
    bool read_one(std::byte* slot, TunTrain& train, Counters& counters) noexcept;
    void read_failed(int code, Counters& counters) noexcept;

    Mapping memory_;
    std::array<TunTrain, kTurnTrainsMax> trains_{};
    int fd_ = -1;
    bool vnet_header_ = true;
    bool drained_ = true;
    bool gone_ = false;
};

class TunWriter {
  public:
    // `gso_refused` is set when superpackets turn out to be refused.
    TunWriter(const TunQueue& queue, Counters& counters, std::atomic<bool>& gso_refused) noexcept
        : counters_(counters),
          gso_refused_(gso_refused),
          fd_(queue.fd.get()),
          vnet_header_(queue.vnet_header) {}

    // Writes at once: the data is in the cache now.
    void write(const VnetHeader& header, std::span<const iovec> pieces) noexcept;

    bool gone() const noexcept { return gone_; }

  private:
    void refused(int code, bool superpacket) noexcept;

    // Refusals in a row that are the kernel's fault and not one odd packet's.
    static constexpr unsigned kGsoRefusalsMax = 8;

    Counters& counters_;
    std::atomic<bool>& gso_refused_;
    int fd_;
    bool vnet_header_;
    bool gone_ = false;
    unsigned gso_refusals_ = 0;
};

}  // namespace vern
