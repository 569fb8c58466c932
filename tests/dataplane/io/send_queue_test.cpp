// The send queue against a kernel that refuses in every way: sendmmsg() is the test's own here, for the
// faults that this machine's kernel does not have.
#include "dataplane/io/send_queue.h"

#include <gtest/gtest.h>
#include <netinet/udp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <vector>

#include "network.h"

namespace {

// One datagram or train as the kernel would see it.
struct Seen {
    std::vector<std::byte> bytes;
    std::size_t segment_bytes = 0;  // 0: without UDP_SEGMENT
    bool with_source = false;
};

// Answers 0 to take a message, or an errno. Empty: the system's sendmmsg().
std::function<int(const Seen&)> fake_kernel;

Seen look_at(msghdr& message) {
    Seen seen;
    const auto* data = static_cast<const std::byte*>(message.msg_iov->iov_base);
    seen.bytes.assign(data, data + message.msg_iov->iov_len);
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
        if (at->cmsg_level == SOL_UDP && at->cmsg_type == UDP_SEGMENT) {
            std::uint16_t size = 0;
            std::memcpy(&size, CMSG_DATA(at), sizeof size);
            seen.segment_bytes = size;
        }
        seen.with_source |= at->cmsg_type == IP_PKTINFO;
    }
    return seen;
}

}  // namespace

// Takes the place of libc's in this program.
extern "C" int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
    if (!fake_kernel) return static_cast<int>(::syscall(SYS_sendmmsg, fd, messages, count, flags));
    for (unsigned i = 0; i < count; ++i) {
        const int code = fake_kernel(look_at(messages[i].msg_hdr));
        if (code == 0) continue;
        errno = code;
        return i > 0 ? static_cast<int>(i) : -1;
    }
    return static_cast<int>(count);
}

namespace vern {
namespace {

class SendQueueFaults : public testing::Test {
  protected:
    SendQueueFaults() : pool_(std::move(*BufferPool::make())), queue_(pool_, counters_, gso_refused_) {
        fake_kernel = [this](const Seen& seen) { return answer(seen); };
        queue_.set_socket(0, true);
    }
    ~SendQueueFaults() override { fake_kernel = nullptr; }

    virtual int answer(const Seen& seen) {
        const int code = refuse_ ? refuse_(seen) : 0;
        if (code == 0) taken_.push_back(seen);
        return code;
    }

    // A train of `bytes` whose first byte is its number.
    void push(std::size_t bytes, std::size_t segment_bytes, bool with_source = false) {
        OutgoingTrain train;
        train.to = test::endpoint("192.0.2.1", 1);
        if (with_source) train.to.source = test::ip("192.0.2.2");
        train.data = pool_.take();
        ASSERT_NE(train.data, nullptr);
        const auto content = test::pattern(bytes, pushed_++);
        std::copy(content.begin(), content.end(), train.data);
        train.bytes = bytes;
        train.segment_bytes = segment_bytes;
        expected_.insert(expected_.end(), content.begin(), content.end());
        queue_.push(train);
    }

    std::vector<std::byte> taken_bytes() const {
        std::vector<std::byte> bytes;
        for (const auto& seen : taken_) bytes.insert(bytes.end(), seen.bytes.begin(), seen.bytes.end());
        return bytes;
    }
    std::size_t free_buffers() {
        std::vector<std::byte*> taken;
        while (std::byte* buffer = pool_.take()) taken.push_back(buffer);
        for (std::byte* buffer : taken) pool_.give_back(buffer);
        return taken.size();
    }

