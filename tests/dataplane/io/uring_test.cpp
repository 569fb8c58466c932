#include "dataplane/io/uring.h"

#include <gtest/gtest.h>

#include "network.h"

namespace vern {
namespace {

TEST(Uring, SaysWhyItIsNotToBeHad) {
    EXPECT_TRUE(test::passes_in_child_without(test::Denied::io_uring_setup, EPERM, [] {
        const auto works = probe_uring();
        return !works && works.error().code == EPERM &&
               works.error().message.find("forbidden") != std::string::npos;
    }));
    EXPECT_TRUE(test::passes_in_child_without(test::Denied::io_uring_setup, ENOSYS, [] {
        const auto works = probe_uring();
        return !works && works.error().message.find("no io_uring") != std::string::npos;
    }));
    EXPECT_TRUE(test::passes_in_child_without(test::Denied::io_uring_setup, ENOMEM, [] {
        const auto works = probe_uring();
        return !works && works.error().message.find("LimitMEMLOCK") != std::string::npos;
    }));
}

}  // namespace
}  // namespace vern
