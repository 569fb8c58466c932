// libFuzzer: trails. Whatever the bytes are, they are verified in bounded memory and every form of a record
// is made of what is one; what is found intact is a chain; a record that was read is written as one that is
// read the same.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "control/audit/export.h"
#include "control/audit/journal.h"
#include "control/audit/verify.h"
#include "control/json.h"

namespace {

using namespace vern;
using namespace vern::audit;

void require(bool held) {
    if (!held) std::abort();
}

int file_of(const unsigned char* data, std::size_t size) {
    const int fd = ::memfd_create("trail", MFD_CLOEXEC);
    require(fd >= 0 && ::pwrite(fd, data, size, 0) == static_cast<ssize_t>(size));
    return fd;
}

void check_record(std::string_view line) {
    const auto read = read_line(line);
    if (!read) return;
    const std::string again = line_of(read->record, read->prev);
    const auto twice = read_line(again);
    require(twice && twice->prev == read->prev && again.size() <= kLineBytesMax);
    // What was cut to its field's length stays as it is.
    require(line_of(twice->record, twice->prev) == again);
    require(text_of(Format::csv, read->record, line).ends_with('\n'));
    require(nlohmann::json::accept(text_of(Format::ecs, read->record, line)));
    require(journal_entry(read->record, "").starts_with("MESSAGE="));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const Fd fd(file_of(data, size));
    LineReader reader(fd.get());
    Verifier verifier(std::nullopt);
    verifier.begin_file("f");
    std::string hash;
    std::uint64_t lines = 0, chained = 0;
    bool intact = true;
    while (true) {
        const auto line = reader.next();
        require(line.has_value());
        if (!*line) break;
        require((*line)->text.size() <= kLineBytesMax + 1);
        check_record((*line)->text);
        if (intact) intact = verifier.line(**line);
        ++lines;
        const auto read = read_line((*line)->text);
        if (read && (lines == 1 || read->prev == hash)) ++chained;
        hash = hash_of((*line)->text);
    }
    if (intact && reader.torn()) intact = verifier.torn_line();
    const Verification result = verifier.finish();
    if (!result.broken) require(result.records == lines && chained == lines && !reader.torn());
    return 0;
}
