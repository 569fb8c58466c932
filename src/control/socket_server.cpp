#include "control/socket_server.h"

#include <sys/inotify.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <optional>

#include "control/socket_file.h"

namespace vern {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

constexpr std::size_t kReadBytes = 64 * 1024;
// What one client may have before the others have their turn.
constexpr std::size_t kBytesPerTurn = 4 << 20;
constexpr std::size_t kAnswersPerTurn = 64;
constexpr std::chrono::milliseconds kAcceptPause{100};  // when the process has no descriptors left

// Without it (no watches left) removal is noticed only when somebody asks removed().
Fd watch(const std::string& directory) {
    Fd watcher(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (watcher)
        ::inotify_add_watch(watcher.get(), directory.c_str(),
                            IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_ONLYDIR);
    return watcher;
}

struct Client {
    Fd fd;
    SecretText input;
    SecretText output;
    std::size_t begin = 0;       // of input: what is before has been answered and wiped
    std::size_t line_start = 0;  // of input: the line that is being looked at
    std::size_t scanned = 0;     // of input: from `begin` to here there is no end of a request
    std::size_t written = 0;     // of output
    TimePoint active;
    bool finished = false;  // no more to read
    bool closing = false;   // ends once output is written
    bool waiting = false;   // requests are left that had no turn yet

    bool answering() const { return written < output.size(); }
    void drop_input() {
        input = SecretText();
        begin = line_start = scanned = 0;
    }
};

enum class Frame { incomplete, complete, too_large };

// Looks on from where it stopped for the line that ends a request. complete: the request is [begin,
// scanned).
Frame find_end(Client& client, const SocketLimits& limits) {
    const std::string_view input = client.input;
    while (true) {
        const auto end = input.find('\n', client.scanned);
        const bool found = end != std::string_view::npos;
        const std::size_t line_end = found ? end : input.size();
        if (line_end - client.line_start > limits.line_bytes_max ||
            line_end - client.begin > limits.request_bytes_max) {
            return Frame::too_large;
        }
        client.scanned = found ? end + 1 : input.size();
        if (!found) return Frame::incomplete;
        const bool last = end == client.line_start;
        client.line_start = client.scanned;
        if (last) return Frame::complete;
    }
}

void forget_answered(Client& client) {
    if (client.scanned >= client.input.size()) return client.drop_input();
    sodium_memzero(client.input.data() + client.begin, client.scanned - client.begin);
    client.begin = client.scanned;
    if (client.begin < client.input.size() / 2) return;  // moving the rest must stay rare
    client.input.erase(0, client.begin);
    client.begin = client.line_start = client.scanned = 0;
}

}  // namespace

struct SocketServer::State {
    SocketProtocol& protocol;
    SocketLimits limits;
    SocketFile file;
    Fd watcher;
    std::vector<std::unique_ptr<Client>> clients;
    std::optional<TimePoint> accept_again;  // accepting rests until then

