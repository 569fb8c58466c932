#include "control/resident.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace vern {
namespace {

// Only segments that were never writable: relocations and RELRO live in the others, and would be lost.
int drop_unwritable(dl_phdr_info* object, std::size_t, void*) noexcept {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
        const auto& segment = object->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
        const std::uintptr_t begin = (object->dlpi_addr + segment.p_vaddr) / page * page;
        const std::uintptr_t end = object->dlpi_addr + segment.p_vaddr + segment.p_memsz;
        ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }
    return 0;
}

}  // namespace

void release_startup_memory() noexcept {
    ::malloc_trim(0);
    ::dl_iterate_phdr(drop_unwritable, nullptr);
}

int Settling::timeout(int otherwise) const noexcept {
    if (settled_ || !touched_) return otherwise;
    return otherwise < 0 ? kQuiet : std::min(otherwise, kQuiet);
}

void Settling::after_poll(bool events) noexcept {
    if (settled_) return;
    if (events) {
        touched_ = Clock::now();
    } else if (touched_ && Clock::now() - *touched_ >= std::chrono::milliseconds(kQuiet)) {
        release_startup_memory();
        settled_ = true;
    }
}

}  // namespace vern
