// Who has a place among the connections of a listener. The API's own thread only.
#pragma once

#include <map>
#include <string>

#include "control/api/limits.h"
#include "control/api/session.h"
#include "control/api/statistics.h"

namespace vern::api {

class Places {
  public:
    Places(const Limits& limits, Statistics& statistics) : limits_(limits), statistics_(statistics) {}

    Session::Place take(const Caller& caller) {
        const bool stranger = caller.role == Role::none, reader = caller.role != Role::write;
        unsigned& of_caller = callers_[caller.name];
        if (total_ >= limits_.connections_max || of_caller >= limits_.of_caller_max ||
            (reader && readers_ >= limits_.readers_max) ||
            (stranger && strangers_ >= limits_.strangers_max)) {
            statistics_.add(&Counts::connections_refused);
            if (of_caller == 0) callers_.erase(caller.name);
            return nullptr;
        }
        ++total_, ++of_caller, readers_ += reader, strangers_ += stranger;
        statistics_.add(&Counts::connections);
        return Session::Place(this, [this, name = caller.name, reader, stranger](void*) {
            --total_, readers_ -= reader, strangers_ -= stranger;
            if (--callers_[name] == 0) callers_.erase(name);
            statistics_.add(&Counts::connections, -1);
        });
    }
    // For who has not said anything yet: one source that stays silent leaves places to others.
    // `source`: see source.h.
    Session::Place take_for_handshake(const std::string& source) {
        const auto of_source = sources_.find(source);
        const bool has_enough =
            of_source != sources_.end() && of_source->second >= limits_.handshakes_of_source_max;
        if (has_enough || handshakes_ >= limits_.handshakes_max) {
            statistics_.add(has_enough ? &Counts::handshakes_limited : &Counts::connections_refused);
            return nullptr;
        }
        ++sources_[source], ++handshakes_;
        return Session::Place(this, [this, source](void*) {
            --handshakes_;
            if (--sources_[source] == 0) sources_.erase(source);
        });
    }

  private:
    const Limits& limits_;
    Statistics& statistics_;
    std::map<std::string, unsigned> callers_;
    std::map<std::string, unsigned> sources_;  // of handshakes
    unsigned total_ = 0, readers_ = 0, strangers_ = 0, handshakes_ = 0;
};

}  // namespace vern::api
