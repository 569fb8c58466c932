#include "control/api/job_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

namespace vern::api {
namespace {

class JobQueueTest : public testing::Test {
  protected:
    static constexpr std::size_t kMost = 16;

    Route route{.method = Method::get,
                .pattern = "/",
                .segments = {},
                .role = Role::read,
                .handler =
                    [this](const Request&) {
                        std::this_thread::sleep_for(takes);
                        Response response;
                        response.held = held;
                        return response;
                    },
                .body_bytes_max = 0};
    bool push(Role role) {
        Job job{.route = &route, .request = {}, .answer = [this](const Response&) { ++answered; }};
        job.request.caller.role = role;
        return queue->push(job);
    }
    bool readable() const {
        pollfd waiting{.fd = queue->fd(), .events = POLLIN, .revents = 0};
        return ::poll(&waiting, 1, 0) == 1;
    }

    std::unique_ptr<JobQueue> queue = std::move(JobQueue::make(kMost)).value();
    std::chrono::milliseconds takes{0};
    bool held = false;
    unsigned answered = 0;
};

TEST_F(JobQueueTest, ReadersLeavePlacesToWriters) {
    for (unsigned i = 0; i < 12; ++i) EXPECT_TRUE(push(Role::read));
    EXPECT_FALSE(push(Role::read));
    for (unsigned i = 0; i < 4; ++i) EXPECT_TRUE(push(Role::write));
    EXPECT_FALSE(push(Role::write));
    queue->run(kMost);
    for (unsigned i = 0; i < kMost; ++i) EXPECT_TRUE(push(Role::peer));
    EXPECT_FALSE(push(Role::peer));
}

TEST_F(JobQueueTest, ATurnIsShortAndNothingIsLost) {
    takes = std::chrono::milliseconds(30);
    for (unsigned i = 0; i < 3; ++i) ASSERT_TRUE(push(Role::write));
    for (unsigned turn = 1; turn <= 3; ++turn) {
        EXPECT_TRUE(readable());
        queue->run(kMost);
        EXPECT_EQ(answered, turn);
    }
    EXPECT_FALSE(readable());
}

TEST_F(JobQueueTest, AnAnswerThatIsHeldWaitsForItsRelease) {
    held = true;
    ASSERT_TRUE(push(Role::peer));
    ASSERT_TRUE(push(Role::peer));
    queue->run(kMost);
    EXPECT_EQ(answered, 0u);
    held = false;
    ASSERT_TRUE(push(Role::peer));  // others do not wait with them
    queue->run(kMost);
    EXPECT_EQ(answered, 1u);
    queue->release();
    EXPECT_EQ(answered, 3u);
    queue->release();
    EXPECT_EQ(answered, 3u);
}

}  // namespace
}  // namespace vern::api
