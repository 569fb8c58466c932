#include "control/api/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <cstring>
#include <deque>
#include <limits>
#include <vector>

#include "control/api/parameters.h"
#include "control/api/target.h"
#include "control/text.h"

namespace vern::api {
namespace {

namespace http = boost::beast::http;
namespace net = boost::asio;
using Failure = boost::system::error_code;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

std::optional<Method> method_of(http::verb verb) {
    switch (verb) {
        case http::verb::get: return Method::get;
        case http::verb::put: return Method::put;
        case http::verb::post: return Method::post;
        case http::verb::delete_: return Method::remove;
        default: return std::nullopt;
    }
}

// Of what is written here only the response's own headers may come from outside.
std::string head_of(const Response& response, bool keep, std::string_view more) {
    std::string headers;
    for (const auto& [name, value] : response.headers) {
        headers += fmt::format("{}: {}\r\n", name, value);
        std::replace_if(
            headers.end() - static_cast<std::ptrdiff_t>(value.size() + 2), headers.end() - 2,
            [](char c) { return c < 0x20 || c > 0x7e; }, '?');
    }
    return fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}{}{}\r\n",
        response.status, view(http::obsolete_reason(static_cast<http::status>(response.status))),
        response.content_type, response.body.size(), keep ? "" : "Connection: close\r\n", headers, more);
}

// Bytes of a budget that all sessions share.
class Share {
  public:
    Share() = default;
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    ~Share() { give_back(); }
    bool take(std::size_t& budget_used, std::size_t bytes, std::size_t max) {
        give_back();
        if (bytes > max - std::min(max, budget_used)) return false;
        used_ = &budget_used;
        bytes_ = bytes;
        budget_used += bytes;
        return true;
    }
    void give_back() {
        if (used_) *used_ -= bytes_;
        used_ = nullptr;
    }

  private:
    std::size_t* used_ = nullptr;
    std::size_t bytes_ = 0;
};

class HttpSession final : public Session, public std::enable_shared_from_this<HttpSession> {
  public:
    HttpSession(Common& common, std::unique_ptr<Stream> stream, Place place, Admit admit)
        : common_(common),
          stream_(std::move(stream)),
          place_(std::move(place)),
          admit_(std::move(admit)),
          deadline_(common.io),
          input_(common.limits.header_bytes_max) {}

    void start() override;
    void answer(Response response) override;
    void tell(const std::shared_ptr<const std::string>& event) override;

  private:
    enum class Phase { handshake, idle, request, waiting, working, answering, events, lingering, closed };

    void within(std::chrono::milliseconds time);
    void expired();
    void read(net::mutable_buffer into, void (HttpSession::*then)(std::size_t));
    void write(std::string_view first, std::string_view then, void (HttpSession::*after)());
    void introduced();
    void next_request();
    void read_header();
    void header_bytes(std::size_t bytes);
    void parse_header();
    void wait_for_turn();
    void judge();
    std::optional<Response> refusal();
    void read_body();
    void body_bytes(std::size_t bytes);
    void hand_over();
    void send(Response response);
    void answered();
    void linger();
    void drain();
    void drained(std::size_t bytes);
    void begin_events();
    void next_event();
    void event_written();
    void close();

    Common& common_;
    std::unique_ptr<Stream> stream_;
    Place place_;
    Admit admit_;
    net::steady_timer deadline_;
    Phase phase_ = Phase::handshake;

    // The request that is being read
    std::vector<char> input_;  // of it and of those behind it: the first `have_` bytes
    std::size_t have_ = 0;
    std::size_t header_read_ = 0;
    std::optional<http::request_parser<http::empty_body>> parser_;
    const Route* route_ = nullptr;
    Request request_;
    std::size_t body_have_ = 0;
    Share body_share_;
    std::optional<Response>
        no_request_;       // what is to be said to what is not one; the connection ends with it
    std::string allowed_;  // of the refusal
    bool keep_ = false;
    bool head_only_ = false;

    // The answer, or the event that is being sent
    std::string head_, body_;
    Share answer_share_;
    std::deque<std::shared_ptr<const std::string>> events_;
    std::size_t events_bytes_ = 0;
    bool writing_event_ = false;
    std::size_t drained_ = 0;
};

