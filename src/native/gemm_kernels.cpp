// Register tiles of the matrix multiply and the packing of its second operand, for one instruction set.
#include "isa_tables.hpp"

#include "isa.hpp"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Rows of the largest tile: two vectors across, so 2 rows accumulators, 2 vectors of B and a broadcast element of A
// have to fit in the registers.
#if defined(__AVX512F__)
constexpr int kRows = 14;
#elif defined(__AVX2__)
constexpr int kRows = 6;
#elif defined(__ARM_NEON)
constexpr int kRows = 12;
#else
constexpr int kRows = 4;
#endif
static_assert(kRows <= kTileRowsMax);

constexpr std::ptrdiff_t kWorthPrefetch = 128;

// Each element of C is the chain of fused multiply-adds over k in order, whatever the tile's size, so results don't
// depend on how C was cut.
template <class T, int R, int N, bool ByRows, bool Taps = false>
void tile(const Tile<T>& t) {
    constexpr int W = kWidth<T>;
    Vec<T> sum[R][N];
    const T* b = t.b;
    const T* a = t.a;
    const std::ptrdiff_t b_stride = t.b_stride;
    const std::ptrdiff_t a_stride = t.a_stride;
    const bool whole = t.last == W;
    if (t.add) {
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
            for (int j = 0; j < N; ++j) {
                const T* from = t.c + i * t.c_stride + j * W;
                sum[i][j] = j + 1 < N || whole ? load(from) : load_partial(from, t.last);
            }
    } else {
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < N; ++j) sum[i][j] = Vec<T>{};
    }
    if (t.k >= kWorthPrefetch && !t.add) { // C is wanted only at the end: time enough to fetch it
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < N; ++j) __builtin_prefetch(t.c + i * t.c_stride + j * W, 1);
    }
    for (std::ptrdiff_t p = 0; p < t.k; ++p) {
        Vec<T> right[N];
        if constexpr (Taps) b = t.b + t.b_rows[p];
        for (int j = 0; j < N; ++j) right[j] = load(b + j * W);
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i) {
            const Vec<T> left = splat(ByRows ? a[i * a_stride] : a[i]);
            for (int j = 0; j < N; ++j) sum[i][j] = fma(left, right[j], sum[i][j]);
        }
        if constexpr (!Taps) b += b_stride;
        a += ByRows ? 1 : a_stride;
    }
    T* c = t.c;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i, c += t.c_stride) {
        for (int j = 0; j < N; ++j) {
            T* to = c + j * W;
            if (j + 1 < N || whole) {
                store(to, sum[i][j]);
            } else {
                store_partial(to, sum[i][j], t.last);
            }
        }
    }
}

template <class T, int R>
void dot_rows(std::ptrdiff_t k, const T* a, std::ptrdiff_t a_row, const T* b, T* c, std::ptrdiff_t c_stride, bool add) {
    constexpr int W = kWidth<T>;
    Vec<T> sum[R];
    for (int i = 0; i < R; ++i) sum[i] = Vec<T>{};
    std::ptrdiff_t p = 0;
    for (; p + W <= k; p += W) {
        const Vec<T> right = load(b + p);
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i) sum[i] = fma(load(a + i * a_row + p), right, sum[i]);
    }
    if (p < k) {
        const int rest = static_cast<int>(k - p);
        const Vec<T> right = load_partial(b + p, rest);
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i) sum[i] = fma(load_partial(a + i * a_row + p, rest), right, sum[i]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
        T* to = c + i * c_stride;
        *to = add ? *to + sum_lanes(sum[i]) : sum_lanes(sum[i]);
    }
}

template <class T>
void dot(std::ptrdiff_t rows, std::ptrdiff_t k, const T* a, std::ptrdiff_t a_row, const T* b, T* c,
         std::ptrdiff_t c_stride, bool add) {
    std::ptrdiff_t i = 0;
    for (; i + 8 <= rows; i += 8) dot_rows<T, 8>(k, a + i * a_row, a_row, b, c + i * c_stride, c_stride, add);
    for (; i < rows; ++i) dot_rows<T, 1>(k, a + i * a_row, a_row, b, c + i * c_stride, c_stride, add);
}

