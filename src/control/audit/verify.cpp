#include "control/audit/verify.h"

#include <fmt/format.h>
#include <poll.h>

namespace vern::audit {
namespace {

// A line that is being written may be seen before its end is there.
constexpr int kLineWait_ms = 20;
constexpr int kLineWaits = 10;

Result<std::optional<LineReader::Line>> next_line(LineReader& reader, bool grows) {
    for (int i = 0;; ++i) {
        auto line = reader.next();
        if (!line || *line || !reader.torn() || !grows || i == kLineWaits) return line;
        ::poll(nullptr, 0, kLineWait_ms);
    }
}

}  // namespace

Result<Verification> verify(const std::string& directory) {
    // Before the files are looked for: they have come at least as far.
    auto head = read_head(directory);
    if (!head && head.error().code != EBADMSG) return tl::unexpected(head.error());
    const auto files = open_trail(directory);
    if (!files) return tl::unexpected(files.error());
    Verifier verifier(head ? std::move(*head) : std::nullopt);
    bool intact = true;
    for (std::size_t i = 0; intact && i < files->size(); ++i) {
        verifier.begin_file((*files)[i].name);
        LineReader reader((*files)[i].fd.get());
        while (intact) {
            const auto line = next_line(reader, i + 1 == files->size());
            if (!line) return tl::unexpected(line.error());
            if (!*line) break;
            intact = verifier.line(**line);
        }
        if (intact && reader.torn()) intact = verifier.torn_line();
    }
    Verification result = verifier.finish();
    if (!head && !result.broken) {
        Broken& broken = result.broken.emplace();
        broken.at = {std::string(kHeadName), 1};
        broken.what = head.error().message;
    }
    return result;
}

bool Verifier::broken(Place at, std::string what) {
    result_.broken = Broken{std::move(at), std::move(what)};
    return false;
}

void Verifier::warn(std::string what) {
    if (result_.warnings.size() == kWarningsMax)
        ++result_.more_warnings;
    else
        result_.warnings.push_back({at_, std::move(what)});
}

void Verifier::begin_file(std::string name) { at_ = {std::move(name), 0}; }

bool Verifier::torn_line() {
    ++at_.line;
    if (doubt_) return settle(false);
    return broken(at_, "the line has no end");
}

bool Verifier::settle(bool later_is_intact) {
    Doubt doubt = std::move(*doubt_);
    doubt_.reset();
    if (later_is_intact)
        return broken(doubt.before, "not as it was written: the next line has another hash of it");
    return broken(doubt.after, "it does not have the hash of the line before");
}

bool Verifier::line(const LineReader::Line& line) {
    ++at_.line;
    const auto read = line.too_long ? fail("longer than a record can be") : read_line(line.text);
    if (doubt_) return settle(read && read->prev == doubt_->hash);
    if (!read) return broken(at_, "no record: " + read.error().message);
    const std::string hash = hash_of(line.text);
    if (!follows(*read, hash)) return false;
    if (doubt_) return true;  // until the next line
    if (!agrees_with_head(*read, hash)) return false;
    if (result_.records++ == 0) {
        result_.first_seq = read->record.seq;
        result_.first_time = read->record.time;
    } else if (read->record.time < result_.last_time) {
        warn(fmt::format("the clock was set back: {} comes after {}", time_text(read->record.time),
                         time_text(result_.last_time)));
    }
    result_.last_seq = read->record.seq;
    result_.last_time = read->record.time;
    result_.last_hash = hash;
    before_ = at_;
    return true;
}

bool Verifier::follows(const ReadRecord& read, const std::string& hash) {
    const std::uint64_t seq = read.record.seq;
    if (result_.records == 0) {
        if (seq == 1 && read.prev != no_hash())
            return broken(at_, "the first record has a hash of one before it");
        return true;
    }
    if (seq != result_.last_seq + 1)
        return broken(at_, fmt::format("record {} comes after record {}", seq, result_.last_seq));
    if (read.prev != result_.last_hash) doubt_ = Doubt{before_, at_, hash};
    return true;
}

bool Verifier::agrees_with_head(const ReadRecord& read, const std::string& hash) {
    if (!head_ || head_->seq != read.record.seq || head_->hash == hash) return true;
    return broken(at_, fmt::format("not as it was written: {} has another hash of it", kHeadName));
}

Verification Verifier::finish() {
    if (result_.broken) return std::move(result_);
    if (doubt_) {
        (void)settle(head_ && head_->hash == doubt_->hash);
    } else if (head_ && head_->seq > result_.last_seq) {
        (void)broken(at_, fmt::format("the trail ends with record {}, and {} were written", result_.last_seq,
                                      head_->seq));
    }
    if (!head_) warn(fmt::format("there is no {}: the last record may have been changed", kHeadName));
    return std::move(result_);
}

}  // namespace vern::audit