// One deadline at a time: each phase has its own.
void HttpSession::within(std::chrono::milliseconds time) {
    deadline_.expires_after(time);
    deadline_.async_wait([self = shared_from_this()](const Failure& error) {
        // It may have been moved after it had passed.
        if (!error && self->deadline_.expiry() <= std::chrono::steady_clock::now()) self->expired();
    });
}

void HttpSession::expired() {
    if (phase_ == Phase::events && !writing_event_) return tell(std::make_shared<const std::string>(":\n\n"));
    if (phase_ == Phase::events)
        common_.statistics.add(&Counts::event_clients_cut);
    else if (phase_ != Phase::idle && phase_ != Phase::lingering)
        common_.statistics.add(&Counts::timeouts);
    close();
}

void HttpSession::read(net::mutable_buffer into, void (HttpSession::*then)(std::size_t)) {
    stream_->read_some(into, [self = shared_from_this(), then](const Failure& error, std::size_t bytes) {
        if (self->phase_ == Phase::closed) return;
        if (error) return self->close();
        (self.get()->*then)(bytes);
    });
}

void HttpSession::write(std::string_view first, std::string_view then, void (HttpSession::*after)()) {
    stream_->write(first, then, [self = shared_from_this(), after](const Failure& error, std::size_t) {
        if (self->phase_ == Phase::closed) return;
        if (error) return self->close();
        (self.get()->*after)();
    });
}

void HttpSession::start() {
    within(common_.limits.handshake);
    stream_->handshake([self = shared_from_this()](const Failure& error, std::size_t) {
        if (self->phase_ == Phase::closed) return;
        if (!error) return self->introduced();
        self->common_.statistics.add(&Counts::handshakes_failed);
        self->close();
    });
}

void HttpSession::introduced() {
    if (admit_) {
        const auto caller = stream_->caller();
        if (!caller || caller->role == Role::none) {
            common_.statistics.add(&Counts::handshakes_failed);
            return close();
        }
        place_ = admit_(*caller);
        admit_ = {};
        if (!place_) return close();
    }
    next_request();
}

void HttpSession::next_request() {
    phase_ = Phase::idle;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(common_.limits.header_bytes_max));
    parser_->body_limit(std::numeric_limits<std::uint64_t>::max());  // judge() says how much
    header_read_ = 0;
    route_ = nullptr;
    request_ = {};
    allowed_.clear();
    keep_ = head_only_ = false;
    if (have_ == 0) {
        within(common_.limits.idle);
        return read_header();
    }
    phase_ = Phase::request;
    within(common_.limits.request);
    parse_header();
}

void HttpSession::read_header() { read(net::buffer(input_) + have_, &HttpSession::header_bytes); }

void HttpSession::header_bytes(std::size_t bytes) {
    if (phase_ == Phase::idle) {
        phase_ = Phase::request;
        within(common_.limits.request);
    }
    have_ += bytes;
    parse_header();
}

void HttpSession::parse_header() {
    Failure error;
    const std::size_t used = parser_->put(net::buffer(input_.data(), have_), error);
    std::memmove(input_.data(), input_.data() + used, have_ - used);
    have_ -= used;
    header_read_ += used;
    if (!error && parser_->is_header_done()) return wait_for_turn();
    const bool too_large =
        error == http::error::header_limit || header_read_ + have_ >= common_.limits.header_bytes_max;
    if (error == http::error::need_more && !too_large) return read_header();
    no_request_ = too_large ? error_response(431, "header-too-large", "the header is too large")
                            : error_response(400, "bad-http", "not an HTTP request: " + error.message());
    wait_for_turn();
}

void HttpSession::wait_for_turn() {
    const auto caller = stream_->caller();
    const Role role = caller ? caller->role : Role::none;
    Budget& budget = role == Role::write  ? common_.writers
                     : role == Role::none ? common_.strangers
                                          : common_.readers;
    const auto wait = budget.take(Budget::Clock::now());
    if (wait == Budget::Clock::duration::zero()) return judge();
    common_.statistics.add(&Counts::requests_delayed);
    phase_ = Phase::waiting;
    deadline_.expires_after(wait);
    deadline_.async_wait([self = shared_from_this()](const Failure& error) {
        if (error || self->phase_ != Phase::waiting) return;
        self->phase_ = Phase::request;
        self->within(self->common_.limits.request);
        self->judge();
    });
}

