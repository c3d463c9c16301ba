// Sums, maxima and minima, for one instruction set.
//
// Sums halve the array down to blocks and add a block in lanes, so that rounding errors grow with the logarithm of the
// length and the order of additions depends on the length alone.
#include "isa.hpp"
#include "isa_tables.hpp"

namespace chainrule::CHAINRULE_ISA {
namespace {

constexpr std::ptrdiff_t kBlock = 1024;
constexpr std::ptrdiff_t kRowsAtOnce = 128;

template <class T>
T sum_block(std::ptrdiff_t n, const T* x) {
    constexpr int W = kWidth<T>;
    Vec<T> s[4] = {};
    std::ptrdiff_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W)
        for (int j = 0; j < 4; ++j) s[j] += load(x + i + j * W);
    for (; i + W <= n; i += W) s[0] += load(x + i);
    if (i < n) s[1] += load_partial(x + i, static_cast<int>(n - i));
    return sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

template <class T>
T sum(std::ptrdiff_t n, const T* x) {
    if (n <= kBlock) return sum_block(n, x);
    const std::ptrdiff_t half = (n / 2 + kBlock - 1) / kBlock * kBlock;
    return sum(half, x) + sum(n - half, x + half);
}

template <bool Max, class T>
[[gnu::always_inline]] inline Vec<T> better(Vec<T> a, Vec<T> b) {
    const Mask<T> first = (Max ? a >= b : a <= b) | (a != a);
    return first ? a : b;
}

// The last vector lies over the one before.
template <bool Max, class T>
T extreme(std::ptrdiff_t n, const T* x) {
    constexpr int W = kWidth<T>;
    if (n < W) {
        T best = x[0];
        for (std::ptrdiff_t i = 1; i < n; ++i) best = (Max ? best >= x[i] : best <= x[i]) || best != best ? best : x[i];
        return best;
    }
    Vec<T> m[4];
    for (int j = 0; j < 4; ++j) m[j] = load(x + n - W);
    std::ptrdiff_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W)
        for (int j = 0; j < 4; ++j) m[j] = better<Max, T>(m[j], load(x + i + j * W));
    for (; i + W <= n; i += W) m[0] = better<Max, T>(m[0], load(x + i));
    Vec<T> best = better<Max, T>(better<Max, T>(m[0], m[1]), better<Max, T>(m[2], m[3]));
    for (int left = W; left > 1; left /= 2) best = better<Max, T>(evens(best, best), odds(best, best));
    return best[0];
}

template <class T>
void sum_rows(std::ptrdiff_t rows, std::ptrdiff_t columns, const T* x, std::ptrdiff_t stride, T* out) {
    for (std::ptrdiff_t i = 0; i < rows; ++i) out[i] = sum(columns, x + i * stride);
}

// Sums of some columns over all rows, N vectors across, `rest` columns in the last.
template <class T, int N>
void add_up_columns(std::ptrdiff_t rows, const T* x, std::ptrdiff_t stride, bool add, T* out, int rest) {
    constexpr int W = kWidth<T>;
    const bool whole = rest == W;
    Vec<T> total[N] = {};
    for (std::ptrdiff_t start = 0; start < rows; start += kRowsAtOnce) {
        const std::ptrdiff_t end = start + kRowsAtOnce < rows ? start + kRowsAtOnce : rows;
        Vec<T> s[N] = {};
        for (std::ptrdiff_t i = start; i < end; ++i) {
            const T* row = x + i * stride;
            for (int j = 0; j < N; ++j)
                s[j] += j + 1 < N || whole ? load(row + j * W) : load_partial(row + j * W, rest);
        }
        for (int j = 0; j < N; ++j) total[j] += s[j];
    }
    for (int j = 0; j < N; ++j) {
        T* to = out + j * W;
        if (j + 1 < N || whole) store(to, add ? load(to) + total[j] : total[j]);
        else store_partial(to, add ? load_partial(to, rest) + total[j] : total[j], rest);
    }
}

template <class T>
void sum_columns(std::ptrdiff_t rows, std::ptrdiff_t columns, const T* x, std::ptrdiff_t stride, bool add, T* out) {
    constexpr int W = kWidth<T>;
    std::ptrdiff_t j = 0;
    for (; j + 8 * W <= columns; j += 8 * W) add_up_columns<T, 8>(rows, x + j, stride, add, out + j, W);
    for (; j + 2 * W <= columns; j += 2 * W) add_up_columns<T, 2>(rows, x + j, stride, add, out + j, W);
    for (; j + W <= columns; j += W) add_up_columns<T, 1>(rows, x + j, stride, add, out + j, W);
    if (j < columns) add_up_columns<T, 1>(rows, x + j, stride, add, out + j, static_cast<int>(columns - j));
}

// The windows' elements at one tap, side by side. Step is the stride where it is known.
template <class T, int Step>
[[gnu::always_inline]] inline void take(std::ptrdiff_t n, const T* __restrict x, std::ptrdiff_t stride, std::int32_t tap, T* __restrict best,
                                        std::int32_t* __restrict at) {
    if (at == nullptr) {
        for (std::ptrdiff_t q = 0; q < n; ++q) {
            const T v = x[q * (Step > 0 ? Step : stride)], b = best[q];
            best[q] = (v > b) | (v != v) ? v : b;
        }
        return;
    }
    for (std::ptrdiff_t q = 0; q < n; ++q) {
        const T v = x[q * (Step > 0 ? Step : stride)], b = best[q];
        const bool better = (v > b) | ((v != v) & (b == b)) | (at[q] < 0);
        best[q] = better ? v : b;
        at[q] = better ? tap : at[q];
    }
}

CHAINRULE_INLINE std::ptrdiff_t element(const PoolAxis& axis, std::ptrdiff_t window, std::ptrdiff_t tap) {
    return window * axis.stride + tap * axis.dilation - axis.before;
}

template <class T>
void pool_row(const PoolAxis& rows, const PoolAxis& columns, std::ptrdiff_t row, const T* x, T* best, std::int32_t* at) {
    for (std::ptrdiff_t q = 0; q < columns.out; ++q) best[q] = -static_cast<T>(__builtin_inf());
    for (std::ptrdiff_t q = 0; at != nullptr && q < columns.out; ++q) at[q] = -1;
    for (std::ptrdiff_t k = 0; k < rows.size; ++k) {
        const std::ptrdiff_t h = element(rows, row, k);
        if (h < 0 || h >= rows.in) continue;
        for (std::ptrdiff_t l = 0; l < columns.size; ++l) {
            std::ptrdiff_t first = 0, last = columns.out;
            while (first < last && element(columns, first, l) < 0) ++first;
            while (last > first && element(columns, last - 1, l) >= columns.in) --last;
            const T* const from = x + h * columns.in + element(columns, first, l);
            const auto tap = static_cast<std::int32_t>(k * columns.size + l);
            std::int32_t* const taps = at == nullptr ? nullptr : at + first;
            if (columns.stride == 2) take<T, 2>(last - first, from, 2, tap, best + first, taps);
            else if (columns.stride == 1) take<T, 1>(last - first, from, 1, tap, best + first, taps);
            else take<T, 0>(last - first, from, columns.stride, tap, best + first, taps);
        }
    }
}

// Pairs of adjacent elements: their first ones and their second ones.
template <class T>
struct Pairs {
    Vec<T> first, second;
};

// n of them, at most as many as a vector has elements; zeros are the others.
template <class T>
[[gnu::always_inline]] inline Pairs<T> load_pairs(const T* x, int n) {
    constexpr int W = kWidth<T>;
    const Vec<T> a = 2 * n >= W ? load(x) : load_partial(x, 2 * n);
    const Vec<T> b = n == W ? load(x + W) : 2 * n > W ? load_partial(x + W, 2 * n - W) : Vec<T>{};
    return {evens(a, b), odds(a, b)};
}

template <class T>
[[gnu::always_inline]] inline void store_pairs(T* to, Pairs<T> p, int n) {
    constexpr int W = kWidth<T>;
    const Vec<T> a = lower_pairs(p.first, p.second), b = upper_pairs(p.first, p.second);
    if (n == W) return store(to, a), store(to + W, b);
    store_partial(to, a, 2 * n < W ? 2 * n : W);
    if (2 * n > W) store_partial(to + W, b, 2 * n - W);
}

// Whether v takes the place of the largest element so far: NaN is beyond all, and the first of equals stays.
template <class T>
[[gnu::always_inline]] inline Mask<T> beyond(Vec<T> v, Vec<T> best) {
    return (v > best) | ((v != v) & (best == best));
}

// Of windows of two by two, which element is the largest: in each row whether the second, and whether in the lower row.
template <class T>
struct Chosen {
    Pairs<T> upper, lower;
    Mask<T> second, fourth, below;
};

template <class T>
[[gnu::always_inline]] inline Vec<T> chosen(const Chosen<T>& c, Pairs<T> upper, Pairs<T> lower) {
    const Vec<T> top = c.second ? upper.second : upper.first, bottom = c.fourth ? lower.second : lower.first;
    return c.below ? bottom : top;
}

template <class T>
[[gnu::always_inline]] inline Chosen<T> choose(int n, const T* a, const T* b) {
    Chosen<T> c = {load_pairs(a, n), load_pairs(b, n), {}, {}, {}};
    c.second = beyond<T>(c.upper.second, c.upper.first), c.fourth = beyond<T>(c.lower.second, c.lower.first);
    c.below = beyond<T>(c.fourth ? c.lower.second : c.lower.first, c.second ? c.upper.second : c.upper.first);
    return c;
}

template <class T>
[[gnu::always_inline]] inline void pool_some(int n, const T* a, const T* b, const T* like_a, const T* like_b, T* out) {
    const Chosen<T> c = choose(n, a, b);
    const Vec<T> best = like_a == a ? chosen<T>(c, c.upper, c.lower) : chosen<T>(c, load_pairs(like_a, n), load_pairs(like_b, n));
    if (n == kWidth<T>) store(out, best);
    else store_partial(out, best, n);
}

template <class T>
[[gnu::always_inline]] inline void unpool_some(int n, const T* a, const T* b, const T* g, T* to_a, T* to_b) {
    const Chosen<T> c = choose(n, a, b);
    const Vec<T> none = {}, sum = (n == kWidth<T> ? load(g) : load_partial(g, n)) + none; // 0 rather than -0
    const Vec<T> up = c.below ? none : sum, down = c.below ? sum : none;
    store_pairs<T>(to_a, {c.second ? none : up, c.second ? up : none}, n);
    store_pairs<T>(to_b, {c.fourth ? none : down, c.fourth ? down : none}, n);
}

// The last vector of a row lies over the one before, where the row has that many.
template <class T>
void pool_pairs(std::ptrdiff_t n, const T* a, const T* b, const T* like_a, const T* like_b, T* out) {
    constexpr int W = kWidth<T>;
    if (n < W) return n > 0 ? pool_some(static_cast<int>(n), a, b, like_a, like_b, out) : void();
    std::ptrdiff_t q = 0;
    const auto some = [&] { pool_some(W, a + 2 * q, b + 2 * q, like_a + 2 * q, like_b + 2 * q, out + q); };
    for (; q + W <= n; q += W) some();
    if (q < n) q = n - W, some();
}

template <class T>
void unpool_pairs(std::ptrdiff_t n, const T* a, const T* b, const T* g, T* to_a, T* to_b) {
    constexpr int W = kWidth<T>;
    if (n < W) return n > 0 ? unpool_some(static_cast<int>(n), a, b, g, to_a, to_b) : void();
    std::ptrdiff_t q = 0;
    for (; q + W <= n; q += W) unpool_some(W, a + 2 * q, b + 2 * q, g + q, to_a + 2 * q, to_b + 2 * q);
    if (q < n) q = n - W, unpool_some(W, a + 2 * q, b + 2 * q, g + q, to_a + 2 * q, to_b + 2 * q);
}

template <class T>
void fill(VecKernels<T>& k) {
    k.pool_pairs = pool_pairs<T>;
    k.unpool_pairs = unpool_pairs<T>;
    k.pool_row = pool_row<T>;
    k.sum = sum<T>;
    k.maximum = extreme<true, T>;
    k.minimum = extreme<false, T>;
    k.sum_rows = sum_rows<T>;
    k.sum_columns = sum_columns<T>;
}

} // namespace

void fill_reductions(Kernels& k) {
    fill(k.vec_f32);
    fill(k.vec_f64);
}

} // namespace chainrule::CHAINRULE_ISA
