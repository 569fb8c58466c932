#include "dataplane/io/tun.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <chrono>
#include <thread>

#include "network.h"

namespace vern {
namespace {

using test::enter_fresh_network;

class Tun : public testing::Test {
  protected:
    void SetUp() override {
        if (const auto why = enter_fresh_network(); !why.empty()) GTEST_SKIP() << why;
    }
};

// A TUN descriptor that another program would make, with these flags.
Fd foreign_tun(const char* name, int flags) {
    Fd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request{};
    std::string(name).copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = static_cast<short>(flags);
    EXPECT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
    return fd;
}

TEST_F(Tun, MakesTheInterfaceWithItsOptions) {
    TunOptions options;
    options.mtu = 1380;
    options.transmit_queue = 777;
    const auto device = create_tun("vern0", options);
    ASSERT_TRUE(device) << device.error().message;
    EXPECT_EQ(device->name, "vern0");
    EXPECT_EQ(device->index, ::if_nametoindex("vern0"));
    EXPECT_EQ(tun_mtu("vern0"), 1380U);
    EXPECT_EQ(test::transmit_queue("vern0"), 777);
    ASSERT_EQ(device->queues.size(), 1U);
    EXPECT_TRUE(device->queues[0].vnet_header);
    EXPECT_NE(::fcntl(device->queues[0].fd.get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(device->tso.on, device->tso.reason.empty());
    EXPECT_EQ(device->uso.on, device->uso.reason.empty());
}

TEST_F(Tun, TakesThePatternThatTheKernelNumbers) {
    const auto device = create_tun("wg%d", {});
    ASSERT_TRUE(device) << device.error().message;
    EXPECT_EQ(device->name, "wg0");
    EXPECT_NE(device->index, 0U);
}

TEST_F(Tun, SaysWhyOffloadsAreOff) {
    TunOptions options;
    options.tso = options.uso = false;
    const auto device = create_tun("vern0", options);
    ASSERT_TRUE(device) << device.error().message;
    EXPECT_FALSE(device->tso.on);
    EXPECT_EQ(device->tso.reason, "turned off by --offload");
    EXPECT_FALSE(device->uso.on);
    EXPECT_EQ(device->uso.reason, "turned off by --offload");
}

TEST_F(Tun, OneOffloadDoesNotNeedTheOther) {
    TunOptions options;
    options.uso = false;
    const auto tso_only = create_tun("vern0", options);
    ASSERT_TRUE(tso_only) << tso_only.error().message;
    EXPECT_TRUE(tso_only->tso.on) << tso_only->tso.reason;
    EXPECT_FALSE(tso_only->uso.on);
}

TEST_F(Tun, AttachesSeveralQueuesToOneDevice) {
    TunOptions options;
    options.queues = 4;
    const auto device = create_tun("vern0", options);
    ASSERT_TRUE(device) << device.error().message;
    ASSERT_EQ(device->queues.size(), 4U);
    for (const auto& queue : device->queues) {
        ifreq request{};
        ASSERT_EQ(::ioctl(queue.fd.get(), TUNGETIFF, &request), 0);
        EXPECT_STREQ(request.ifr_name, "vern0");
    }
}

TEST_F(Tun, RefusesANameThatIsTaken) {
    const auto lo = create_tun("lo", {});
    ASSERT_FALSE(lo);
    EXPECT_EQ(lo.error().code, EEXIST);
    EXPECT_NE(lo.error().message.find("interface lo exists already"), std::string::npos)
        << lo.error().message;
}

// Of a program that was killed: its interface goes when the kernel has cleared up behind it.
TEST_F(Tun, WaitsForAnInterfaceThatIsGoing) {
    Fd going = foreign_tun("going0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
    std::jthread closer([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        going.reset();
    });
    const auto device = create_tun("going0", {});
    EXPECT_TRUE(device) << device.error().message;
}

// TUNSETIFF would join both without a word.
TEST_F(Tun, RefusesAForeignDevice) {
    const Fd multi_queue = foreign_tun("many0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
    Fd persistent = foreign_tun("left0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
    ASSERT_EQ(::ioctl(persistent.get(), TUNSETPERSIST, 1), 0);
    persistent.reset();
    TunOptions options;
    for (const char* name : {"many0", "left0"}) {
        options.queues = name[0] == 'm' ? 2 : 1;
        const auto device = create_tun(name, options);
        ASSERT_FALSE(device);
        EXPECT_EQ(device.error().code, EEXIST);
    }
}

TEST_F(Tun, RefusesWhatIsNoName) {
    for (const char* name : {"", ".", "..", "a/b", "a b", "a:b", "a\tb", "%s", "a%d%d", "sixteen_letters_"}) {
        const auto device = create_tun(name, {});
        ASSERT_FALSE(device) << name;
        EXPECT_NE(device.error().message.find("is no interface name"), std::string::npos)
            << device.error().message;
    }
}

TEST_F(Tun, ChangesTheMtu) {
    const auto device = create_tun("vern0", {});
    ASSERT_TRUE(device) << device.error().message;
    ASSERT_TRUE(set_tun_mtu("vern0", 9000));
    EXPECT_EQ(tun_mtu("vern0"), 9000U);
    EXPECT_FALSE(set_tun_mtu("vern0", 7));
    EXPECT_FALSE(tun_mtu("absent0"));
}

TEST_F(Tun, AdoptsADescriptor) {
    Fd fd = foreign_tun("theirs0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
    const auto device = adopt_tun(fd.get(), {});
    ASSERT_TRUE(device) << device.error().message;
    fd.release();
    EXPECT_EQ(device->name, "theirs0");
    EXPECT_EQ(device->index, ::if_nametoindex("theirs0"));
    EXPECT_TRUE(device->queues[0].vnet_header);
    EXPECT_TRUE(device->tso.on) << device->tso.reason;
    EXPECT_NE(::fcntl(device->queues[0].fd.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(Tun, AdoptsOneWithoutTheVirtioHeaderAndTurnsOffloadsOff) {
    Fd fd = foreign_tun("theirs0", IFF_TUN | IFF_NO_PI);
    const auto device = adopt_tun(fd.get(), {});
    ASSERT_TRUE(device) << device.error().message;
    fd.release();
    EXPECT_FALSE(device->queues[0].vnet_header);
    EXPECT_FALSE(device->tso.on);
    EXPECT_EQ(device->tso.reason, "the descriptor was made without IFF_VNET_HDR");
    EXPECT_FALSE(device->uso.on);
}

TEST_F(Tun, AdoptsNothingElse) {
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const Fd tap = foreign_tun("tap0", IFF_TAP | IFF_NO_PI);
    for (const int fd : {null.get(), tap.get()}) {
        EXPECT_FALSE(adopt_tun(fd, {}));
        EXPECT_NE(::fcntl(fd, F_GETFD), -1);  // still ours
    }
}

}  // namespace
}  // namespace vern
