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
                        if (held) response.later = later;
                        return response;
                    },
                .body_bytes_max = 0};
    bool push(Role role) {
        Job job{.route = &route, .request = {}, .answer = [this](const Response& response) {
                    ++answered;
                    statuses.push_back(response.status);
                }};
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
    std::function<Response()> later = [] { return Response{.status = 201, .body = {}}; };
    std::vector<unsigned> statuses;
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
    EXPECT_EQ(statuses, (std::vector<unsigned>{200, 201, 201}));
    queue->release();
    EXPECT_EQ(answered, 3u);
}

TEST_F(JobQueueTest, AnAnswerThatCannotBeMadeIsAnErrorsAndTheNextIsSent) {
    held = true;
    later = []() -> Response { throw std::bad_alloc(); };
    ASSERT_TRUE(push(Role::peer));
    queue->run(kMost);
    later = [] { return Response{.status = 201, .body = {}}; };
    ASSERT_TRUE(push(Role::peer));
    queue->run(kMost);
    queue->release();
    EXPECT_EQ(statuses, (std::vector<unsigned>{500, 201}));
}

}  // namespace
}  // namespace vern::api
