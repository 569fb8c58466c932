// Every timer of the paper, to the nanosecond, on a clock driven by hand.
#include "two_devices.h"

namespace vern {
namespace {

using namespace test;

struct Timers : TwoDevices {
    // Lets time pass on one host only, deadline by deadline; what it sends, with the time since the call.
    std::vector<std::pair<Duration, Datagram>> alone(Host& host, Duration total) {
        std::vector<std::pair<Duration, Datagram>> out;
        const Instant begin = host.now, end = begin + total;
        host.service();
        for (Datagram& datagram : host.take_sent()) out.emplace_back(Duration{}, std::move(datagram));
        for (int step = 0; step < 10000 && host.now < end; ++step) {
            const auto at = host.device.next_deadline();
            const Instant next = at ? std::min(end, std::max(*at, host.now)) : end;
            host.wall += next - host.now;
            host.now = next;
            host.service();
            for (Datagram& datagram : host.take_sent()) out.emplace_back(next - begin, std::move(datagram));
        }
        return out;
    }
    void persistent(Host& host, const Host& other, std::uint16_t interval) {
        PeerChange change;
        change.public_key = other.public_key;
        change.persistent_keepalive_s = interval;
        host.change(std::move(change));
    }
    void at_age(Duration age) { net.run(session(a, b)->born + age - a.now); }
};

TEST_F(Timers, NothingToDoMeansNoDeadline) {
    EXPECT_EQ(a.device.next_deadline(), std::nullopt);
    EXPECT_TRUE(alone(a, seconds(1000)).empty());
}

TEST_F(Timers, InitiationsAreRetriedWithJitterAndGivenUpAfterNinetySeconds) {
    a.send_to(b);
    const auto sent = alone(a, seconds(200));
    ASSERT_GE(sent.size(), 17U);
    ASSERT_LE(sent.size(), 19U);
    bool jitter = false;
    for (std::size_t i = 0; i < sent.size(); ++i) {
        EXPECT_EQ(sent[i].second.type(), 1U);
        if (i == 0) continue;
        const Duration gap = sent[i].first - sent[i - 1].first;
        EXPECT_GE(gap, kRekeyTimeout);
        EXPECT_LE(gap, kRekeyTimeout + kRekeyTimeoutJitterMax);
        jitter |= gap != sent[1].first;
    }
    EXPECT_TRUE(jitter);
    EXPECT_LT(sent.back().first, kRekeyAttemptTime);
    EXPECT_GT(sent.back().first, kRekeyAttemptTime - kRekeyTimeout - kRekeyTimeoutJitterMax);
    EXPECT_EQ(a.count(Counter::staged_given_up), 1U);
    EXPECT_FALSE(a.peer(b).handshake_running);
    EXPECT_TRUE(a.peer(b).initiator.ephemeral.is_zero());
    EXPECT_EQ(a.device.next_deadline(), std::nullopt);
    // The next packet begins again.
    a.send_to(b);
    a.service();
    EXPECT_EQ(only(a).type(), 1U);
}

// Traffic must not take the jitter away: two hosts would initiate in step for ever.
TEST_F(Timers, RetriesHaveTheirJitterUnderTrafficToo) {
    std::vector<Instant> sent;
    for (int i = 0; i < 8000; ++i) {
        a.send_to(b);
        a.service();
        for (const Datagram& datagram : a.take_sent()) {
            EXPECT_EQ(datagram.type(), 1U);
            sent.push_back(a.now);
        }
        a.now += milliseconds(5);
        a.wall += milliseconds(5);
    }
    ASSERT_GE(sent.size(), 6U);
    bool late = false;
    for (std::size_t i = 1; i < sent.size(); ++i) {
        EXPECT_GE(sent[i] - sent[i - 1], kRekeyTimeout);
        late |= sent[i] - sent[i - 1] > kRekeyTimeout + milliseconds(10);
    }
    EXPECT_TRUE(late);
}

TEST_F(Timers, NewDataBeginsTheAttemptTimeAnew) {
    std::size_t sent = 0;
    a.send_to(b);
    for (int i = 0; i < 30; ++i) {
        sent += alone(a, seconds(10)).size();
        a.send_to(b);
    }
    EXPECT_GE(sent, 56U);  // three hundred seconds of it
    EXPECT_EQ(a.count(Counter::staged_given_up), 0U);
}

TEST_F(Timers, TheInitiatorRekeysAtTwoMinutesWhenItSends) {
    connect();
    at_age(kRekeyAfterTime - nanoseconds(1));
    a.send_to(b);
    a.service();
    EXPECT_EQ(count_type(a.take_sent(), 1), 0U);
    a.now += nanoseconds(1);
    a.send_to(b);
    a.service();
    const auto sent = a.take_sent();
    EXPECT_EQ(count_type(sent, 1), 1U);
    EXPECT_EQ(count_type(sent, 4), 1U);  // the session goes on meanwhile
}

TEST_F(Timers, TheResponderDoesNotRekeyByTime) {
    connect();
    at_age(kRejectAfterTime - seconds(1));
    b.send_to(a);
    b.service();
    EXPECT_EQ(count_type(b.take_sent(), 1), 0U);
    net.advance(seconds(1));
    b.send_to(a);
    b.service();
    EXPECT_EQ(only(b).type(), 1U);  // now there is none to send with
}

TEST_F(Timers, BothRekeyByMessages) {
    connect();
    for (auto* hosts : {&a, &b}) {
        Host& self = *hosts;
        Host& other = hosts == &a ? b : a;
        net.advance(seconds(6));
        session(self, other)->next_counter = kRekeyAfterMessages - 2;
        self.send_to(other);
        self.service();
        EXPECT_EQ(count_type(self.take_sent(), 1), 0U);
        self.send_to(other);
        self.service();
        EXPECT_EQ(count_type(self.take_sent(), 1), 1U);
    }
}

TEST_F(Timers, TheInitiatorRekeysInTheLastMinuteWhenItOnlyReceives) {
    connect();
    const Duration late = kRejectAfterTime - kKeepaliveTimeout - kRekeyTimeout;
    at_age(late - nanoseconds(1));
    b.send_to(a);
    a.receive(only(b).bytes, b.endpoint);
    a.service();
    EXPECT_EQ(count_type(a.take_sent(), 1), 0U);
    net.advance(nanoseconds(1));
    b.send_to(a);
    a.receive(only(b).bytes, b.endpoint);
    a.service();
    EXPECT_EQ(count_type(a.take_sent(), 1), 1U);
}

// What was on its way under the old keys while the last-minute handshake ran must not use up the next
// session's turn.
TEST_F(Timers, AStragglerOfTheOldSessionDoesNotDisableTheNextLastMinuteRekey) {
    connect();
    at_age(kRejectAfterTime - kKeepaliveTimeout - kRekeyTimeout);
    b.send_to(a);
    const Datagram first = only(b);
    b.send_to(a);
    const Datagram straggler = only(b);
    a.receive(first.bytes, b.endpoint);
    net.settle();
    ASSERT_EQ(session(a, b)->born, a.now);
    a.receive(straggler.bytes, b.endpoint);
    net.settle();
    EXPECT_EQ(a.take_written().size(), 2U);
    net.log.clear();
    at_age(kRejectAfterTime - kKeepaliveTimeout - kRekeyTimeout);
    b.send_to(a);
    net.settle();
    EXPECT_EQ(count_type(net.log, 1), 1U);
    EXPECT_EQ(session(a, b)->born, a.now);
}

TEST_F(Timers, SessionsEndAndAreWipedAtThreeMinutes) {
    connect();
    a.send_to(b);
    const Datagram message = only(a);
    const Instant born = session(b, a)->born;
    b.now = born + kRejectAfterTime - nanoseconds(1);
    b.receive(message.bytes, a.endpoint);
    EXPECT_EQ(b.take_written().size(), 1U);
    b.service();
    EXPECT_NE(session(b, a), nullptr);
    b.take_sent();
    a.send_to(b);
    const Datagram late = only(a);
    b.now += nanoseconds(1);
    b.receive(late.bytes, a.endpoint);
    EXPECT_TRUE(b.take_written().empty());
    EXPECT_EQ(b.count(Counter::session_expired), 1U);
    EXPECT_LE(*b.device.next_deadline(), b.now);
    b.service();
    EXPECT_EQ(session(b, a), nullptr);  // gone, and by service()'s dispose wiped
    b.receive(late.bytes, a.endpoint);
    EXPECT_EQ(b.count(Counter::unknown_index), 1U);
}

TEST_F(Timers, PassiveKeepaliveTenSecondsAfterTheFirstUnansweredData) {
    connect();
    alone(b, seconds(30));  // what the handshake itself left is done
    a.now = b.now;
    a.send_to(b);
    const Datagram one = only(a);
    a.send_to(b);
    const Datagram two = only(a);
    b.receive(one.bytes, a.endpoint);
    b.now += seconds(7);
    b.receive(two.bytes, a.endpoint);
    const auto sent = alone(b, seconds(60));
    ASSERT_EQ(sent.size(), 1U);  // once
    EXPECT_TRUE(sent[0].second.is_keepalive());
    EXPECT_EQ(sent[0].first, seconds(3));  // timed from the first
    EXPECT_EQ(sent[0].second.tos, 0);
}

TEST_F(Timers, NoKeepaliveInAnswerToAKeepalive) {
    connect();
    net.run(seconds(30));
    persistent(a, b, 25);
    a.service();
    const Datagram keepalive = only(a);
    ASSERT_TRUE(keepalive.is_keepalive());
    b.receive(keepalive.bytes, a.endpoint);
    EXPECT_TRUE(alone(b, seconds(60)).empty());
}

TEST_F(Timers, AnAnswerTakesThePlaceOfTheKeepalive) {
    connect();
    alone(b, seconds(30));
    a.now = b.now;
    a.send_to(b);
    b.receive(only(a).bytes, a.endpoint);
    b.now += seconds(9);
    b.send_to(a);
    b.take_sent();
    for (const auto& [at, datagram] : alone(b, seconds(14))) EXPECT_FALSE(datagram.is_keepalive());
}

TEST_F(Timers, StaleAfterFifteenSecondsPlusJitter) {
    connect();
    net.run(seconds(30));
    for (int i = 0; i < 5; ++i) {
        a.send_to(b);
        const Datagram data = only(a);
        a.now += seconds(1);
        a.send_to(b);  // does not start it again
        a.take_sent();
        const auto sent = alone(a, seconds(16));
        ASSERT_EQ(sent.size(), 1U);
        EXPECT_EQ(sent[0].second.type(), 1U);
        EXPECT_GE(sent[0].first, seconds(14));
        EXPECT_LE(sent[0].first, seconds(14) + kRekeyTimeoutJitterMax);
        EXPECT_NE(sent[0].first, seconds(14));
        // Its answer, and a pause.
        b.now = a.now;
        b.receive(sent[0].second.bytes, a.endpoint);
        net.settle();
        net.run(seconds(40));
    }
}

TEST_F(Timers, HearingAnythingIsNotStale) {
    connect();
    net.run(seconds(30));
    a.send_to(b);
    a.take_sent();
    net.advance(seconds(14));
    b.send_to(a);
    a.receive(only(b).bytes, b.endpoint);
    for (const auto& [at, datagram] : alone(a, seconds(60))) EXPECT_NE(datagram.type(), 1U);
}

TEST_F(Timers, PersistentKeepaliveAtOnceThenEveryIntervalOfSilence) {
    connect();
    net.run(seconds(30));
    persistent(a, b, 25);
    EXPECT_EQ(*a.device.next_deadline(), a.now);
    const auto sent = alone(a, seconds(80));
    ASSERT_EQ(sent.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(sent[i].second.is_keepalive());
        EXPECT_EQ(sent[i].first, seconds(25) * i);
    }
    // Hearing from the peer breaks the silence as well: 80, so the next is due at 105.
    b.now = a.now;
    persistent(b, a, 25);
    b.service();
    a.receive(first_of(b.take_sent(), 4).bytes, b.endpoint);
    const auto next = alone(a, seconds(25));
    ASSERT_GE(next.size(), 1U);
    EXPECT_TRUE(next[0].second.is_keepalive());
    EXPECT_EQ(next[0].first, seconds(25));
}

TEST_F(Timers, PersistentKeepaliveBeginsASession) {
    persistent(a, b, 25);
    net.settle();
    EXPECT_NE(session(b, a), nullptr);
    net.run(seconds(600));
    EXPECT_NE(session(b, a), nullptr);
    persistent(a, b, 0);
    net.run(seconds(200));
    EXPECT_EQ(session(a, b), nullptr);
    net.log.clear();
    net.run(seconds(200));
    EXPECT_TRUE(net.log.empty());
}

TEST_F(Timers, TheClockGoingBackCountsAsStandingStill) {
    connect();
    const Instant then = a.now;
    a.now -= seconds(500);
    a.wall -= seconds(500);
    a.send_to(b);
    a.service();
    EXPECT_EQ(count_type(a.take_sent(), 4), 1U);
    b.now -= seconds(500);
    b.send_to(a);
    b.service();
    a.receive(first_of(b.take_sent(), 4).bytes, b.endpoint);
    EXPECT_EQ(a.take_written().size(), 1U);
    a.service();
    a.now = then + seconds(1);
    a.send_to(b);
    EXPECT_EQ(only(a).type(), 4U);
}

// A session made while the clock was behind must not look old when the clock is right again.
TEST_F(Timers, ASessionMadeWhileTheClockWasBackLivesOn) {
    connect();
    net.advance(seconds(1));
    a.service();
    const Instant then = a.now;
    a.now -= seconds(500);
    a.device.set_running(false, a.now);
    a.device.set_running(true, a.now);
    a.send_to(b);
    net.settle();
    EXPECT_EQ(b.take_written().size(), 1U);
    ASSERT_NE(session(a, b), nullptr);
    a.now = then + seconds(1);
    a.send_to(b);
    EXPECT_TRUE(only(a).is_data());
}

TEST_F(Timers, SuspendEndsSessionsAndTrafficGoesOn) {
    connect();
    net.run(seconds(30));
    net.log.clear();
    net.advance(seconds(86400));
    a.send_to(b, 100, 5);
    net.settle();
    EXPECT_EQ(b.take_written().size(), 1U);
    EXPECT_EQ(count_type(net.log, 1), 1U);
    EXPECT_EQ(session(a, b)->born, a.now);
    net.advance(seconds(86400));
    b.send_to(a, 100, 6);
    net.settle();
    EXPECT_EQ(a.take_written().size(), 1U);
}

TEST_F(Timers, AnHourOfTrafficRenewsSessionsWithoutLoss) {
    connect();
    for (int i = 0; i < 1200; ++i) {
        a.send_to(b, 100, static_cast<unsigned>(i));
        b.send_to(a, 100, static_cast<unsigned>(i));
        net.settle();
        ASSERT_EQ(b.take_written().size(), 1U) << i;
        ASSERT_EQ(a.take_written().size(), 1U) << i;
        net.run(seconds(3));
    }
    EXPECT_GE(count_type(net.log, 1), 28U);
    EXPECT_LE(count_type(net.log, 1), 30U);
}

// A handshake that was overtaken by the peer's own leaves no key behind.
TEST_F(Timers, AnOvertakenHandshakeIsWiped) {
    a.send_to(b);
    a.service();
    a.take_sent();  // lost
    net.advance(seconds(1));
    b.send_to(a);
    net.settle();
    ASSERT_NE(session(a, b), nullptr);
    ASSERT_TRUE(a.peer(b).handshake_running);
    net.run(kRekeyAttemptTime + seconds(1));
    EXPECT_FALSE(a.peer(b).handshake_running);
    EXPECT_TRUE(a.peer(b).initiator.ephemeral.is_zero());
}

TEST_F(Timers, AConfirmationIsNotLostWhenTheQueueIsFull) {
    a.send_to(b);
    a.service();
    b.receive(only(a).bytes, a.endpoint);
    b.service();
    a.receive(only(b).bytes, b.endpoint);
    a.service();
    while (b.device.queues(0).attention.push(999'999)) {
    }
    b.receive(only(a).bytes, a.endpoint);
    EXPECT_EQ(b.take_written().size(), 1U);
    alone(b, seconds(11));
    EXPECT_NE(session(b, a), nullptr);
    EXPECT_TRUE(b.device.status().peers[0].latest_handshake);
}

}  // namespace
}  // namespace vern
