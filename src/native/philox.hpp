// Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): uniform numbers as a pure
// function of (seed, stream, counter), the same that the operation `uniform` documents.
#pragma once

#include <cstddef>
#include <cstdint>

namespace chainrule {

// Numbers first … first + n - 1 of a draw, in [0, 1): any part of it alone, so that threads may share one draw.
void uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter, std::ptrdiff_t first, std::ptrdiff_t n,
             float* out);
void uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter, std::ptrdiff_t first, std::ptrdiff_t n,
             double* out);

} // namespace chainrule