// What is to be said to a request by its header alone; nothing: it may be read.
std::optional<Response> HttpSession::refusal() {
    const auto& header = parser_->get();
    auto caller = stream_->caller();
    if (!caller || caller->role == Role::none)
        return error_response(403, "forbidden", "you have no rights here");
    request_.caller = std::move(*caller);
    // A page in the browser of somebody who has a certificate could else speak in his name.
    if (header.count(http::field::origin) != 0)
        return error_response(403, "browser", "requests that a web page sends are not taken");
    if (header.count(http::field::transfer_encoding) != 0)
        return error_response(411, "length-required", "the body's length must be given (Content-Length)");
    if (header.version() >= 11 && header.count(http::field::host) != 1)
        return error_response(400, "bad-http", "one header Host is wanted");
    auto target = parse_target(view(header.target()));
    if (!target) return error_response(400, "bad-target", target.error().message);
    request_.target = std::move(*target);
    const auto method = method_of(header.method());
    auto found = common_.router.find(method, request_.target.path);
    if (!found.route && found.allowed.empty())
        return error_response(404, "no-such-path", "there is no such path");
    if (!found.route) {
        allowed_ = "Allow: " + found.allowed + "\r\n";
        return error_response(405, "method-not-allowed", "not with this method, but: " + found.allowed);
    }
    route_ = found.route;
    request_.method = *method;
    if (request_.caller.role < route_->role)
        return error_response(403, "read-only", "you may look, but not change anything");
    const std::uint64_t length = parser_->content_length().value_or(0);
    if (length > route_->body_bytes_max)
        return error_response(413, "body-too-large",
                              fmt::format("a body of {} bytes at most is taken", route_->body_bytes_max));
    if (!body_share_.take(common_.bodies_bytes, static_cast<std::size_t>(length),
                          common_.limits.bodies_bytes_max))
        return error_response(503, "busy", "too much is being read, try again");
    return std::nullopt;
}

void HttpSession::judge() {
    if (no_request_) return send(std::move(*no_request_));
    const auto& header = parser_->get();
    head_only_ = header.method() == http::verb::head;
    const std::size_t length = static_cast<std::size_t>(parser_->content_length().value_or(0));
    auto refused = refusal();
    // A body that nobody reads is no next request.
    keep_ = header.keep_alive() &&
            (!refused || (length == 0 && header.count(http::field::transfer_encoding) == 0));
    if (refused) return send(std::move(*refused));
    request_.body.resize(length);
    body_have_ = std::min(length, have_);
    std::memcpy(request_.body.data(), input_.data(), body_have_);
    std::memmove(input_.data(), input_.data() + body_have_, have_ - body_have_);
    have_ -= body_have_;
    const auto expects = header.find(http::field::expect);
    if (expects == header.end() || header.version() < 11 || body_have_ == length) return read_body();
    head_ = "HTTP/1.1 100 Continue\r\n\r\n";
    write(head_, {}, &HttpSession::read_body);
}

void HttpSession::read_body() {
    if (body_have_ == request_.body.size()) return hand_over();
    read(net::buffer(request_.body) + body_have_, &HttpSession::body_bytes);
}

void HttpSession::body_bytes(std::size_t bytes) {
    body_have_ += bytes;
    read_body();
}

void HttpSession::hand_over() {
    parser_.reset();
    if (!route_->handler) return begin_events();
    phase_ = Phase::working;
    deadline_.expires_at(net::steady_timer::time_point::max());  // the control thread's time is not his
    Job job{.route = route_,
            .request = std::move(request_),
            .answer =
                [self = shared_from_this()](Response response) mutable {
                    net::post(self->common_.io, [self, response = std::move(response)]() mutable {
                        self->answer(std::move(response));
                    });
                },
            // Its body's bytes are free for requests of others, however long it waits.
            .held =
                [self = shared_from_this()] {
                    net::post(self->common_.io, [self] { self->body_share_.give_back(); });
                }};
    if (!common_.jobs.push(job)) send(error_response(503, "busy", "too much waits to be handled, try again"));
}

