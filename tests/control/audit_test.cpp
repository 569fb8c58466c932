// The audit trail: that every change to it is found, and that no end of a process and no full disk breaks it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <random>

#include "audit_trails.h"

namespace vern::audit {
namespace {

using namespace test;

// Record

TEST(AuditRecord, ALineIsReadAsItWasWritten) {
    Record record = denied(3306);
    record.seq = 7;
    record.host = "db";
    record.identity = "Bj\xc3\xb8rn \"x\"\n\x7f";
    record.not_after = time_text(kNoon);
    record.packets = 0;
    record.by = "uid 1000";
    const std::string line = line_of(record, no_hash());
    EXPECT_NE(line.find(R"("identity":"Bj\u00f8rn \"x\"\n\u007f")"), std::string::npos) << line;
    const auto read = read_line(line);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->record, record);
    EXPECT_EQ(read->prev, no_hash());
    EXPECT_EQ(line.find("bytes"), std::string::npos);
}

TEST(AuditRecord, TheLongestIsALineOf4KiB) {
    Record record = denied(1);
    record.seq = ~std::uint64_t{0};
    for (const Field& field : fields()) {
        // Each character takes twelve as it is written.
        if (field.text) {
            for (int i = 0; i < 1000; ++i) record.*field.text += "\xf0\x9f\x98\x80";
        }
        if (field.number) record.*field.number = ~std::uint64_t{0};
    }
    const std::string line = line_of(record, no_hash());
    EXPECT_LE(line.size(), kLineBytesMax);
    const auto read = read_line(line);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_TRUE(read->record.detail.ends_with("\xf0\x9f\x98\x80..."));
    record.detail = std::string(5000, '\xff');  // no UTF-8
    EXPECT_TRUE(read_line(line_of(record, no_hash())));
}

TEST(AuditRecord, WhatIsNoRecordIsSaidSo) {
    Record record = denied(1);
    record.seq = 1;
    const std::string good = line_of(record, no_hash());
    ASSERT_TRUE(read_line(good));
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string line = good;
        const auto at = line.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return read_line(line.replace(at, from.size(), to)).has_value();
    };
    EXPECT_FALSE(with("\"seq\":1", "\"seq\":0"));
    EXPECT_FALSE(with("\"seq\":1", "\"seq\":-1"));
    EXPECT_FALSE(with("\"seq\":1", "\"seq\":1.0"));
    EXPECT_FALSE(with("\"seq\"", "\"sex\""));
    EXPECT_FALSE(with("2027-01-15", "2027-02-29"));
    EXPECT_FALSE(with("2027-01-15", "2027-1-015"));
    EXPECT_FALSE(with("flow-denied", "flow-delayed"));
    EXPECT_FALSE(with("\"dst_port\":1", "\"dst_port\":\"1\""));
    EXPECT_FALSE(with("\"in\"", "1"));
    EXPECT_FALSE(with(no_hash(), "0"));
    EXPECT_FALSE(with("{", "{{"));
    EXPECT_FALSE(with("{", "\xc3{"));
    EXPECT_FALSE(read_line(""));
    EXPECT_FALSE(read_line(std::string(4000, '[')));
    EXPECT_TRUE(with("{", "{\"later\":[1,{}],"));
}

TEST(AuditRecord, Times) {
    EXPECT_EQ(time_text(kNoon + std::chrono::microseconds(1999)), "2027-01-15T08:00:00.001Z");
    EXPECT_EQ(time_text(WallTime(std::chrono::milliseconds(-1))), "1969-12-31T23:59:59.999Z");
    EXPECT_EQ(parse_time("2027-01-15T08:00:00Z"), kNoon);
    EXPECT_EQ(parse_time("2027-01-15T08:00:00.250Z"), kNoon + std::chrono::milliseconds(250));
    for (const char* wrong :
         {"", "2027-01-15", "2027-01-15T08:00:00", "2027-01-15T08:00:00+Z", "2027-01-15T24:00:00Z",
          "2027-01-15T08:60:00Z", "9999-01-15T08:00:00Z", "2027-01-15t08:00:00Z", "2027-01-15T08:00:00.25Z",
          "2027-01-15T08:00:00.2x0Z", "2O27-01-15T08:00:00Z"})
        EXPECT_FALSE(parse_time(wrong)) << wrong;
}

TEST(AuditRecord, KindsHaveOneNameEach) {
    for (std::size_t i = 0; i < kKinds; ++i)
        EXPECT_EQ(kind_of(name_of(static_cast<Kind>(i))), static_cast<Kind>(i));
    EXPECT_EQ(name_of(Kind::policy_rolled_back), "policy-rolled-back");
    EXPECT_FALSE(kind_of("flow"));
}

// Trail and its verification

TEST(AuditTrail, IsAChainThatIsContinued) {
    const TemporaryDirectory directory;
    const std::string path = directory.path() + "/deep/audit";
    write_some(path, 3);
    write_some(path, 2);
    const auto lines = lines_of(path);
    ASSERT_EQ(lines.size(), 5u);
    std::string hash = no_hash();
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const auto read = read_line(lines[i]);
        ASSERT_TRUE(read);
        EXPECT_EQ(read->record.seq, i + 1);
        EXPECT_EQ(read->record.host, "db");
        EXPECT_EQ(read->record.interface, "wg0");
        EXPECT_EQ(read->prev, hash);
        hash = hash_of(lines[i]);
    }
    const auto result = verify(path);
    ASSERT_TRUE(result);
    EXPECT_FALSE(result->broken);
    EXPECT_TRUE(result->warnings.empty());
    EXPECT_EQ(result->records, 5u);
    EXPECT_EQ(result->last_hash, hash);
    struct stat status {};
    ASSERT_EQ(::stat((path + "/audit.jsonl").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(hash_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(AuditTrail, HasOneWriter) {
    const TemporaryDirectory directory;
    const Trail trail = open(directory.path());
    const auto second = Trail::open(directory.path(), {}, kNoon);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, EBUSY);
}

TEST(AuditVerify, EveryByteThatIsChangedIsFoundInItsLine) {
    const TemporaryDirectory directory;
    write_some(directory.path(), 5);
    const std::string good = read_file(directory.path() + "/audit.jsonl");
    std::size_t line = 1;
    const Fd file(::open((directory.path() + "/audit.jsonl").c_str(), O_WRONLY | O_CLOEXEC));
    const auto put = [&](std::size_t at, int byte) {
        const char c = static_cast<char>(byte);
        return ::pwrite(file.get(), &c, 1, static_cast<off_t>(at)) == 1;
    };
    for (std::size_t i = 0; i < good.size(); ++i) {
        for (const int change : {1, 0x80}) {
            ASSERT_TRUE(put(i, good[i] ^ change));
            ASSERT_EQ(broken_at(directory.path()), "audit.jsonl:" + std::to_string(line)) << "byte " << i;
        }
        ASSERT_TRUE(put(i, good[i]));
        line += good[i] == '\n';
    }
    EXPECT_EQ(broken_at(directory.path()), "");
}

TEST(AuditVerify, LinesThatAreGoneSwappedRepeatedOrMadeUp) {
    const TemporaryDirectory directory;
    write_some(directory.path(), 6);
    const auto good = lines_of(directory.path());
    for (std::size_t i = 1; i < good.size(); ++i) {
        auto lines = good;
        lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(i));
        write_lines(directory, lines);
        // The last one is missing at the line that is the last now.
        EXPECT_EQ(broken_at(directory.path()),
                  "audit.jsonl:" + std::to_string(std::min(i + 1, good.size() - 1)));
        lines = good;
        std::swap(lines[i - 1], lines[i]);
        write_lines(directory, lines);
        EXPECT_EQ(broken_at(directory.path()), "audit.jsonl:" + std::to_string(std::max<std::size_t>(i, 2)));
        lines = good;
        lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(i), good[i - 1]);
        write_lines(directory, lines);
        EXPECT_EQ(broken_at(directory.path()), "audit.jsonl:" + std::to_string(i + 1));
    }
    // A line of its own making, and the next one adapted to it.
    auto lines = good;
    auto third = read_line(good[2]), fourth = read_line(good[3]);
    ASSERT_TRUE(third && fourth);
    third->record.dst = "10.100.0.9";
    lines[2] = line_of(third->record, third->prev);
    lines[3] = line_of(fourth->record, hash_of(lines[2]));
    write_lines(directory, lines);
    EXPECT_EQ(broken_at(directory.path()), "audit.jsonl:4");
}

TEST(AuditVerify, WithoutAHeadTheLastLineIsOnlyWarnedOf) {
    const TemporaryDirectory directory;
    write_some(directory.path(), 3);
    auto lines = lines_of(directory.path());
    lines[2].replace(lines[2].find("10.100.0.3"), 10, "10.100.0.4");
    write_lines(directory, lines);
    EXPECT_EQ(broken_at(directory.path()), "audit.jsonl:3");
    ::unlink((directory.path() + "/audit.head").c_str());
    const auto result = verify(directory.path());
    ASSERT_TRUE(result);
    EXPECT_FALSE(result->broken);
    EXPECT_EQ(result->warnings.size(), 1u);
    directory.write("audit.head", "junk");
    EXPECT_EQ(broken_at(directory.path()), "audit.head:1");
    EXPECT_FALSE(verify(directory.path() + "/nowhere"));
    const TemporaryDirectory empty;
    EXPECT_FALSE(verify(empty.path()));
}

TEST(AuditVerify, AClockThatGoesBackIsAWarning) {
    const TemporaryDirectory directory;
    {
        Trail trail = open(directory.path());
        trail.write(denied(1));
        trail.write(denied(2, kNoon - std::chrono::hours(1)));
    }
    const auto result = verify(directory.path());
    ASSERT_TRUE(result && !result->broken);
    ASSERT_EQ(result->warnings.size(), 1u);
    EXPECT_EQ(result->warnings[0].at.line, 2u);
}

TEST(AuditTrail, RotatesAtTheEdgeAndKeepsSoMany) {
    const TemporaryDirectory directory;
    write_some(directory.path(), 1);
    // Every line is as long as this but for its hash of zeros: the number has one digit up to 9.
    const std::uint64_t line = read_file(directory.path() + "/audit.jsonl").size();
    TrailOptions options;
    options.file_bytes_max = 3 * line;
    options.files_kept = 2;
    write_some(directory.path(), 2, options);  // exactly full
    EXPECT_EQ(rotated_numbers(directory.path()), std::vector<unsigned>{});
    write_some(directory.path(), 1, options);
    EXPECT_EQ(rotated_numbers(directory.path()), std::vector<unsigned>{1});
    EXPECT_EQ(lines_of(directory.path()).size(), 1u);
    EXPECT_EQ(read_line(lines_of(directory.path())[0])->prev,
              hash_of(lines_of(directory.path(), "audit.jsonl.1")[2]));
    write_some(directory.path(), 5, options);  // 1-3 4-6 7-9
    EXPECT_EQ(verify(directory.path())->records, 9u);
    write_some(directory.path(), 1, options);
    EXPECT_EQ(rotated_numbers(directory.path()), (std::vector<unsigned>{1, 2}));
    const auto result = verify(directory.path());
    ASSERT_TRUE(result && !result->broken) << result->broken->what;
    EXPECT_EQ(result->first_seq, 4u);
    EXPECT_EQ(result->last_seq, 10u);
    // What is missing in the middle is found; and so is a change in a rotated file.
    std::filesystem::rename(directory.path() + "/audit.jsonl.1", directory.path() + "/away");
    EXPECT_EQ(broken_at(directory.path()), "audit.jsonl:1");
    std::filesystem::rename(directory.path() + "/away", directory.path() + "/audit.jsonl.1");
    std::string text = read_file(directory.path() + "/audit.jsonl.1");
    text[text.size() - 100] ^= 1;
    directory.write("audit.jsonl.1", text);
    EXPECT_EQ(broken_at(directory.path()), "audit.jsonl.1:3");
}

TEST(AuditTrail, ARotationThatWasCutShortIsContinued) {
    const TemporaryDirectory directory;
    write_some(directory.path(), 3);
    // The file has its new name, and nothing has its old one.
    std::filesystem::rename(directory.path() + "/audit.jsonl", directory.path() + "/audit.jsonl.1");
    write_some(directory.path(), 1);
    EXPECT_EQ(verify(directory.path())->records, 4u);
    EXPECT_EQ(broken_at(directory.path()), "");
}

TEST(AuditTrail, FewerFilesAreKeptWhenThatIsWanted) {
    const TemporaryDirectory directory;
    TrailOptions options;
    options.file_bytes_max = 1;
    options.files_kept = 5;
    write_some(directory.path(), 8, options);
    EXPECT_EQ(rotated_numbers(directory.path())->size(), 5u);
    options.files_kept = 2;
    write_some(directory.path(), 1, options);
    EXPECT_EQ(rotated_numbers(directory.path()), (std::vector<unsigned>{1, 2}));
    EXPECT_EQ(broken_at(directory.path()), "");
}

TEST(AuditTrail, ATornLineIsCutOffAndRecorded) {
    const TemporaryDirectory directory;
    write_some(directory.path(), 3);
    const std::string whole = read_file(directory.path() + "/audit.jsonl");
    const std::string line = lines_of(directory.path())[2];
    for (const std::size_t left : {std::size_t{1}, line.size() / 2, line.size()}) {
        directory.write("audit.jsonl", whole + line.substr(0, left));
        EXPECT_EQ(broken_at(directory.path()), "audit.jsonl:4");
        write_some(directory.path(), 0);
        const auto records = records_of(directory.path());
        ASSERT_EQ(records.size(), 4u);
        EXPECT_EQ(records[3].kind, Kind::records_lost);
        EXPECT_EQ(records[3].suppressed, 1u);
        EXPECT_EQ(broken_at(directory.path()), "");
        std::filesystem::remove(directory.path() + "/audit.head");
        directory.write("audit.jsonl", whole);
    }
    // The only line there was.
    directory.write("audit.jsonl", line.substr(0, 10));
    write_some(directory.path(), 1);
    EXPECT_EQ(verify(directory.path())->records, 2u);
    EXPECT_EQ(broken_at(directory.path()), "");
}

TEST(AuditTrail, AnEndThatIsGoneStaysGoneForEverybodyToSee) {
    const TemporaryDirectory directory;
    write_some(directory.path(), 5);
    auto lines = lines_of(directory.path());
    lines.resize(3);
    write_lines(directory, lines);
    EXPECT_EQ(broken_at(directory.path()), "audit.jsonl:3");
    write_some(directory.path(), 1);
    EXPECT_EQ(broken_at(directory.path()), "audit.jsonl:4");
    const auto records = records_of(directory.path());
    ASSERT_EQ(records.size(), 5u);
    EXPECT_EQ(records[3].kind, Kind::records_lost);
    EXPECT_EQ(records[3].suppressed, 2u);
    EXPECT_EQ(records[3].seq, 6u);
    // All of it gone: the numbers go on.
    std::filesystem::remove(directory.path() + "/audit.jsonl");
    write_some(directory.path(), 1);
    EXPECT_EQ(verify(directory.path())->first_seq, 8u);
    EXPECT_EQ(broken_at(directory.path()), "");
}

TEST(AuditTrail, DamageIsPutAsideAndNotRemoved) {
    const TemporaryDirectory directory;
    write_some(directory.path(), 3);
    const std::string whole = read_file(directory.path() + "/audit.jsonl");
    directory.write("audit.jsonl", whole + std::string(100'000, '\0'));
    write_some(directory.path(), 1);
    EXPECT_EQ(read_file(directory.path() + "/audit.jsonl.1").size(), whole.size() + 100'000);
    EXPECT_EQ(broken_at(directory.path()), "audit.jsonl.1:4");
    const auto lines = lines_of(directory.path());
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(read_line(lines[0])->record.seq, 4u);
    EXPECT_EQ(read_line(lines[0])->record.kind, Kind::records_lost);
    EXPECT_EQ(read_line(lines[0])->record.suppressed, 0u);
    // Lines that are whole and no records: nothing is gone, and the numbers go on.
    const std::string foreign = lines[0] + "\n" + lines[1] + "\n\nhello\n{}\n";
    directory.write("audit.jsonl", foreign);
    write_some(directory.path(), 1);
    EXPECT_EQ(read_file(directory.path() + "/audit.jsonl.1"), foreign);
    const auto next = lines_of(directory.path());
    ASSERT_EQ(next.size(), 2u);
    const auto told = read_line(next[0]);
    ASSERT_TRUE(told);
    EXPECT_EQ(told->record.seq, 6u);
    EXPECT_EQ(told->record.suppressed, 0u);
    EXPECT_EQ(told->record.detail, "audit.jsonl.1 ends in what is no trail");
}

// Writes without end, and a byte to `told` after each record.
[[noreturn]] void write_for_ever(const std::string& directory, int told) {
    TrailOptions options;
    options.file_bytes_max = 20'000;
    Trail trail = open(directory, options);
    for (std::uint64_t i = 0;; ++i) {
        trail.write(denied(static_cast<std::uint16_t>(i)));
        if (i % 7 == 0) trail.tick(kBoot + i * kSyncInterval, kNoon);
        if (::write(told, "x", 1) != 1) ::_exit(1);
    }
}

TEST(AuditTrail, KilledAtAnyMomentTheChainGoesOn) {
    const TemporaryDirectory directory;
    std::mt19937 chance(20);
    std::uint64_t told = 0;
    for (int round = 0; round < 12; ++round) {
        int pipe[2];
        ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) write_for_ever(directory.path(), pipe[1]);
        ::close(pipe[1]);
        char byte = 0;
        for (auto left = chance() % 300; left > 0; --left) {
            ASSERT_EQ(::read(pipe[0], &byte, 1), 1);
            ++told;
        }
        ::kill(child, SIGKILL);
        while (::read(pipe[0], &byte, 1) == 1) ++told;
        ::close(pipe[0]);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status));
        const Trail again = open(directory.path());
        EXPECT_GE(again.seq(), told);
        EXPECT_EQ(broken_at(directory.path()), "");
    }
    EXPECT_GT(told, 300u);
}

// The kernel itself takes a part of a line and then no more, as a full disk does.
int write_to_a_limit(const std::string& directory) {
    ::signal(SIGXFSZ, SIG_IGN);
    Trail trail = open(directory);
    trail.write(denied(1));
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit small{1000, limit.rlim_max};
    if (::setrlimit(RLIMIT_FSIZE, &small) != 0) return 1;
    for (std::uint16_t i = 2; i < 20; ++i) trail.write(denied(i));
    if (trail.seq() != 2 || trail.lost() != 17) return 2;
    if (!broken_at(directory).empty()) return 3;  // no torn line is left behind
    ::setrlimit(RLIMIT_FSIZE, &limit);
    trail.tick(kBoot, kNoon);
    if (trail.seq() != 3) return 4;  // that they were lost
    trail.write(denied(21));
    return trail.seq() == 4 && trail.lost() == 17 ? 0 : 5;
}

TEST(AuditTrail, AFullDiskLosesRecordsAndCountsThem) {
    const TemporaryDirectory directory;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        ::close(STDERR_FILENO);
        ::_exit(write_to_a_limit(directory.path()));
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    const auto records = records_of(directory.path());
    ASSERT_EQ(records.size(), 4u);
    EXPECT_EQ(records[2].kind, Kind::records_lost);
    EXPECT_EQ(records[2].suppressed, 17u);
    EXPECT_NE(records[2].detail.find("File too large"), std::string::npos) << records[2].detail;
    EXPECT_EQ(records[3].dst_port, 21u);
    EXPECT_EQ(broken_at(directory.path()), "");
}

TEST(AuditTrail, WhateverStepFailsTheTrailIsWholeAfterIt) {
    for (const std::string failing : {"open", "write", "rename", "fsync"}) {
        const TemporaryDirectory directory;
        bool fails = false;
        TrailOptions options;
        options.file_bytes_max = 1200;
        options.before_step = [&](std::string_view step) { return fails && step == failing ? EIO : 0; };
        {
            Trail trail = open(directory.path(), options);
            for (int i = 0; i < 40; ++i) {
                fails = i % 10 >= 5;
                trail.write(denied(static_cast<std::uint16_t>(i)));
                trail.tick(kBoot + i * kSyncInterval, kNoon);
            }
            fails = false;
            trail.write(denied(1));
            const auto records = records_of(directory.path());
            std::uint64_t told = 0, written = 0;
            for (const Record& record : records) {
                told += record.kind == Kind::records_lost ? *record.suppressed : 0;
                written += record.kind == Kind::flow_denied;
            }
            EXPECT_EQ(told, trail.lost()) << failing;
            EXPECT_EQ(written + told, 41u) << failing;
            // Where the file that is written to is still there nothing needs to be lost.
            EXPECT_EQ(told > 0, failing == "write" || failing == "open") << failing;
        }
        EXPECT_EQ(broken_at(directory.path()), "") << failing;
    }
}

TEST(AuditTrail, AFileThatSomebodyMovedIsMadeAnew) {
    const TemporaryDirectory directory;
    Trail trail = open(directory.path());
    trail.write(denied(1));
    std::filesystem::rename(directory.path() + "/audit.jsonl", directory.path() + "/audit.jsonl.1");
    ASSERT_EQ(trail.deadline(), Instant{} + kSyncInterval);
    trail.tick(kBoot, kNoon);
    EXPECT_FALSE(trail.deadline());
    trail.write(denied(2));
    EXPECT_EQ(lines_of(directory.path()).size(), 1u);
    EXPECT_EQ(broken_at(directory.path()), "");
    EXPECT_EQ(verify(directory.path())->records, 2u);
}

TEST(AuditTrail, AFileThatIsRemovedInAQuietHourIsMadeAnewForTheNextRecord) {
    const TemporaryDirectory directory;
    Trail trail = open(directory.path());
    trail.write(denied(1));
    trail.tick(kBoot, kNoon);
    std::filesystem::remove(directory.path() + "/audit.jsonl");
    trail.write(denied(2));
    trail.write(denied(3));
    EXPECT_EQ(lines_of(directory.path()).size(), 2u);
    EXPECT_EQ(broken_at(directory.path()), "");
    EXPECT_EQ(verify(directory.path())->first_seq, 2u);
}

TEST(AuditTrail, AFileThatSomebodyPutThereIsMadeWholeFirst) {
    const TemporaryDirectory directory;
    Trail trail = open(directory.path());
    trail.write(denied(1));
    trail.tick(kBoot, kNoon);
    const std::string whole = read_file(directory.path() + "/audit.jsonl");
    std::uint16_t port = 1;
    for (const std::string& end : {whole.substr(0, 20), std::string(100'000, '\0')}) {
        std::filesystem::remove(directory.path() +
                                "/audit.jsonl");  // another inode, not the same one with less in it
        directory.write("audit.jsonl", whole + end);
        trail.write(denied(++port));
        trail.tick(kBoot + port * kSyncInterval, kNoon);
        EXPECT_EQ(read_line(lines_of(directory.path()).back())->record.seq, port);
        EXPECT_EQ(trail.lost(), 0u);
    }
    EXPECT_EQ(read_file(directory.path() + "/audit.jsonl.1"), whole + std::string(100'000, '\0'));
    EXPECT_EQ(lines_of(directory.path()).size(), 1u);
}

// As logrotate does it, with `create` and with `copytruncate`.
TEST(AuditTrail, WhatAnotherProgramRotatesIsOneTrail) {
    const TemporaryDirectory directory;
    const std::string file = directory.path() + "/audit.jsonl";
    write_some(directory.path(), 4);
    std::filesystem::rename(file, file + ".2");
    directory.write("audit.jsonl.1", "");
    directory.write("audit.jsonl", "");
    TrailOptions options;
    options.file_bytes_max = 600;
    Trail trail = open(directory.path(), options);
    EXPECT_EQ(trail.seq(), 4u);
    trail.write(denied(1));
    trail.tick(kBoot, kNoon);
    // Where it is gone already it is not rotated again, though the next record is too much for it.
    std::filesystem::remove(file + ".1");
    std::filesystem::rename(file, file + ".1");
    trail.write(denied(2));
    EXPECT_EQ(rotated_numbers(directory.path()), (std::vector<unsigned>{1, 2}));
    EXPECT_EQ(broken_at(directory.path()), "");
    trail.tick(kBoot + kSyncInterval, kNoon);
    std::filesystem::resize_file(file, 0);
    trail.write(denied(3));
    EXPECT_EQ(lines_of(directory.path()).size(), 1u);
    EXPECT_EQ(read_line(lines_of(directory.path())[0])->record.seq, 7u);
    EXPECT_EQ(rotated_numbers(directory.path()), (std::vector<unsigned>{1, 2}));
    EXPECT_EQ(trail.lost(), 0u);
}

TEST(AuditTrail, ALinkIsNotWrittenThrough) {
    const TemporaryDirectory directory;
    const std::string file = directory.path() + "/audit.jsonl";
    Trail trail = open(directory.path());
    trail.write(denied(1));
    trail.tick(kBoot, kNoon);
    std::filesystem::rename(file, directory.path() + "/real");
    std::filesystem::create_symlink("real", file);
    trail.write(denied(2));
    EXPECT_EQ(trail.lost(), 1u);
    EXPECT_NE(trail.failure().find("records are being lost: "), std::string::npos) << trail.failure();
    std::filesystem::rename(directory.path() + "/real", file);
    trail.write(denied(3));
    EXPECT_EQ(trail.failure(), "");
    EXPECT_EQ(lines_of(directory.path()).size(), 3u);
    EXPECT_EQ(broken_at(directory.path()), "");
}

TEST(AuditTrail, WhatIsNotSyncedIsNotLost) {
    const TemporaryDirectory directory;
    bool fails = true;
    TrailOptions options;
    options.before_step = [&](std::string_view step) { return fails && step == "fsync" ? EIO : 0; };
    Trail trail = open(directory.path(), options);
    trail.write(denied(1));
    trail.tick(kBoot, kNoon);
    EXPECT_NE(trail.failure().find("records may not be on the disk: "), std::string::npos) << trail.failure();
    EXPECT_EQ(trail.lost(), 0u);
    fails = false;
    trail.tick(kBoot + kSyncInterval, kNoon);
    EXPECT_EQ(trail.failure(), "");
    // Nor does it stay when there is nothing left that could be synced.
    fails = true;
    trail.write(denied(2));
    std::filesystem::remove(directory.path() + "/audit.jsonl");
    trail.tick(kBoot + 2 * kSyncInterval, kNoon);
    EXPECT_EQ(trail.failure(), "");
    EXPECT_FALSE(trail.deadline());
    // The head is where the next one looks for it.
    fails = false;
    trail.write(denied(3));
    std::filesystem::remove(directory.path() + "/audit.head");
    trail.tick(kBoot + 3 * kSyncInterval, kNoon);
    EXPECT_EQ((*read_head(directory.path()))->seq, 3u);
}

TEST(AuditTrail, WhatWasMissedBeforeItIsToldHoweverLate) {
    const TemporaryDirectory directory;
    bool fails = true;
    TrailOptions options;
    options.before_step = [&](std::string_view step) { return fails && step == "write" ? ENOSPC : 0; };
    Trail trail = open(directory.path(), options);
    trail.write(denied(1));
    trail.tell_missed(5, kNoon);
    fails = false;
    trail.tick(kBoot + kSyncInterval, kNoon);
    trail.tell_missed(2, kNoon);
    const auto records = records_of(directory.path());
    ASSERT_EQ(records.size(), 2u);
    EXPECT_EQ(records[0].suppressed, 6u);
    EXPECT_EQ(records[0].reason, "write-failed");
    EXPECT_EQ(records[1].suppressed, 2u);
    EXPECT_EQ(records[1].reason, "no-trail");
}

// With what makes it safe: nobody else writes there, and the head knows of its last record.
TEST(AuditTrail, ADirectoryThatSomebodyRemovedIsMadeAgain) {
    const TemporaryDirectory place;
    const std::string path = place.path() + "/audit";
    Trail trail = open(path);
    trail.write(denied(1));
    std::filesystem::remove_all(path);
    trail.tick(kBoot, kNoon);
    trail.write(denied(2));
    trail.tick(kBoot + kSyncInterval, kNoon);
    EXPECT_EQ(trail.lost(), 0u);
    EXPECT_EQ(lines_of(path).size(), 1u);
    EXPECT_EQ((*read_head(path))->seq, 2u);
    EXPECT_FALSE(Trail::open(path, {}, kNoon));
    std::filesystem::remove(path + "/audit.head");
    trail.write(denied(3));
    trail.tick(kBoot + 2 * kSyncInterval, kNoon);
    trail.write(denied(4));
    trail.tick(kBoot + 3 * kSyncInterval, kNoon);
    EXPECT_EQ((*read_head(path))->seq, 4u);
}

TEST(AuditTrail, NothingIsWrittenWhereAnotherHasTheLock) {
    const TemporaryDirectory place;
    const std::string path = place.path() + "/audit";
    Trail trail = open(path);
    trail.write(denied(1));
    std::filesystem::remove_all(path);
    {
        Trail other = open(path);
        other.write(denied(9));
        other.tick(kBoot, kNoon);
        const std::string head = read_file(path + "/audit.head");
        trail.tick(kBoot, kNoon);
        EXPECT_EQ(read_file(path + "/audit.head"), head);
        for (int i = 1; i <= 3; ++i) {
            trail.write(denied(2));
            trail.tick(kBoot + i * kSyncInterval, kNoon);
        }
        EXPECT_EQ(trail.lost(), 3u);
        EXPECT_EQ(lines_of(path).size(), 1u);
        EXPECT_EQ((*read_head(path))->seq, 1u);
    }
    EXPECT_EQ(broken_at(path), "");
}

TEST(AuditTrail, TheHeadFollowsEachSecond) {
    const TemporaryDirectory directory;
    int syncs = 0;
    TrailOptions options;
    options.before_step = [&](std::string_view step) {
        syncs += step == "fsync";
        return 0;
    };
    Trail trail = open(directory.path(), options);
    for (int i = 0; i <= 20; ++i) {
        trail.write(denied(1));
        trail.tick(kBoot + i * std::chrono::milliseconds(100), kNoon);
    }
    EXPECT_EQ(syncs, 3);
    EXPECT_EQ((*read_head(directory.path()))->seq, 21u);
}

}  // namespace
}  // namespace vern::audit