constexpr int kPanelsAbreast = 4;
constexpr std::ptrdiff_t kRowsAhead = 8;

// Some panels at once, so that long pieces of the rows are read.
template <class T, int Panels>
CHAINRULE_INLINE void copy_panels(std::ptrdiff_t k, const T* b, std::ptrdiff_t row, T* out) {
    constexpr int W = kWidth<T>;
    for (std::ptrdiff_t p = 0; p < k; ++p, b += row, out += 2 * W) {
        for (int j = 0; j < Panels * 2 * W * static_cast<int>(sizeof(T)); j += 64)
            __builtin_prefetch(reinterpret_cast<const char*>(b + kRowsAhead * row) + j);
#pragma GCC unroll 4
        for (int j = 0; j < Panels; ++j) {
            store(out + j * k * 2 * W, load(b + j * 2 * W));
            store(out + j * k * 2 * W + W, load(b + j * 2 * W + W));
        }
    }
}

template <class T>
void pack_rows(std::ptrdiff_t k, std::ptrdiff_t n, const T* b, std::ptrdiff_t row, T* out) {
    constexpr int W = kWidth<T>;
    for (; n >= kPanelsAbreast * 2 * W; n -= kPanelsAbreast * 2 * W, b += kPanelsAbreast * 2 * W, out += kPanelsAbreast * 2 * W * k)
        copy_panels<T, kPanelsAbreast>(k, b, row, out);
    for (; n >= 2 * W; n -= 2 * W, b += 2 * W, out += 2 * W * k) copy_panels<T, 1>(k, b, row, out);
    if (n == 0) return;
    const int stride = n > W ? 2 * W : W, last = static_cast<int>(n) - (stride - W);
    for (std::ptrdiff_t p = 0; p < k; ++p, b += row, out += stride) {
        if (n > W) store(out, load(b));
        store(out + stride - W, load_partial(b + stride - W, last));
    }
}

#if CHAINRULE_VECTOR_BYTES == 64
CHAINRULE_INLINE void transpose(F32 (&r)[16]) {
    F32 s[16];
    for (int i = 0; i < 16; i += 4) { // 4 × 4 within each quarter of the vectors
        const __m512 ab = _mm512_unpacklo_ps((__m512)r[i], (__m512)r[i + 1]);
        const __m512 AB = _mm512_unpackhi_ps((__m512)r[i], (__m512)r[i + 1]);
        const __m512 cd = _mm512_unpacklo_ps((__m512)r[i + 2], (__m512)r[i + 3]);
        const __m512 CD = _mm512_unpackhi_ps((__m512)r[i + 2], (__m512)r[i + 3]);
        s[i] = (F32)_mm512_unpacklo_pd((__m512d)ab, (__m512d)cd);
        s[i + 1] = (F32)_mm512_unpackhi_pd((__m512d)ab, (__m512d)cd);
        s[i + 2] = (F32)_mm512_unpacklo_pd((__m512d)AB, (__m512d)CD);
        s[i + 3] = (F32)_mm512_unpackhi_pd((__m512d)AB, (__m512d)CD);
    }
    for (int i = 0; i < 4; ++i) { // 4 × 4 of the quarters
        const __m512 ac = _mm512_shuffle_f32x4((__m512)s[i], (__m512)s[i + 4], 0x88);
        const __m512 bd = _mm512_shuffle_f32x4((__m512)s[i], (__m512)s[i + 4], 0xdd);
        const __m512 eg = _mm512_shuffle_f32x4((__m512)s[i + 8], (__m512)s[i + 12], 0x88);
        const __m512 fh = _mm512_shuffle_f32x4((__m512)s[i + 8], (__m512)s[i + 12], 0xdd);
        r[i] = (F32)_mm512_shuffle_f32x4(ac, eg, 0x88);
        r[i + 8] = (F32)_mm512_shuffle_f32x4(ac, eg, 0xdd);
        r[i + 4] = (F32)_mm512_shuffle_f32x4(bd, fh, 0x88);
        r[i + 12] = (F32)_mm512_shuffle_f32x4(bd, fh, 0xdd);
    }
}