    Counters counters_;
    std::atomic<bool> gso_refused_{false};
    BufferPool pool_;
    SendQueue queue_;
    std::function<int(const Seen&)> refuse_;
    std::vector<Seen> taken_;
    std::vector<std::byte> expected_;
    unsigned pushed_ = 0;
};

TEST_F(SendQueueFaults, NoneMeansOneSendATrain) {
    push(10000, 1000);
    push(700, 700);
    queue_.submit();
    ASSERT_EQ(taken_.size(), 2U);
    EXPECT_EQ(taken_[0].segment_bytes, 1000U);
    EXPECT_EQ(taken_[1].segment_bytes, 0U);
    EXPECT_EQ(taken_bytes(), expected_);
    EXPECT_EQ(free_buffers(), BufferPool::kBuffers);
}

TEST_F(SendQueueFaults, EioEndsSegmentationForTheSocket) {
    refuse_ = [](const Seen& seen) { return seen.segment_bytes != 0 ? EIO : 0; };
    push(2500, 1000);
    push(2500, 1000);
    queue_.submit();
    EXPECT_TRUE(gso_refused_);
    EXPECT_EQ(taken_bytes(), expected_);
    ASSERT_EQ(taken_.size(), 6U);
    EXPECT_EQ(taken_[2].bytes.size(), 500U);
    // Not tried again, until there is another socket.
    refuse_ = nullptr;
    push(2000, 1000);
    queue_.submit();
    EXPECT_EQ(taken_.back().segment_bytes, 0U);
    queue_.set_socket(0, true);
    EXPECT_FALSE(gso_refused_);
    push(2000, 1000);
    queue_.submit();
    EXPECT_EQ(taken_.back().segment_bytes, 1000U);
}

TEST_F(SendQueueFaults, AnUnfitSegmentSizeConcernsItsTrainOnly) {
    for (const int code : {EINVAL, EMSGSIZE}) {
        taken_.clear();
        expected_.clear();
        refuse_ = [code](const Seen& seen) { return seen.segment_bytes > 1400 ? code : 0; };
        push(3000, 1500);
        push(3000, 1000);
        queue_.submit();
        EXPECT_FALSE(gso_refused_);
        EXPECT_EQ(taken_bytes(), expected_);
        ASSERT_EQ(taken_.size(), 3U);
        EXPECT_EQ(taken_[2].segment_bytes, 1000U);
    }
    EXPECT_EQ(counters_[Counter::send_failed], 0U);
}

TEST_F(SendQueueFaults, ARefusedSourceIsLeftOutAndReported) {
    refuse_ = [](const Seen& seen) { return seen.with_source ? EINVAL : 0; };
    push(3000, 1000, true);
    push(100, 100, true);
    queue_.submit();
    EXPECT_TRUE(queue_.take_source_refused());
    EXPECT_FALSE(queue_.take_source_refused());
    EXPECT_EQ(taken_bytes(), expected_);
    EXPECT_EQ(counters_[Counter::send_failed], 0U);
}

TEST_F(SendQueueFaults, ATrainThatIsRefusedForGoodIsCountedAndTheNextGoesOut) {
    refuse_ = [this](const Seen&) {
        return taken_.size() == 1 && counters_[Counter::send_failed] == 0 ? EPERM : 0;
    };
    push(100, 100);
    push(200, 200);
    push(300, 300);
    queue_.submit();
    EXPECT_EQ(counters_[Counter::send_failed], 1U);
    ASSERT_EQ(taken_.size(), 2U);
    EXPECT_EQ(taken_[1].bytes.size(), 300U);
    EXPECT_EQ(free_buffers(), BufferPool::kBuffers);
}

// Also in the middle of a train that had to go unsegmented.
TEST_F(SendQueueFaults, AFullSocketKeepsOrder) {
    std::size_t room = 4;
    refuse_ = [&](const Seen& seen) {
        if (seen.segment_bytes != 0) return EIO;
        if (room == 0) return EAGAIN;
        --room;
        return 0;
    };
    for (int i = 0; i < 6; ++i) push(2500, 1000);
    int rounds = 0;
    for (queue_.submit(); queue_.blocked(); queue_.submit()) {
        ASSERT_LT(++rounds, 10);
        room = 4;
    }
    EXPECT_EQ(queue_.size(), 0U);
    EXPECT_EQ(queue_.bytes(), 0U);
    EXPECT_EQ(taken_bytes(), expected_);
    EXPECT_EQ(taken_.size(), 18U);
}

TEST_F(SendQueueFaults, AnotherSocketTakesWhatWaited) {
    refuse_ = [](const Seen&) { return EAGAIN; };
    push(100, 100);
    queue_.submit();
    EXPECT_TRUE(queue_.blocked());
    refuse_ = nullptr;
    queue_.set_socket(1, true);
    EXPECT_FALSE(queue_.blocked());
    EXPECT_EQ(taken_bytes(), expected_);
    push(100, 100);
    queue_.set_socket(-1, true);
    EXPECT_EQ(counters_[Counter::send_failed], 1U);
    EXPECT_EQ(free_buffers(), BufferPool::kBuffers);
}

TEST_F(SendQueueFaults, TheLongestTrainGoesOutInSeveralBatches) {
    queue_.set_socket(0, false);
    push(kSendBytesMax, 500);
    queue_.submit();
    EXPECT_EQ(taken_bytes(), expected_);
    EXPECT_EQ(taken_.size(), (kSendBytesMax + 499) / 500);
}

}  // namespace
}  // namespace vern
