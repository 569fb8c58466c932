#include "dataplane/io/tun_io.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>

namespace vern {
namespace {

constexpr std::size_t kLine = 64;
// The longest packet: an IPv6 header and its 65535 bytes.
constexpr std::size_t kPacketBytesMax = 40 + kTrainBytesMax;
// Packets begin on a cache line, with the line before it for the virtio header.
constexpr std::size_t kArenaBytes = kTurnBytesMax + kTurnTrainsMax * 2 * kLine + kPacketBytesMax;

constexpr std::size_t round_up(std::size_t bytes) noexcept { return (bytes + kLine - 1) / kLine * kLine; }

bool means_gone(int code) noexcept { return code == EBADFD || code == ENODEV || code == EBADF; }

}  // namespace

Result<TunReader> TunReader::make(const TunQueue& queue) {
    auto memory = Mapping::make(kArenaBytes);
    if (!memory) return tl::unexpected(memory.error());
    TunReader reader;
    reader.memory_ = std::move(*memory);
    reader.fd_ = queue.fd.get();
    reader.vnet_header_ = queue.vnet_header;
    return reader;
}

std::span<TunTrain> TunReader::read(Counters& counters) noexcept {
    std::size_t count = 0;
    std::size_t bytes = 0;
    std::byte* slot = memory_.data() + kLine;
    drained_ = false;
    while (!drained_ && !gone_ && count < trains_.size() && bytes < kTurnBytesMax) {
        TunTrain& train = trains_[count];
        if (!read_one(slot, train, counters)) continue;
        ++count;
        bytes += train.packet.size();
        slot += round_up(train.packet.size()) + kLine;
    }
    return std::span(trains_).first(count);
}

// False: nothing came, or nothing of use.
bool TunReader::read_one(std::byte* slot, TunTrain& train, Counters& counters) noexcept {
    const std::size_t header_bytes = vnet_header_ ? sizeof(VnetHeader) : 0;
    const ssize_t got = ::read(fd_, slot - header_bytes, header_bytes + kPacketBytesMax);
    if (got < 0) {
        read_failed(errno, counters);
        return false;
    }
    const auto size = static_cast<std::size_t>(got);
    if (size <= header_bytes || size > header_bytes + kPacketBytesMax) {  // more than asked for: it was cut
        counters.add(size <= header_bytes ? Counter::tun_malformed : Counter::tun_too_large);
        return false;
    }
    train.header = {};
    if (vnet_header_) std::memcpy(&train.header, slot - header_bytes, header_bytes);
    train.packet = {slot, size - header_bytes};
    return true;
}

void TunReader::read_failed(int code, Counters& counters) noexcept {
    if (code == EINTR) return;
    drained_ = true;
    gone_ = means_gone(code);
    if (code != EAGAIN && !gone_)
        counters.add(Counter::tun_malformed);  // the packet is lost, the next may be well
}

void TunWriter::write(const VnetHeader& header, std::span<const iovec> pieces) noexcept {
    assert(pieces.size() <= Outlet::kWritePiecesMax);
    std::array<iovec, 1 + Outlet::kWritePiecesMax> gathered;
    VnetHeader copy = header;
    std::size_t count = 0;
    if (vnet_header_) gathered[count++] = {&copy, sizeof copy};
    std::memcpy(gathered.data() + count, pieces.data(), pieces.size_bytes());
    count += pieces.size();
    const bool superpacket = header.gso_type != VnetHeader::kGsoNone;
    ssize_t taken = 0;
    do {
        taken = ::writev(fd_, gathered.data(), static_cast<int>(count));
    } while (taken < 0 && errno == EINTR);
    if (taken < 0)
        refused(errno, superpacket);
    else if (superpacket)
        gso_refusals_ = 0;
}

// EIO is an interface that is down: it may come up again.
void TunWriter::refused(int code, bool superpacket) noexcept {
    counters_.add(Counter::tun_write_failed);
    if (means_gone(code)) gone_ = true;
    if (code == EINVAL && superpacket && ++gso_refusals_ >= kGsoRefusalsMax)
        gso_refused_.store(true, std::memory_order_relaxed);
}

}  // namespace vern
