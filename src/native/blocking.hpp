// How multiplies are cut and copied on this machine. Only speed depends on it, never a result.
#pragma once

#include <cstddef>

namespace chainrule {

// Bytes of one core's caches, and of what it shares with others; constants where the system does not say.
struct Caches {
    std::ptrdiff_t first, second, third;
};

const Caches& caches();

struct Blocking {
    std::ptrdiff_t strip;  // bytes of A's rows of one tile, which stay in the first-level cache
    std::ptrdiff_t panels; // bytes of B's panels, which stay in the second-level cache
    // (where A is copied, twice as much for a tile's rows and a panel together, and half as much for the copies)
    std::ptrdiff_t reuse;  // rows of A from which B is copied, although it can be read well in place
};

// What follows from the caches.
Blocking default_blocking();

// What multiplies are planned with from now on; those that exist stay as they are.
Blocking blocking();
void set_blocking(const Blocking& wanted);

} // namespace chainrule
