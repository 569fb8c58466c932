// A Control with a directory of its own and a data plane that only keeps what it is given.
#pragma once

#include <gtest/gtest.h>

#include "../temporary_directory.h"
#include "control/log.h"
#include "control/policy/control.h"
#include "fake_plane.h"

namespace vern::policy::test {

using nlohmann::json;
using vern::test::read_file;
using vern::test::TemporaryDirectory;

inline std::string policy(const std::string& name, const std::string& more = "") {
    return "version = 1\nname = \"" + name + "\"\n[[rule]]\nid = \"r\"\nin = {}\nallow = [\"tcp/22\"]\n" +
           more;
}

class ControlTest : public testing::Test {
  protected:
    ControlTest() { set_log_level(LogLevel::silent); }

    std::string state() const { return directory.path() + "/state/wg0"; }
    void start(const std::string& first = "", StateDirectory::StepHook hook = nullptr) {
        control.reset();
        plane = std::make_unique<FakePlane>();
        control = std::make_unique<Control>(Store(state(), std::move(hook)), *plane);
        ASSERT_TRUE(control->start(first));
    }
    static json told(const Outcome<json>& outcome) {
        json answer = outcome ? *outcome : json{{"error", outcome.error().message}};
        answer["ok"] = outcome.has_value();
        return answer;
    }
    json apply(const std::string& text, int confirm_s = 0) {
        return told(control->apply(text, "f", std::chrono::seconds(confirm_s), "uid 0"));
    }
    json confirm() { return told(control->confirm("uid 0")); }
    json rollback() { return told(control->rollback("uid 0")); }
    json remove() { return told(control->remove("uid 0")); }
    json explain(const std::string& question) { return told(control->explain(question)); }
    std::string name() { return control->summary().value("name", control->summary().value("state", "")); }
    std::string on_disk() const { return read_file(state() + "/policy.toml"); }

    TemporaryDirectory directory;
    std::unique_ptr<FakePlane> plane;
    std::unique_ptr<Control> control;
};

}  // namespace vern::policy::test
