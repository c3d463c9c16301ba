#include "multiply_rate.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels.hpp"

namespace chainrule {

template <class T>
double multiply_rate() {
    constexpr std::ptrdiff_t kDepth = 128;
    constexpr int kRuns = 60, kTilesOfRun = 100;
    const auto& g = [] {
        if constexpr (sizeof(T) == sizeof(float)) return kernels().gemm_f32;
        else return kernels().gemm_f64;
    }();
    const std::ptrdiff_t panel = 2 * g.width;
    const auto count = static_cast<std::size_t>(kDepth * panel);
    std::vector<T> a(static_cast<std::size_t>(g.rows * kDepth), T(1)), b(count, T(1)), c(count);
    const Tile<T> tile = {kDepth, a.data(), g.rows, b.data(), panel, c.data(), panel, g.width, false};
    double best = 0;
    for (int run = 0; run < kRuns; ++run) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < kTilesOfRun; ++i) g.by_columns[1][g.rows](tile);
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        best = std::max(best, 2.0 * kTilesOfRun * static_cast<double>(kDepth * panel * g.rows) / taken.count());
    }
    return best;
}

template double multiply_rate<float>();
template double multiply_rate<double>();

} // namespace chainrule
