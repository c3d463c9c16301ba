// Measures the core library: bench_core [gemm|functions|team] [threads].
//
// The rate of fused multiply-adds that the machine reaches is measured before and after, as it may share its
// processors: rates mean little without it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "gemm.hpp"
#include "kernels.hpp"
#include "multiply_rate.hpp"
#include "philox.hpp"
#include "team.hpp"

using namespace chainrule;

namespace {

using Clock = std::chrono::steady_clock;

double now() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

// The median of the seconds of one call, over samples of about 2 ms each.
template <class F>
double seconds(F f) {
    f();
    double start = now();
    f();
    const double once = std::max(now() - start, 1e-8);
    const int repeat = static_cast<int>(std::max(1.0, 2e-3 / once));
    std::vector<double> samples;
    for (int i = 0; i < 15; ++i) {
        start = now();
        for (int j = 0; j < repeat; ++j) f();
        samples.push_back((now() - start) / repeat);
    }
    std::nth_element(samples.begin(), samples.begin() + 7, samples.end());
    return samples[7];
}

struct Free {
    void operator()(void* p) const { std::free(p); }
};

template <class T>
std::unique_ptr<T[], Free> values(std::ptrdiff_t n) {
    const std::size_t bytes = (static_cast<std::size_t>(n) * sizeof(T) + 127) / 64 * 64;
    std::unique_ptr<T[], Free> x(static_cast<T*>(std::aligned_alloc(64, bytes)));
    uniform(1, 2, 3, 0, n, x.get());
    return x;
}

template <class T>
void gemm(const char* type, Team& team) {
    const std::ptrdiff_t shapes[][3] = {
        {32, 64, 32},    {32, 32, 10},     {128, 784, 128}, {128, 128, 10}, {256, 784, 512},
        {256, 512, 512}, {256, 1024, 512}, {10000, 4, 32},  {10000, 16, 4}, {1024, 1024, 1024},
    };
    std::printf("%s, %s, %d threads, GFLOP/s; peak of one thread %.1f\n", type, kernels().name, team.size(), multiply_rate<T>() * 1e-9);
    std::printf("  batch x in x out      X W       XT dZ     dZ WT\n");
    for (const auto& [batch, in, out] : shapes) {
        const auto x = values<T>(batch * in), w = values<T>(in * out), z = values<T>(batch * out);
        const Gemm<T> forward(batch, out, in, {in, 1}, {out, 1}, out), weights(in, out, batch, {1, in}, {out, 1}, out),
            inputs(batch, in, out, {out, 1}, {1, out}, in);
        const std::size_t most = std::max({forward.workspace(), weights.workspace(), inputs.workspace()});
        std::unique_ptr<void, Free> workspace(std::aligned_alloc(64, most * static_cast<std::size_t>(team.size())));
        const auto rate = [&](const Gemm<T>& g, const T* a, const T* b, T* c) {
            return g.flops() / seconds([&] { g.run(a, b, c, false, {}, workspace.get(), team); }) * 1e-9;
        };
        const double xw = rate(forward, x.get(), w.get(), z.get()), xz = rate(weights, x.get(), z.get(), w.get()),
                     zw = rate(inputs, z.get(), w.get(), x.get());
        std::printf("  %5td x %4td x %4td  %8.1f  %8.1f  %8.1f\n", batch, in, out, xw, xz, zw);
    }
    std::printf("  peak of one thread %.1f\n", multiply_rate<T>() * 1e-9);
}

#define NAME(name) #name,
template <class T>
void functions(const char* type, const VecKernels<T>& k) {
    const std::ptrdiff_t n = 2048;
    const auto x = values<T>(n), y = values<T>(n), out = values<T>(n);
    std::printf("%s, %s, ns/element over %td elements\n", type, kernels().name, n);
    for (const char* name : {CHAINRULE_UNARY(NAME)}) {
        const auto run = k.unary[find_unary(name)];
        std::printf("  %-12s %7.3f\n", name, seconds([&] { run(n, x.get(), out.get()); }) / n * 1e9);
    }
    for (const char* name : {CHAINRULE_BINARY(NAME)}) {
        const auto run = k.binary[find_binary(name)];
        std::printf("  %-12s %7.3f\n", name, seconds([&] { run(n, x.get(), 1, y.get(), 1, out.get()); }) / n * 1e9);
    }
    volatile T total = 0;
    std::printf("  %-12s %7.3f\n", "sum", seconds([&] { total = k.sum(n, x.get()); }) / n * 1e9);
    std::printf("  %-12s %7.3f\n", "max", seconds([&] { total = k.maximum(n, x.get()); }) / n * 1e9);
    std::printf("  %-12s %7.3f\n", "sum_columns",
                seconds([&] { k.sum_columns(32, 64, x.get(), 64, false, out.get()); }) / n * 1e9);
    std::printf("  %-12s %7.3f\n", "sum_rows", seconds([&] { k.sum_rows(32, 64, x.get(), 64, out.get()); }) / n * 1e9);
    std::printf("  %-12s %7.3f\n", "uniform", seconds([&] { uniform(1, 2, 3, 0, n, out.get()); }) / n * 1e9);
}

void wake(Team& team) {
    std::printf("team of %d, microseconds from run() to all parts done, each part busy for as long as given\n",
                team.size());
    for (const int idle : {0, 5, 20, 1000}) {
        for (const double busy : {0.0, 2e-6, 10e-6}) {
            std::vector<double> samples;
            for (int i = 0; i < 300; ++i) {
                for (const double until = now() + idle * 1e-6; now() < until;) {
                }
                const double start = now();
                team.run(team.size(), [&](int, int) {
                    for (const double until = now() + busy; now() < until;) {
                    }
                });
                samples.push_back(now() - start);
            }
            std::sort(samples.begin(), samples.end());
            std::printf("  %4d us idle before, %4.0f us of work: median %.2f, 90 %% %.2f\n", idle, busy * 1e6,
                        samples[150] * 1e6, samples[270] * 1e6);
        }
    }
}

} // namespace

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "all";
    Team team(argc > 2 ? std::atoi(argv[2]) : 1);
    const auto wanted = [&](const char* name) { return std::strcmp(what, "all") == 0 || std::strcmp(what, name) == 0; };
    if (wanted("gemm")) gemm<float>("float", team), gemm<double>("double", team);
    if (wanted("functions")) functions("float", kernels().vec_f32), functions("double", kernels().vec_f64);
    if (wanted("team")) wake(team);
    return 0;
}