CHAINRULE_INLINE void transpose(F64 (&r)[8]) {
    F64 s[8];
    for (int i = 0; i < 8; i += 2) {
        s[i] = (F64)_mm512_unpacklo_pd((__m512d)r[i], (__m512d)r[i + 1]);
        s[i + 1] = (F64)_mm512_unpackhi_pd((__m512d)r[i], (__m512d)r[i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
        const __m512d ac = _mm512_shuffle_f64x2((__m512d)s[i], (__m512d)s[i + 2], 0x88);
        const __m512d bd = _mm512_shuffle_f64x2((__m512d)s[i], (__m512d)s[i + 2], 0xdd);
        const __m512d eg = _mm512_shuffle_f64x2((__m512d)s[i + 4], (__m512d)s[i + 6], 0x88);
        const __m512d fh = _mm512_shuffle_f64x2((__m512d)s[i + 4], (__m512d)s[i + 6], 0xdd);
        r[i] = (F64)_mm512_shuffle_f64x2(ac, eg, 0x88);
        r[i + 4] = (F64)_mm512_shuffle_f64x2(ac, eg, 0xdd);
        r[i + 2] = (F64)_mm512_shuffle_f64x2(bd, fh, 0x88);
        r[i + 6] = (F64)_mm512_shuffle_f64x2(bd, fh, 0xdd);
    }
}
#elif CHAINRULE_VECTOR_BYTES == 32
CHAINRULE_INLINE void transpose(F32 (&r)[8]) {
    F32 s[8];
    for (int i = 0; i < 8; i += 4) {
        const F32 ab = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        const F32 AB = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
        const F32 cd = __builtin_shufflevector(r[i + 2], r[i + 3], 0, 8, 1, 9, 4, 12, 5, 13);
        const F32 CD = __builtin_shufflevector(r[i + 2], r[i + 3], 2, 10, 3, 11, 6, 14, 7, 15);
        s[i] = __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13);
        s[i + 1] = __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
        s[i + 2] = __builtin_shufflevector(AB, CD, 0, 1, 8, 9, 4, 5, 12, 13);
        s[i + 3] = __builtin_shufflevector(AB, CD, 2, 3, 10, 11, 6, 7, 14, 15);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = __builtin_shufflevector(s[i], s[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        r[i + 4] = __builtin_shufflevector(s[i], s[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

CHAINRULE_INLINE void transpose(F64 (&r)[4]) {
    F64 s[4];
    for (int i = 0; i < 4; i += 2) {
        s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 4, 2, 6);
        s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 5, 3, 7);
    }
    for (int i = 0; i < 2; ++i) {
        r[i] = __builtin_shufflevector(s[i], s[i + 2], 0, 1, 4, 5);
        r[i + 2] = __builtin_shufflevector(s[i], s[i + 2], 2, 3, 6, 7);
    }
}
#else
CHAINRULE_INLINE void transpose(F32 (&r)[4]) {
    const F32 ab = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    const F32 AB = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    const F32 cd = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    const F32 CD = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(AB, CD, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(AB, CD, 2, 3, 6, 7);
}

CHAINRULE_INLINE void transpose(F64 (&r)[2]) {
    const F64 a = r[0], b = r[1];
    r[0] = __builtin_shufflevector(a, b, 0, 2);
    r[1] = __builtin_shufflevector(a, b, 1, 3);
}
#endif

template <class T>
void pack_columns(std::ptrdiff_t k, int n, const T* b, std::ptrdiff_t column, T* out, int stride) {
    constexpr int W = kWidth<T>;
    for (int j = 0; j < stride; j += W) {
        const int columns = n - j < W ? (n - j < 0 ? 0 : n - j) : W;
        const T* from = b + j * column;
        T* to = out + j;
        std::ptrdiff_t p = 0;
        Vec<T> r[W];
        for (; p + W <= k; p += W, to += W * stride) {
            if (columns == W) {
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i) r[i] = load(from + i * column + p);
            } else {
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i) r[i] = i < columns ? load(from + i * column + p) : Vec<T>{};
            }
            transpose(r);
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i) store(to + i * stride, r[i]);
        }
        if (p < k) {
            const int rest = static_cast<int>(k - p);
            for (int i = 0; i < W; ++i) r[i] = i < columns ? load_partial(from + i * column + p, rest) : Vec<T>{};
            transpose(r);
            for (int i = 0; i < rest; ++i) store(to + i * stride, r[i]);
        }
    }
}

template <class T>
void store_transposed(int rows, int columns, const T* tile, int tile_stride, T* c, std::ptrdiff_t c_stride) {
    constexpr int W = kWidth<T>;
    for (int start = 0; start < rows; start += W, tile += W * tile_stride, c += W) {
        const int part = rows - start < W ? rows - start : W;
        T* to = c;
        for (int j = 0; j < columns; j += W) {
            Vec<T> r[W];
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i) r[i] = i < part ? load(tile + i * tile_stride + j) : Vec<T>{};
            transpose(r);
            const int count = columns - j < W ? columns - j : W;
            if (part == W) {
                for (int q = 0; q < count; ++q, to += c_stride) store(to, r[q]);
            } else {
                for (int q = 0; q < count; ++q, to += c_stride) store_partial(to, r[q], part);
            }
        }
    }
}

template <class T>
void load_transposed(int rows, int columns, const T* c, std::ptrdiff_t c_stride, T* tile, int tile_stride) {
    constexpr int W = kWidth<T>;
    for (int start = 0; start < rows; start += W, tile += W * tile_stride, c += W) {
        const int part = rows - start < W ? rows - start : W;
        for (int j = 0; j < columns; j += W) {
            Vec<T> r[W];
#pragma GCC unroll 16
            for (int q = 0; q < W; ++q) r[q] = j + q < columns ? load_partial(c + (j + q) * c_stride, part) : Vec<T>{};
            transpose(r);
            for (int i = 0; i < part; ++i) store(tile + i * tile_stride + j, r[i]);
        }
    }
}

template <class T, int R>
void strip(std::ptrdiff_t k, const T* a, std::ptrdiff_t column, T* out) {
    constexpr int W = kWidth<T>;
    for (; k > 0; --k, a += column, out += R) {
        __builtin_prefetch(a + kRowsAhead * column);
        __builtin_prefetch(a + kRowsAhead * column + R - 1);
        for (int i = 0; i + W <= R; i += W) store(out + i, load(a + i));
        if constexpr (R % W != 0) store(out + R / W * W, load_partial(a + R / W * W, R % W));
    }
}

template <class T, int R>
void fill_strips(GemmKernels<T>& g) {
    g.pack_strip[R] = strip<T, R>;
    if constexpr (R > 1) fill_strips<T, R - 1>(g);
}

template <class T, int N, bool ByRows, int R, bool Taps = false>
void fill(typename GemmKernels<T>::Run* table) {
    table[R] = tile<T, R, N, ByRows, Taps>;
    if constexpr (R > 1) fill<T, N, ByRows, R - 1, Taps>(table);
}

template <class T>
GemmKernels<T> table() {
    GemmKernels<T> g = {};
    g.width = kWidth<T>;
    g.rows = kRows;
    fill<T, 1, true, kRows>(g.by_rows[0]);
    fill<T, 2, true, kRows>(g.by_rows[1]);
    fill<T, 1, false, kRows>(g.by_columns[0]);
    fill<T, 2, false, kRows>(g.by_columns[1]);
    fill<T, 1, false, kRows, true>(g.taps[0]);
    fill<T, 2, false, kRows, true>(g.taps[1]);
    g.wide_row[0] = tile<T, 1, 8, true>;
    g.wide_row[1] = tile<T, 1, 8, false>;
    g.store_transposed = store_transposed<T>;
    g.load_transposed = load_transposed<T>;
    fill_strips<T, kRows>(g);
    g.dot = dot<T>;
    g.pack_rows = pack_rows<T>;
    g.pack_columns = pack_columns<T>;
    return g;
}

} // namespace

void fill_gemm(Kernels& k) {
    k.gemm_f32 = table<float>();
    k.gemm_f64 = table<double>();
}

} // namespace chainrule::CHAINRULE_ISA