void HttpSession::answer(Response response) {
    if (phase_ == Phase::working) send(std::move(response));
}

void HttpSession::send(Response response) {
    body_share_.give_back();
    request_ = {};
    if (response.body.size() > common_.limits.answer_bytes_max)
        response = error_response(500, "answer-too-large", "the answer is too large: ask for less");
    if (!answer_share_.take(common_.answers_bytes, response.body.size(), common_.limits.answers_bytes_max))
        response = error_response(503, "busy", "too many answers are being sent, try again");
    common_.statistics.answered(route_, response.status);
    std::string more = std::move(allowed_);
    if (response.status == 503) more += "Retry-After: 1\r\n";
    head_ = head_of(response, keep_, more);
    body_ = head_only_ ? std::string() : std::move(response.body);
    phase_ = Phase::answering;
    within(common_.limits.answer);
    write(head_, body_, &HttpSession::answered);
}

void HttpSession::answered() {
    body_ = std::string();
    answer_share_.give_back();
    if (keep_) return next_request();
    linger();
}

// Closing while something is unread would take the answer away from a client that still sends.
void HttpSession::linger() {
    phase_ = Phase::lingering;
    stream_->end_sending();
    within(common_.limits.linger);
    drain();
}

void HttpSession::drain() { read(net::buffer(input_), &HttpSession::drained); }

void HttpSession::drained(std::size_t bytes) {
    constexpr std::size_t kMost = std::size_t{16} << 20;
    drained_ += bytes;
    if (drained_ > kMost) return close();
    drain();
}

void HttpSession::begin_events() {
    if (auto wrong = Parameters(request_).refusal()) return send(std::move(*wrong));
    keep_ = false;
    if (common_.listeners.size() >= common_.limits.event_clients_max)
        return send(error_response(503, "busy", "too many listen already"));
    common_.statistics.answered(route_, 200);
    common_.listeners.insert(shared_from_this());
    common_.heard = true;
    common_.statistics.add(&Counts::event_clients);
    phase_ = Phase::events;
    have_ = 0;
    tell(std::make_shared<const std::string>(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: "
        "close\r\n\r\n:\n\n"));
    drain();  // so that one who goes is seen to; what he says is not listened to
}

void HttpSession::tell(const std::shared_ptr<const std::string>& event) {
    if (phase_ != Phase::events) return;
    events_bytes_ += event->size();
    events_.push_back(event);
    if (events_.size() > common_.limits.events_queued_max ||
        events_bytes_ > common_.limits.events_bytes_max) {
        common_.statistics.add(&Counts::event_clients_cut);
        return close();
    }
    if (!writing_event_) next_event();
}

void HttpSession::next_event() {
    const auto caller = stream_->caller();
    if (!caller || caller->role < route_->role) return close();  // his certificate has ended
    writing_event_ = !events_.empty();
    within(writing_event_ ? common_.limits.event : common_.limits.heartbeat);
    if (writing_event_) write(*events_.front(), {}, &HttpSession::event_written);
}

void HttpSession::event_written() {
    events_bytes_ -= events_.front()->size();
    events_.pop_front();
    next_event();
}

// The stream, and with it what is being read and written, goes with the last who holds this.
void HttpSession::close() {
    if (phase_ == Phase::closed) return;
    if (common_.listeners.erase(shared_from_this()) != 0) common_.statistics.add(&Counts::event_clients, -1);
    common_.heard = !common_.listeners.empty();
    phase_ = Phase::closed;
    deadline_.cancel();
    stream_->close();
    place_.reset();
    body_share_.give_back();
    answer_share_.give_back();
}

}  // namespace

std::shared_ptr<Session> Session::make(Common& common, std::unique_ptr<Stream> stream, Place place,
                                       Admit admit) {
    return std::make_shared<HttpSession>(common, std::move(stream), std::move(place), std::move(admit));
}

}  // namespace vern::api
