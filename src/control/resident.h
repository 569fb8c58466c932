// What starting took and running does not need goes back to the system.
#pragma once

namespace vern {

// Drops the pages of code and constants that are resident by now, of the program and its libraries: they are
// the files' own, unchanged, and the few that are used come back by themselves. Frees what the heap holds in
// reserve. Once, when all is up: halves the idle daemon's RSS.
void release_startup_memory() noexcept;

}  // namespace vern
