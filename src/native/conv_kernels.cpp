// Register tiles of convolutions, for one instruction set.
#include "isa.hpp"
#include "isa_tables.hpp"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Rows of the largest tile of `gather` with one, two and three vectors across: as for a multiply's, and an address for
// each row has to fit in the registers, too.
#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int kGatherRows[] = {10, 10, 8};
#elif defined(__AVX2__)
constexpr int kGatherRows[] = {8, 6, 4};
#else
constexpr int kGatherRows[] = {8, 4, 2};
#endif
static_assert(kGatherRows[0] <= kGatherRowsMax);

// Sums of `dots`: all of them, a vector of each filter and one of a tap have to fit in the registers.
#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int kDotFilters = 4, kDotTaps = 6;
#else
constexpr int kDotFilters = 3, kDotTaps = 3;
#endif
static_assert(kDotFilters <= kDotFiltersMax && kDotTaps <= kDotTapsMax);

// Each element of C is the chain of fused multiply-adds over k in order, whatever the tile's size.
template <class T, int R, int N>
void gather(const Gather<T>& t) {
    constexpr int W = kWidth<T>;
    const bool whole = t.last == W;
    const T* a[R];
    Vec<T> sum[R][N];
    for (int i = 0; i < R; ++i) {
        a[i] = t.a + t.rows[i];
        for (int j = 0; j < N; ++j) {
            const T* from = t.c + i * t.c_stride + j * W;
            if (!t.add) sum[i][j] = Vec<T>{};
            else sum[i][j] = j + 1 < N || whole ? load(from) : load_partial(from, t.last);
        }
    }
    const T* b = t.b;
    for (std::ptrdiff_t p = 0; p < t.k; ++p, b += N * W) {
        const std::ptrdiff_t at = t.depth[p];
        Vec<T> right[N];
        for (int j = 0; j < N; ++j) right[j] = load(b + j * W);
#pragma GCC unroll 10
        for (int i = 0; i < R; ++i) {
            const Vec<T> left = splat(a[i][at]);
            for (int j = 0; j < N; ++j) sum[i][j] = fma(left, right[j], sum[i][j]);
        }
    }
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < N; ++j) {
            T* const to = t.c + i * t.c_stride + j * W;
            if (j + 1 < N || whole) store(to, sum[i][j]);
            else store_partial(to, sum[i][j], t.last);
        }
}

template <class T, int R, int N>
void dots(const Dots<T>& d) {
    constexpr int W = kWidth<T>;
    Vec<T> sum[R][N];
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < N; ++j) sum[i][j] = Vec<T>{};
    const T* b[N];
    for (int j = 0; j < N; ++j) b[j] = d.b + d.taps[j];
    const T* a = d.a;
    for (std::ptrdiff_t row = 0; row < d.rows; ++row, a += d.a_row) {
        Vec<T> left[R];
        std::ptrdiff_t q = 0;
        for (; q + W <= d.run; q += W) {
#pragma GCC unroll 4
            for (int i = 0; i < R; ++i) left[i] = load(a + i * d.a_next + q);
#pragma GCC unroll 6
            for (int j = 0; j < N; ++j) {
                const Vec<T> right = load(b[j] + q);
#pragma GCC unroll 4
                for (int i = 0; i < R; ++i) sum[i][j] = fma(left[i], right, sum[i][j]);
            }
        }
        if (q < d.run) {
            const int rest = static_cast<int>(d.run - q);
            for (int i = 0; i < R; ++i) left[i] = load_partial(a + i * d.a_next + q, rest);
            for (int j = 0; j < N; ++j) {
                const Vec<T> right = load_partial(b[j] + q, rest);
                for (int i = 0; i < R; ++i) sum[i][j] = fma(left[i], right, sum[i][j]);
            }
        }
        for (int j = 0; j < N; ++j) b[j] += d.b_row;
    }
#pragma GCC unroll 6
    for (int j = 0; j < N; ++j)
#pragma GCC unroll 4
        for (int i = 0; i < R; ++i) d.c[j * d.c_tap + i] += sum_lanes(sum[i][j]);
}

template <class T, int R, int N>
void fill_dots(ConvKernels<T>& g) {
    g.dots[R][N] = dots<T, R, N>;
    if constexpr (N > 1) fill_dots<T, R, N - 1>(g);
    else if constexpr (R > 1) fill_dots<T, R - 1, kDotTaps>(g);
}

template <class T, int N, int R>
void fill_gather(ConvKernels<T>& g) {
    g.gather[N - 1][R] = gather<T, R, N>;
    if constexpr (R > 1) fill_gather<T, N, R - 1>(g);
}

template <class T>
ConvKernels<T> table() {
    ConvKernels<T> g = {};
    for (int n = 0; n < kGatherAcross; ++n) g.gather_rows[n] = kGatherRows[n];
    fill_gather<T, 1, kGatherRows[0]>(g);
    fill_gather<T, 2, kGatherRows[1]>(g);
    fill_gather<T, 3, kGatherRows[2]>(g);
    g.dot_filters = kDotFilters;
    g.dot_taps = kDotTaps;
    fill_dots<T, kDotFilters, kDotTaps>(g);
    return g;
}

} // namespace

void fill_convolutions(Kernels& k) {
    k.conv_f32 = table<float>();
    k.conv_f64 = table<double>();
}

} // namespace chainrule::CHAINRULE_ISA
