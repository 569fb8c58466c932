#include "control/text.h"

#include <gtest/gtest.h>
#include <net/if.h>

#include "control/log.h"
#include "control/secret_text.h"

namespace vern {
namespace {

std::string round_trip(std::string_view text) {
    const auto address = parse_address(text);
    return address ? to_text(*address) : "refused";
}

std::string prefix_of(std::string_view text) {
    const auto prefix = parse_prefix(text);
    return prefix ? to_text(*prefix) : "refused";
}

std::string endpoint_of(std::string_view text) {
    const auto endpoint = parse_endpoint(text);
    return endpoint ? to_text(*endpoint) : endpoint.error().message;
}

TEST(Text, Addresses) {
    EXPECT_EQ(round_trip("192.0.2.1"), "192.0.2.1");
    EXPECT_EQ(round_trip("0.0.0.0"), "0.0.0.0");
    EXPECT_EQ(round_trip("2001:DB8::1"), "2001:db8::1");
    EXPECT_EQ(round_trip("::"), "::");
    EXPECT_EQ(round_trip("::ffff:192.0.2.1"), "192.0.2.1");
    for (const char* text :
         {"", " 192.0.2.1", "192.0.2.1 ", "192.0.2", "192.0.2.256", "192.0.2.01", "0x7f.0.0.1", "1",
          "2001:db8:::1", "[::1]", "fe80::1%lo", "192.0.2.1/32", "::1\n", "12345::", "localhost",
          "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc"}) {
        EXPECT_EQ(round_trip(text), "refused") << text;
    }
    EXPECT_EQ(round_trip(std::string_view("1.2.3.4\0", 8)), "refused");
    EXPECT_EQ(to_text(IpAddress{}), "");
}

TEST(Text, PrefixesLoseTheirHostBits) {
    EXPECT_EQ(prefix_of("10.1.2.3/8"), "10.0.0.0/8");
    EXPECT_EQ(prefix_of("10.1.2.3/31"), "10.1.2.2/31");
    EXPECT_EQ(prefix_of("10.1.2.3"), "10.1.2.3/32");
    EXPECT_EQ(prefix_of("255.255.255.255/0"), "0.0.0.0/0");
    EXPECT_EQ(prefix_of("fd00:ffff::1/17"), "fd00:8000::/17");
    EXPECT_EQ(prefix_of("fd00::1"), "fd00::1/128");
    EXPECT_EQ(prefix_of("ffff::/0"), "::/0");
    for (const char* text :
         {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08",
          "10.0.0.0/8 ", "fd00::/129", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10.0.0.0/256", "10/8"}) {
        EXPECT_EQ(prefix_of(text), "refused") << text;
    }
}

TEST(Text, MappedPrefixesAreIPv4WhenTheyAreWithinIt) {
    EXPECT_EQ(prefix_of("::ffff:10.1.2.3/104"), "10.0.0.0/8");
    EXPECT_EQ(prefix_of("::ffff:10.1.2.3"), "10.1.2.3/32");
    EXPECT_EQ(prefix_of("::ffff:0.0.0.0/96"), "0.0.0.0/0");
    EXPECT_EQ(prefix_of("::ffff:0.0.0.0/90"), "::ffc0:0:0/90");
    EXPECT_EQ(prefix_of("::ffff:0.0.0.0/80"), "::/80");
}

TEST(Text, InterfaceAddressesKeepTheirHostBits) {
    EXPECT_EQ(to_text(parse_interface_address("10.1.2.3/8").value()), "10.1.2.3/8");
    EXPECT_EQ(to_text(parse_interface_address("fd00::1/64").value()), "fd00::1/64");
    EXPECT_FALSE(parse_interface_address("10.1.2.3/40"));
}

TEST(Text, Ports) {
    EXPECT_EQ(parse_port("0"), 0);
    EXPECT_EQ(parse_port("65535"), 65535);
    for (const char* text : {"", "65536", "-1", "+1", "1 ", " 1", "01", "0x1", "99999999999999999999"}) {
        EXPECT_FALSE(parse_port(text)) << text;
    }
}

TEST(Text, Endpoints) {
    EXPECT_EQ(endpoint_of("192.0.2.1:51820"), "192.0.2.1:51820");
    EXPECT_EQ(endpoint_of("[2001:db8::1]:1"), "[2001:db8::1]:1");
    EXPECT_EQ(endpoint_of("[::ffff:192.0.2.1]:51820"), "192.0.2.1:51820");
    EXPECT_EQ(endpoint_of("2001:db8::1:51820"), "an IPv6 address needs square brackets: [2001:db8::1]:51820");
    EXPECT_EQ(endpoint_of("192.0.2.1"), "has no port (host:port or [IPv6 address]:port)");
    EXPECT_EQ(endpoint_of("[2001:db8::1]"), "has no port (host:port or [IPv6 address]:port)");
    EXPECT_EQ(endpoint_of("192.0.2.1:0"), "'0' is not a port (1 to 65535)");
    EXPECT_EQ(endpoint_of("192.0.2.1:65536"), "'65536' is not a port (1 to 65535)");
    EXPECT_EQ(endpoint_of("example.org:51820"), "'example.org' is not an IP address");
    EXPECT_EQ(endpoint_of("[192.0.2.1]:51820"), "square brackets belong around IPv6 addresses only");
    EXPECT_EQ(endpoint_of("[2001:db8::1:51820"), "has no ']' before the port");
    EXPECT_EQ(endpoint_of("[]:51820"), "has no host (host:port or [IPv6 address]:port)");
    EXPECT_EQ(endpoint_of("a b:1"), "'a b' is neither a host name nor an IP address");
    EXPECT_EQ(endpoint_of(std::string("a\nb:1")), "'a?b' is neither a host name nor an IP address");
}

TEST(Text, ZonesBelongToLinkLocalAddresses) {
    const auto endpoint = parse_endpoint("[fe80::1%lo]:51820");
    ASSERT_TRUE(endpoint);
    EXPECT_EQ(endpoint->scope_id, ::if_nametoindex("lo"));
    EXPECT_EQ(to_text(*endpoint), "[fe80::1%lo]:51820");
    EXPECT_EQ(endpoint_of("[fe80::1%1]:51820"), "[fe80::1%lo]:51820");
    EXPECT_EQ(endpoint_of("[2001:db8::1%lo]:1"),
              "a zone ('%') belongs to link-local addresses (fe80::/10) only");
    EXPECT_EQ(endpoint_of("[fe80::1%nosuch]:1"), "no network interface 'nosuch' on this host");
    EXPECT_EQ(endpoint_of("[fe80::1%]:1"), "no network interface '' on this host");
}

TEST(Text, ResolvesNamesOfThisHost) {
    const auto endpoint = resolve_endpoint("localhost:51820", 0);
    ASSERT_TRUE(endpoint) << endpoint.error().message;
    EXPECT_EQ(endpoint->port, 51820);
    EXPECT_EQ(to_text(*resolve_endpoint("192.0.2.1:7", 0)), "192.0.2.1:7");
    EXPECT_FALSE(resolve_endpoint("localhost", 0));
    const auto none = resolve_endpoint("[example]:51820", 0);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().message, "'example' is not an IP address");
}

TEST(Text, PrintableIsOneLine) {
    EXPECT_EQ(printable("a\nb\x7f\x1b"), "a?b??");
    EXPECT_EQ(printable("abcdef", 3), "abc...");
}

TEST(Text, SecretTextTakesTheSameForms) {
    SecretText text;
    append_text(text, *parse_prefix("10.0.0.0/8"));
    append_text(text, *parse_address("::1"));
    append_text(text, *parse_endpoint("192.0.2.1:1"));
    EXPECT_EQ(text, "10.0.0.0/8::1192.0.2.1:1");
}

TEST(Text, InterfaceNames) {
    for (const char* name : {"wg0", "a", "wg-home.1", "0123456789abcde", "a=b+c_"})
        EXPECT_TRUE(is_interface_name(name)) << name;
    for (const char* name :
         {"", ".", "..", "0123456789abcdef", "a/b", "a b", "wg0\n", "%s", "../x", "-x", "--help"}) {
        EXPECT_FALSE(is_interface_name(name)) << name;
    }
}

TEST(Log, OneLineHoweverLongAndWhateverIsInIt) {
    testing::internal::CaptureStderr();
    log_error("a\nb\x7f",
              "why\x1b[31m\xc2\x9b"
              "1m\xc3\x9f");
    log_error(std::string(10'000, 'x'), "lost");
    std::string text = testing::internal::GetCapturedStderr();
    EXPECT_EQ(text.substr(0, text.find('\n') + 1), "error: a b : why [31m  1m\xc3\x9f\n");
    text.erase(0, text.find('\n') + 1);
    EXPECT_EQ(text, "error: " + std::string(kLogLineBytesMax - 8, 'x') + "\n");
}

}  // namespace
}  // namespace vern
