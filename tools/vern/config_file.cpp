#include "config_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <memory>

#include "command.h"
#include "control/files.h"
#include "control/text.h"
#include "dataplane/io/fd.h"

namespace vern::cli {
namespace {

constexpr std::string_view kSuffix = ".conf";
constexpr std::array<std::string_view, 2> kDirectories{"/etc/wireguard", "/etc/vern"};

std::string directory_of(const std::string& path) {
    return path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
}

// Others can reach a file only through a directory that lets them.
bool world_accessible(const std::string& path) {
    struct stat file {
    }, directory{};
    return ::stat(path.c_str(), &file) == 0 && ::stat(directory_of(path).c_str(), &directory) == 0 &&
           (file.st_mode & directory.st_mode & S_IRWXO) != 0;
}

// "wg0.conf" is a file here, though an interface might be called so.
bool is_name(std::string_view operand) { return is_interface_name(operand) && !operand.ends_with(kSuffix); }

Result<std::string> find_by_name(std::string_view name) {
    for (const std::string_view directory : kDirectories) {
        const std::string path = fmt::format("{}/{}{}", directory, name, kSuffix);
        if (::access(path.c_str(), F_OK) == 0) return path;
    }
    return fail(
        fmt::format("no {0}/{2}{3} and no {1}/{2}{3}", kDirectories[0], kDirectories[1], name, kSuffix),
        ENOENT);
}

Result<void> read_into(ConfigFile& file) {
    const Fd fd(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno(file.shown, errno);
    const auto text = read_all<SecretText>(fd.get(), kWgConfigBytesMax, file.shown);
    if (!text) return tl::unexpected(text.error());
    auto config = parse_wg_config(*text, file.shown);
    if (!config) return tl::unexpected(config.error());
    for (const std::string& warning : config->warnings) say(fmt::format("Warning: {}\n", warning));
    file.config = std::move(*config);
    return {};
}

}  // namespace

Result<ConfigFile> locate_config(std::string_view operand) {
    ConfigFile file;
    std::string path(operand);
    if (is_name(operand)) {
        auto found = find_by_name(operand);
        if (!found) return tl::unexpected(found.error());
        path = *found;
    }
    const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr), &::free);
    if (!resolved) return fail_errno(path, errno);
    // The name is that of the file as given: a link may name the interface.
    std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
    const bool suffixed = name.ends_with(kSuffix);
    if (suffixed) name.remove_suffix(kSuffix.size());
    if (!suffixed || !is_interface_name(name)) {
        return fail(
            path +
            ": must be named after its interface, up to 15 of [a-zA-Z0-9_=+.-], not beginning with -, "
            "and end in .conf");
    }
    file.interface = name;
    file.shown = path;
    file.path = resolved.get();
    return file;
}

Result<ConfigFile> load_config(std::string_view operand) {
    auto file = locate_config(operand);
    if (!file) return file;
    if (auto read = read_into(*file); !read) return tl::unexpected(read.error());
    if (world_accessible(file->path)) say(fmt::format("Warning: `{}' is world accessible\n", file->shown));
    return file;
}

Result<ConfigFile> read_config(std::string_view operand) {
    ConfigFile file;
    const bool standard_input = operand == "-";
    file.path = standard_input ? "/dev/stdin" : std::string(operand);
    file.shown = standard_input ? "standard input" : std::string(operand);
    if (!standard_input && is_name(operand) && ::access(file.path.c_str(), F_OK) != 0)
        return load_config(operand);
    if (auto read = read_into(file); !read) return tl::unexpected(read.error());
    return file;
}

Result<void> replace_file(const std::string& path, std::string_view text) {
    std::string temporary = path + ".XXXXXX";
    const Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));  // mode 0600
    if (!fd) return fail_errno("cannot make a file beside " + path, errno);
    auto written = write_all(fd.get(), text, temporary);
    if (written && ::fsync(fd.get()) != 0) written = fail_errno("fsync " + temporary, errno);
    if (written && ::rename(temporary.c_str(), path.c_str()) != 0)
        written = fail_errno("rename to " + path, errno);
    if (!written) {
        ::unlink(temporary.c_str());
        return written;
    }
    // The new name is on disk when the directory is. Where that cannot be asked for, the file is whole all
    // the same.
    const Fd directory(::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory) ::fsync(directory.get());
    return {};
}

}  // namespace vern::cli
