// The packet path allocates nothing: every operator new of this program is counted, and none may happen
// within a worker's calls.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "two_devices.h"

namespace {
std::atomic<std::size_t> allocations{0};
void* counted(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) noexcept {
    ++allocations;
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}
void* counted_or_throw(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
    if (void* memory = counted(bytes, alignment)) return memory;
    throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t bytes) { return counted_or_throw(bytes); }
void* operator new[](std::size_t bytes) { return counted_or_throw(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return counted_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace vern {
namespace {

using namespace test;

class Discard final : public Outlet {
  public:
    std::span<std::byte> send_buffer() noexcept override { return buffers_[next_++ % kHeldBuffersMax]; }
    void send(const Endpoint&, std::span<std::byte> train, std::size_t segment_bytes,
              std::uint8_t) noexcept override {
        std::memcpy(last, train.data(), train.size());
        last_bytes = train.size();
        last_segment = segment_bytes;
    }
    void write(const VnetHeader&, std::span<const iovec>) noexcept override { ++writes; }
    std::byte last[kTrainBytesMax];
    std::size_t last_bytes = 0, last_segment = 0, writes = 0;

  private:
    std::byte buffers_[kHeldBuffersMax][kTrainBytesMax];
    std::size_t next_ = 0;
};

struct Allocation : TwoDevices {
    std::unique_ptr<Discard> outlet = std::make_unique<Discard>();
    template <typename Run>
    std::size_t during(Run run) {
        const std::size_t before = allocations;
        run();
        return allocations - before;
    }
};

TEST_F(Allocation, TheCounterCounts) {
    EXPECT_GE(during([] { auto p = std::make_unique<int>(1); }), 1U);
}

TEST_F(Allocation, NoneForTrainsThroughALiveSession) {
    connect();
    b.worker().allow_coalescing(true, true);
    PacketSpec spec;
    spec.from = a.address;
    spec.to = b.address;
    spec.payload = 60000;
    Bytes whole = build(spec);
    leave_partial_checksum(whole, spec);
    const VnetHeader header = superpacket_header(spec, 1380);
    Bytes small = udp_packet(a.address, b.address, 18);
    const auto round = [&] {
        for (int i = 0; i < 20; ++i) {
            a.worker().begin(a.now);
            a.worker().from_tun({header, whole}, *outlet);
            a.worker().from_tun({{}, small}, *outlet);
            a.worker().flush(*outlet);
            a.worker().begin(a.now);
            a.worker().from_tun({header, whole}, *outlet);
            a.worker().flush(*outlet);
            b.worker().begin(b.now);
            b.worker().from_underlay(
                {{outlet->last, outlet->last_bytes}, outlet->last_segment, a.endpoint, 0}, *outlet);
            b.worker().flush(*outlet);
        }
    };
    round();  // the AEAD may allocate once a thread
    EXPECT_EQ(during(round), 0U);
    EXPECT_EQ(outlet->writes, 40U);
    // As tasks that another worker could take.
    a.device.board().attend();
    b.device.board().attend();
    EXPECT_EQ(during(round), 0U);
    EXPECT_GT(a.device.board().desk(0).seals.offered(), 0U);
    EXPECT_GT(b.device.board().desk(0).opens.offered(), 0U);
}

// A new flow each packet, flows that go on, denials, answers and logs.
TEST_F(Allocation, NoneUnderAPolicy) {
    connect();
    const auto use = [](Host& host, policy::Direction direction) {
        policy::RuleSet set;
        set.generation = 1;
        policy::Rule allow, reject;
        allow.direction = reject.direction = direction;
        allow.action = policy::Action::allow;
        allow.services = {{17, 5000, 5000}};
        allow.log = reject.log = true;
        allow.rate = policy::Rate{50, seconds(1), 50, policy::Rate::Scope::source};
        reject.action = policy::Action::reject;
        reject.services = {{17, 5001, 5001}};
        set.rules = {allow, reject};
        ASSERT_TRUE(host.device.set_policy(std::move(*policy::Policy::compile(std::move(set), 1))));
    };
    use(a, policy::Direction::out);
    use(b, policy::Direction::in);
    std::vector<Bytes> packets;
    for (unsigned i = 0; i < 300; ++i) {
        PacketSpec spec;
        spec.from = a.address;
        spec.to = b.address;
        spec.protocol = 17;
        spec.source_port = static_cast<std::uint16_t>(1000 + i % 200);
        spec.destination_port = static_cast<std::uint16_t>(5000 + i % 3);
        packets.push_back(build(spec));
    }
    const auto round = [&] {
        for (Bytes& packet : packets) {
            a.worker().begin(a.now);
            outlet->last_bytes = 0;
            a.worker().from_tun({{}, packet}, *outlet);
            a.worker().flush(*outlet);
            if (outlet->last_bytes == 0) continue;
            b.worker().begin(b.now);
            b.worker().from_underlay(
                {{outlet->last, outlet->last_bytes}, outlet->last_segment, a.endpoint, 0}, *outlet);
            b.worker().flush(*outlet);
        }
    };
    EXPECT_EQ(during(round), 0U);
    EXPECT_GE(b.device.flow_count(), 50U);
    EXPECT_GT(a.worker().gate().refused(policy::Direction::out), 100U);
}

TEST_F(Allocation, NoneForStagingRequestsAndRubbish) {
    Bytes small = udp_packet(a.address, b.address, 18);
    Bytes nowhere = udp_packet(a.address, v4(99, 9, 9, 9), 18);
    std::vector<Bytes> rubbish;
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i < 300; ++i) {
        rubbish.push_back(random_bytes(random, i));
        if (i > 4) std::memset(rubbish.back().data(), 0, 4);
        if (i > 4) rubbish.back()[0] = static_cast<std::byte>(i % 5);
    }
    EXPECT_EQ(during([&] {
                  a.worker().begin(a.now);
                  for (int i = 0; i < 300; ++i) a.worker().from_tun({{}, small}, *outlet);
                  a.worker().from_tun({{}, nowhere}, *outlet);
                  for (Bytes& bytes : rubbish)
                      a.worker().from_underlay({bytes, bytes.size(), b.endpoint, 0}, *outlet);
                  a.worker().flush(*outlet);
              }),
              0U);
    a.service();
    b.receive(a.sink.sent.at(0).bytes, a.endpoint);
    b.service();
    a.receive(b.sink.sent.at(0).bytes, b.endpoint);
    while (a.device.service(a.now, a.wall, a.sink)) {
    }
    EXPECT_NE(a.device.take_wakeups(), 0U);
    EXPECT_EQ(during([&] {
                  a.worker().begin(a.now);
                  a.worker().flush_staged(*outlet);
                  a.worker().flush(*outlet);
              }),
              0U);
    EXPECT_GT(outlet->last_bytes, 0U);
}

}  // namespace
}  // namespace vern
