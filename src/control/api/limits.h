// What clients of the control API may take of the daemon, so that a slow, huge or hostile one hurts nobody.
#pragma once

#include <chrono>
#include <cstddef>

namespace vern::api {

struct Limits {
    std::size_t header_bytes_max = 16 << 10;
    std::size_t bodies_bytes_max = std::size_t{64} << 20;    // of requests that are being read or wait
    std::size_t answer_bytes_max = std::size_t{64} << 20;    // of one
    std::size_t answers_bytes_max = std::size_t{256} << 20;  // of all that are being sent
    std::size_t jobs_max = 64;                               // waiting for the control thread

    // Of readers together, and again of those who may change things; 0: no limit. More than that waits.
    unsigned requests_a_second = 100;
    unsigned requests_at_once = 200;

    std::size_t connections_max = 256;
    std::size_t readers_max = 192;   // of these: who may change things finds a place when readers have theirs
    std::size_t of_caller_max = 64;  // of one user, or one certificate
    std::size_t strangers_max = 16;  // who have no rights, and will be told so
    std::size_t handshakes_max = 32;  // over TLS, who have not yet shown who they are

    // Of one source, under way and begun; 0 a second: no limit. More are turned away.
    std::size_t handshakes_of_source_max = 8;
    unsigned tls_handshakes_a_second = 8;
    unsigned tls_handshakes_at_once = 32;

    std::chrono::milliseconds handshake{5'000};
    std::chrono::milliseconds idle{60'000};     // between requests
    std::chrono::milliseconds request{10'000};  // from the first byte of it to the last
    std::chrono::milliseconds answer{30'000};   // until it is taken
    std::chrono::milliseconds linger{2'000};    // for what a client still sends that has its last answer

    std::size_t event_clients_max = 32;
    std::size_t events_queued_max = 256;       // of one client
    std::size_t events_bytes_max = 256 << 10;  // of one client
    std::chrono::milliseconds event{10'000};   // until one is taken
    std::chrono::milliseconds heartbeat{15'000};
};

}  // namespace vern::api
