#include "dataplane/core/allowed_ips.h"

#include <gtest/gtest.h>

#include <map>

#include "packets.h"

namespace vern {
namespace {

using test::v4;
using test::v6;

Peer* peer(std::uintptr_t n) { return reinterpret_cast<Peer*>(n * 64); }  // never followed

void mask(Prefix& prefix) {
    const std::size_t bits = prefix.address.family == Family::v4 ? 32 : 128;
    for (std::size_t bit = prefix.length; bit < bits; ++bit)
        prefix.address.bytes[bit / 8] &= ~(std::byte{0x80} >> (bit % 8));
}
bool covers(const Prefix& prefix, const IpAddress& address) {
    if (prefix.address.family != address.family) return false;
    for (std::size_t bit = 0; bit < prefix.length; ++bit) {
        const std::byte one = std::byte{0x80} >> (bit % 8);
        if ((prefix.address.bytes[bit / 8] & one) != (address.bytes[bit / 8] & one)) return false;
    }
    return true;
}

class Reference {
  public:
    void set(Prefix prefix, Peer* owner) {
        mask(prefix);
        table[prefix] = owner;
    }
    Peer* find(const IpAddress& address) const {
        const Prefix* best = nullptr;
        Peer* owner = nullptr;
        for (const auto& [prefix, p] : table) {
            if (covers(prefix, address) && (!best || prefix.length >= best->length)) {
                best = &prefix;
                owner = p;
            }
        }
        return owner;
    }
    // For large tables. The longest prefix that covers an address is the last that is not behind it in the
    // table, but for those that cover only its neighbours; what covers both is no longer than what they
    // share.
    Peer* find_in_order(const IpAddress& address) const {
        Prefix last{address, static_cast<std::uint8_t>(address.family == Family::v4 ? 32 : 128)};
        for (;;) {
            auto at = table.upper_bound(last);
            if (at == table.begin()) return nullptr;
            const auto& [prefix, owner] = *--at;
            if (covers(prefix, address)) return owner;
            while (!covers(last, prefix.address)) --last.length;
            mask(last);
        }
    }
    AllowedIps build() const {
        std::vector<AllowedIps::Entry> entries;
        for (const auto& [prefix, owner] : table) entries.push_back({prefix, owner});
        return AllowedIps(entries);
    }
    std::map<Prefix, Peer*> table;
};

Peer* look(const AllowedIps& ips, const IpAddress& address) {
    return ips.find(address.bytes.data(), address.family == Family::v6);
}

IpAddress random_address(std::mt19937_64& random, bool six, unsigned spread) {
    IpAddress address;
    address.family = six ? Family::v6 : Family::v4;
    for (std::size_t i = 0; i < (six ? 16U : 4U); ++i)
        address.bytes[i] = static_cast<std::byte>(random() % spread);
    return address;
}

TEST(AllowedIps, EmptyFindsNobody) {
    const AllowedIps ips;
    EXPECT_EQ(look(ips, v4(1, 2, 3, 4)), nullptr);
    EXPECT_EQ(look(ips, v6({1, 2, 3, 4, 5, 6, 7, 8})), nullptr);
}

TEST(AllowedIps, LongestPrefixWinsWhateverTheOrder) {
    Reference reference;
    reference.set({v4(0, 0, 0, 0), 0}, peer(1));
    reference.set({v4(10, 0, 0, 0), 8}, peer(2));
    reference.set({v4(10, 1, 0, 0), 16}, peer(3));
    reference.set({v4(10, 1, 2, 0), 24}, peer(4));
    reference.set({v4(10, 1, 2, 3), 32}, peer(5));
    reference.set({v4(10, 1, 2, 2), 31}, peer(6));
    const AllowedIps ips = reference.build();
    EXPECT_EQ(look(ips, v4(11, 0, 0, 0)), peer(1));
    EXPECT_EQ(look(ips, v4(255, 255, 255, 255)), peer(1));
    EXPECT_EQ(look(ips, v4(10, 255, 0, 0)), peer(2));
    EXPECT_EQ(look(ips, v4(10, 1, 255, 0)), peer(3));
    EXPECT_EQ(look(ips, v4(10, 1, 2, 4)), peer(4));
    EXPECT_EQ(look(ips, v4(10, 1, 2, 3)), peer(5));
    EXPECT_EQ(look(ips, v4(10, 1, 2, 2)), peer(6));
    EXPECT_EQ(look(ips, v6({0, 0, 0, 0, 0, 0, 0, 0})), nullptr);  // ::/0 is not 0.0.0.0/0
}

TEST(AllowedIps, EveryLengthOfOneAddress) {
    for (const bool six : {false, true}) {
        const unsigned bits = six ? 128 : 32;
        IpAddress ones;
        ones.family = six ? Family::v6 : Family::v4;
        for (unsigned i = 0; i < bits / 8; ++i) ones.bytes[i] = std::byte{0xff};
        Reference reference;
        for (unsigned length = 0; length <= bits; ++length)
            reference.set({ones, static_cast<std::uint8_t>(length)}, peer(length + 1));
        const AllowedIps ips = reference.build();
        for (unsigned equal = 0; equal <= bits; ++equal) {
            IpAddress address = ones;
            if (equal < bits) address.bytes[equal / 8] &= ~(std::byte{0x80} >> (equal % 8));
            EXPECT_EQ(look(ips, address), peer(equal + 1)) << equal;
        }
    }
}

TEST(AllowedIps, EachLengthAloneCoversExactlyItsRange) {
    for (const bool six : {false, true}) {
        std::mt19937_64 random(3);
        const unsigned bits = six ? 128 : 32;
        for (unsigned length = 0; length <= bits; ++length) {
            Reference reference;
            Prefix prefix{random_address(random, six, 256), static_cast<std::uint8_t>(length)};
            mask(prefix);
            reference.set(prefix, peer(1));
            const AllowedIps ips = reference.build();
            IpAddress last = prefix.address;
            for (unsigned bit = length; bit < bits; ++bit)
                last.bytes[bit / 8] |= std::byte{0x80} >> (bit % 8);
            EXPECT_EQ(look(ips, prefix.address), peer(1)) << length;
            EXPECT_EQ(look(ips, last), peer(1)) << length;
            for (unsigned bit = 0; bit < length; ++bit) {
                IpAddress outside = prefix.address;
                outside.bytes[bit / 8] ^= std::byte{0x80} >> (bit % 8);
                ASSERT_EQ(look(ips, outside), nullptr) << length << " " << bit;
            }
        }
    }
}

TEST(AllowedIps, RandomTablesAgreeWithALinearSearch) {
    for (unsigned seed = 0; seed < 60; ++seed) {
        std::mt19937_64 random(seed);
        Reference reference;
        const bool six = seed % 2 == 1;
        const unsigned spread = seed % 3 == 0 ? 256 : 4;  // 4: much nesting
        const std::size_t n = 1 + random() % 300;
        for (std::size_t i = 0; i < n; ++i)
            reference.set(
                {random_address(random, six, spread), static_cast<std::uint8_t>(random() % (six ? 129 : 33))},
                peer(1 + random() % 20));
        const AllowedIps ips = reference.build();
        for (int i = 0; i < 500; ++i) {
            const IpAddress address = random_address(random, six, spread);
            ASSERT_EQ(look(ips, address), reference.find(address)) << "seed " << seed;
        }
        for (const auto& [prefix, owner] : reference.table) {
            ASSERT_EQ(look(ips, prefix.address), reference.find(prefix.address)) << "seed " << seed;
            IpAddress near = prefix.address;  // leaves the way to this prefix somewhere
            const std::size_t bit = random() % (six ? 128 : 32);
            near.bytes[bit / 8] ^= std::byte{0x80} >> (bit % 8);
            ASSERT_EQ(look(ips, near), reference.find(near)) << "seed " << seed << " bit " << bit;
        }
    }
}

TEST(AllowedIps, MovesAndRemovalsAgreeToo) {
    std::mt19937_64 random(99);
    Reference reference;
    for (int step = 0; step < 300; ++step) {
        const bool six = random() % 2;
        Prefix prefix{random_address(random, six, 3), static_cast<std::uint8_t>(random() % (six ? 129 : 33))};
        mask(prefix);
        if (random() % 3 == 0) {
            reference.table.erase(prefix);
        } else {
            reference.set(prefix, peer(1 + random() % 5));  // new, or moved
        }
        const AllowedIps ips = reference.build();
        for (int i = 0; i < 20; ++i) {
            const IpAddress address = random_address(random, random() % 2, 3);
            ASSERT_EQ(look(ips, address), reference.find(address)) << step;
        }
    }
}

TEST(AllowedIps, HundredThousandPrefixes) {
    for (const bool six : {false, true}) {
        std::mt19937_64 random(5);
        Reference reference;
        while (reference.table.size() < 100'000)
            reference.set({random_address(random, six, 256),
                           static_cast<std::uint8_t>(six ? 32 + random() % 97 : 12 + random() % 21)},
                          peer(1 + random() % 1000));
        const AllowedIps ips = reference.build();
        for (const auto& [prefix, owner] : reference.table)
            ASSERT_EQ(look(ips, prefix.address), reference.find_in_order(prefix.address));
        for (int i = 0; i < 50'000; ++i) {
            const IpAddress address = random_address(random, six, 256);
            ASSERT_EQ(look(ips, address), reference.find_in_order(address));
        }
        EXPECT_LT(ips.memory_bytes(), std::size_t{12} << 20);
    }
}

TEST(AllowedIps, SourceAndDestinationOfPackets) {
    Reference reference;
    reference.set({v4(10, 0, 0, 1), 32}, peer(1));
    reference.set({v4(10, 0, 0, 2), 32}, peer(2));
    reference.set({v6({0xfd00, 0, 0, 0, 0, 0, 0, 0}), 64}, peer(3));
    const AllowedIps ips = reference.build();
    auto four = test::udp_packet(v4(10, 0, 0, 1), v4(10, 0, 0, 2), 10);
    EXPECT_EQ(ips.find_source(*InnerPacket::parse(four)), peer(1));
    EXPECT_EQ(ips.find_destination(*InnerPacket::parse(four)), peer(2));
    auto six = test::udp_packet(v6({0xfd00, 0, 0, 0, 0, 0, 0, 9}), v6({0xfd01, 0, 0, 0, 0, 0, 0, 9}), 10);
    EXPECT_EQ(ips.find_source(*InnerPacket::parse(six)), peer(3));
    EXPECT_EQ(ips.find_destination(*InnerPacket::parse(six)), nullptr);
}

}  // namespace
}  // namespace vern