    void accept_all(TimePoint now);
    void make_room();
    void serve(Client& client, short events, TimePoint now);
    bool receive(Client& client, TimePoint now);
    bool send(Client& client, TimePoint now);
    void answer_request(Client& client);
    void refuse(Client& client, const Error& why);
    std::size_t buffered() const;
    void drain_watcher() const;
};

void SocketServer::State::accept_all(TimePoint now) {
    while (true) {
        Fd fd(::accept4(file.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!fd) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            // The connection stays queued and poll would say so again at once, so rest a moment.
            if (errno != EAGAIN) accept_again = now + kAcceptPause;
            return;
        }
        if (clients.size() == limits.clients_max) make_room();
        auto client = std::make_unique<Client>();
        client->fd = std::move(fd);
        client->active = now;
        clients.push_back(std::move(client));
    }
}

void SocketServer::State::make_room() {
    const auto idle = std::min_element(clients.begin(), clients.end(),
                                       [](const auto& a, const auto& b) { return a->active < b->active; });
    protocol.refused(Error{"too many clients, the longest idle one is cut off", EMFILE});
    clients.erase(idle);
}

std::size_t SocketServer::State::buffered() const {
    std::size_t bytes = 0;
    for (const auto& client : clients) bytes += client->input.capacity();
    return bytes;
}

// False: the client is to be dropped.
bool SocketServer::State::receive(Client& client, TimePoint now) {
    std::size_t taken = 0;
    while (taken < kBytesPerTurn && !client.finished) {
        std::array<char, kReadBytes> chunk;
        const ssize_t got = ::recv(client.fd.get(), chunk.data(), chunk.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got < 0) return false;
        if (got == 0) client.finished = true;
        const auto bytes = static_cast<std::size_t>(got);
        client.input.append(chunk.data(), bytes);
        sodium_memzero(chunk.data(), bytes);
        taken += bytes;
        if (bytes < chunk.size()) break;
    }
    if (taken > 0) client.active = now;
    return true;
}

bool SocketServer::State::send(Client& client, TimePoint now) {
    for (std::size_t sent = 0; client.answering() && sent < kBytesPerTurn;) {
        const ssize_t put = ::send(client.fd.get(), client.output.data() + client.written,
                                   client.output.size() - client.written, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) return true;
        if (put < 0) return false;
        client.written += static_cast<std::size_t>(put);
        sent += static_cast<std::size_t>(put);
        client.active = now;
    }
    if (client.answering()) return true;
    client.output = SecretText();
    client.written = 0;
    return !client.closing;
}

void SocketServer::State::refuse(Client& client, const Error& why) {
    client.closing = true;
    client.drop_input();
    client.output = protocol.refusal(why);
    protocol.refused(why);
}

// One answer at a time: the next request waits until the client has taken it.
void SocketServer::State::answer_request(Client& client) {
    if (client.answering() || client.closing) return;
    switch (find_end(client, limits)) {
        case Frame::incomplete:
            if (buffered() > limits.buffered_bytes_max)
                return refuse(client, Error{"too much waits to be read", ENOBUFS});
            if (!client.finished) return;
            if (client.begin < client.input.size()) {
                protocol.refused(Error{"a connection ended inside a request, which is not applied", EPROTO});
            }
            client.closing = true;
            return;
        case Frame::too_large: return refuse(client, Error{"request or line too large", EMSGSIZE});
        case Frame::complete: break;
    }
    // Without the ends of line at its end; a lone empty line where a request should be has one.
    const std::size_t size = client.scanned - client.begin;
    const std::string_view request =
        std::string_view(client.input).substr(client.begin, size - std::min(size, std::size_t{2}));
    auto answer = protocol.answer(request);
    if (!answer) return refuse(client, answer.error());
    client.output = std::move(*answer);
    forget_answered(client);
}

void SocketServer::State::serve(Client& client, short events, TimePoint now) {
    bool alive = (events & (POLLERR | POLLNVAL)) == 0;
    const bool may_read = !client.answering() && !client.waiting;
    if (alive && may_read && (events & (POLLIN | POLLHUP)) != 0) alive = receive(client, now);
    client.waiting = false;
    for (std::size_t turn = 0; alive; ++turn) {
        client.waiting = turn == kAnswersPerTurn;
        if (client.waiting) break;
        answer_request(client);
        if (!client.answering()) break;
        alive = send(client, now);
        if (client.answering()) break;
    }
    if (client.closing && !client.answering()) alive = false;
    if (!alive) client.fd.reset();
}

void SocketServer::State::drain_watcher() const {
    alignas(inotify_event) std::array<char, 4096> events;
    while (watcher && ::read(watcher.get(), events.data(), events.size()) > 0) {
    }
}

SocketServer::SocketServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

SocketServer::~SocketServer() = default;

Result<std::unique_ptr<SocketServer>> SocketServer::open(std::string_view name, std::string_view directory,
                                                         const SocketLimits& limits, SocketProtocol& protocol,
                                                         int adopt_fd) {
    auto file = SocketFile::open(name, directory, adopt_fd);
    if (!file) return tl::unexpected(file.error());
    auto state = std::make_unique<State>(State{.protocol = protocol,
                                               .limits = limits,
                                               .file = std::move(*file),
                                               .watcher = watch(std::string(directory)),
                                               .clients = {},
                                               .accept_again = {}});
    return std::unique_ptr<SocketServer>(new SocketServer(std::move(state)));
}

void SocketServer::add_to(std::vector<pollfd>& set) const {
    if (!state_->accept_again) set.push_back({.fd = state_->file.fd(), .events = POLLIN, .revents = 0});
    if (state_->watcher) set.push_back({.fd = state_->watcher.get(), .events = POLLIN, .revents = 0});
    for (const auto& client : state_->clients) {
        const short events = client->answering() || client->waiting ? POLLOUT : POLLIN;
        set.push_back({.fd = client->fd.get(), .events = events, .revents = 0});
    }
}

void SocketServer::handle(const std::vector<pollfd>& set, TimePoint now) {
    State& state = *state_;
    if (state.accept_again && *state.accept_again <= now) state.accept_again.reset();
    // First those that are there already: a descriptor number may be given to a new client as soon as an old
    // one is gone.
    for (const pollfd& entry : set) {
        if (entry.revents == 0) continue;
        const auto client = std::find_if(state.clients.begin(), state.clients.end(),
                                         [&](const auto& c) { return c->fd.get() == entry.fd; });
        if (client != state.clients.end()) state.serve(**client, entry.revents, now);
    }
    std::erase_if(state.clients,
                  [&](const auto& c) { return !c->fd || now - c->active >= state.limits.idle_max; });
    for (const pollfd& entry : set) {
        if (entry.revents == 0) continue;
        if (entry.fd == state.file.fd()) state.accept_all(now);
        if (entry.fd == state.watcher.get()) state.drain_watcher();
    }
}

TimePoint SocketServer::next_deadline() const {
    auto deadline = state_->accept_again.value_or(TimePoint::max());
    for (const auto& client : state_->clients)
        deadline = std::min(deadline, client->active + state_->limits.idle_max);
    return deadline;
}

const std::string& SocketServer::path() const { return state_->file.path(); }

bool SocketServer::removed() const { return state_->file.removed(); }

int SocketServer::listen_fd() const { return state_->file.fd(); }

}  // namespace vern
