#include "philox.hpp"

#include "kernels.hpp"

namespace chainrule {

void uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter, std::ptrdiff_t first, std::ptrdiff_t n,
             float* out) {
    kernels().common.uniform_f32(seed, stream, counter, first, n, out);
}

void uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter, std::ptrdiff_t first, std::ptrdiff_t n,
             double* out) {
    kernels().common.uniform_f64(seed, stream, counter, first, n, out);
}

} // namespace chainrule
