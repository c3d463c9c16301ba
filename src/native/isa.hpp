// Vectors of one instruction set, for the sources that are compiled once per set.
//
// Everything here lives in chainrule::CHAINRULE_ISA (avx512, avx2, neon or portable), so that no inline function of one
// set can be linked into another: the linker keeps one copy of equal symbols, and it must not be the one that the
// machine at hand cannot run. For the same reason these sources use no templates of the standard library.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef CHAINRULE_ISA
#error "CHAINRULE_ISA names the instruction set: avx512, avx2, neon or portable"
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#define CHAINRULE_VECTOR_BYTES 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define CHAINRULE_VECTOR_BYTES 32
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define CHAINRULE_VECTOR_BYTES 16
#else
#define CHAINRULE_VECTOR_BYTES 16
#endif

#define CHAINRULE_INLINE [[gnu::always_inline]] static inline

namespace chainrule::CHAINRULE_ISA {

constexpr int kVectorBytes = CHAINRULE_VECTOR_BYTES;

typedef float F32 __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
typedef double F64 __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
typedef std::int32_t I32 __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
typedef std::uint32_t U32 __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
typedef std::uint64_t U64 __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
typedef std::int64_t I64 __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));

// The same with the alignment of one element: what loads and stores go through.
typedef float F32U __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), aligned(4), may_alias));
typedef double F64U __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), aligned(8), may_alias));

template <class T>
struct Vectors;
template <>
struct Vectors<float> {
    using Float = F32;
    using Unaligned = F32U;
    using Int = I32;
    using Unsigned = U32;
    using Scalar = std::int32_t;
};
template <>
struct Vectors<double> {
    using Float = F64;
    using Unaligned = F64U;
    using Int = I64;
    using Unsigned = U64;
    using Scalar = std::int64_t;
};
template <class T>
using Vec = typename Vectors<T>::Float;
template <class T>
using Mask = typename Vectors<T>::Int; // 0 or -1 in each lane
template <class T>
constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
CHAINRULE_INLINE Vec<T> load(const T* p) {
    return *reinterpret_cast<const typename Vectors<T>::Unaligned*>(p);
}

template <class T>
CHAINRULE_INLINE void store(T* p, Vec<T> v) {
    *reinterpret_cast<typename Vectors<T>::Unaligned*>(p) = v;
}

template <class T>
CHAINRULE_INLINE Vec<T> splat(T x) {
    return x - Vec<T>{}; // x - 0 keeps -0, which x + 0 would not
}

// The first n lanes, 0 <= n <= width; the others are zero and their memory is not touched.
CHAINRULE_INLINE F32 load_partial(const float* p, int n) {
#if defined(__AVX512F__)
    return (F32)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#elif defined(__AVX2__)
    const I32 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return (F32)_mm256_maskload_ps(p, (__m256i)(lane < n));
#else
    F32 v = {};
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
#endif
}

CHAINRULE_INLINE F64 load_partial(const double* p, int n) {
#if defined(__AVX512F__)
    return (F64)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1u), p);
#elif defined(__AVX2__)
    const I64 lane = {0, 1, 2, 3};
    return (F64)_mm256_maskload_pd(p, (__m256i)(lane < n));
#else
    F64 v = {};
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
#endif
}

CHAINRULE_INLINE void store_partial(float* p, F32 v, int n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
#elif defined(__AVX2__) // its masked stores are slow on some processors
    if (n >= 8) return _mm256_storeu_ps(p, (__m256)v);
    __m128 part = _mm256_castps256_ps128((__m256)v);
    if ((n & 4) != 0) {
        _mm_storeu_ps(p, part);
        p += 4, part = _mm256_extractf128_ps((__m256)v, 1);
    }
    if ((n & 2) != 0) {
        _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
        p += 2, part = _mm_movehl_ps(part, part);
    }
    if ((n & 1) != 0) _mm_store_ss(p, part);
#else
    for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}

CHAINRULE_INLINE void store_partial(double* p, F64 v, int n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1u), (__m512d)v);
#else
    for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}

// a * b + c, rounded once where the instruction set can do that.
CHAINRULE_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
    return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
    return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

CHAINRULE_INLINE F64 fma(F64 a, F64 b, F64 c) {
#if defined(__AVX512F__)
    return (F64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__)
    return (F64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__ARM_NEON)
    return (F64)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

CHAINRULE_INLINE F32 square_root(F32 x) {
#if defined(__AVX512F__)
    return (F32)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (F32)_mm256_sqrt_ps((__m256)x);
#elif defined(__ARM_NEON)
    return (F32)vsqrtq_f32((float32x4_t)x);
#else
    for (int i = 0; i < kWidth<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

CHAINRULE_INLINE F64 square_root(F64 x) {
#if defined(__AVX512F__)
    return (F64)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX2__)
    return (F64)_mm256_sqrt_pd((__m256d)x);
#elif defined(__ARM_NEON)
    return (F64)vsqrtq_f64((float64x2_t)x);
#else
    for (int i = 0; i < kWidth<double>; ++i) x[i] = __builtin_sqrt(x[i]);
    return x;
#endif
}

// Whether any lane of a mask is set.
CHAINRULE_INLINE bool any(I32 mask) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__ARM_NEON)
    return vmaxvq_u32((uint32x4_t)mask) != 0;
#else
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#endif
}
CHAINRULE_INLINE bool any(I64 mask) { return any((I32)mask); }

// Floats as doubles, their first half and their second, and back.
struct Wide {
    F64 first, second;
};

CHAINRULE_INLINE Wide widened(F32 x) {
#if defined(__AVX512F__)
    return {(F64)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)x)),
            (F64)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)x, 1))};
#elif defined(__AVX2__)
    return {(F64)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)x)),
            (F64)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)x, 1))};
#elif defined(__ARM_NEON)
    return {(F64)vcvt_f64_f32(vget_low_f32((float32x4_t)x)), (F64)vcvt_high_f64_f32((float32x4_t)x)};
#else
    return {F64{x[0], x[1]}, F64{x[2], x[3]}};
#endif
}

CHAINRULE_INLINE F32 narrowed(Wide x) {
#if defined(__AVX512F__)
    const __m512 first = _mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)x.first));
    return (F32)_mm512_insertf32x8(first, _mm512_cvtpd_ps((__m512d)x.second), 1);
#elif defined(__AVX2__)
    const __m256 first = _mm256_castps128_ps256(_mm256_cvtpd_ps((__m256d)x.first));
    return (F32)_mm256_insertf128_ps(first, _mm256_cvtpd_ps((__m256d)x.second), 1);
#elif defined(__ARM_NEON)
    return (F32)vcvt_high_f32_f64(vcvt_f32_f64((float64x2_t)x.first), (float64x2_t)x.second);
#else
    return F32{static_cast<float>(x.first[0]), static_cast<float>(x.first[1]), static_cast<float>(x.second[0]),
               static_cast<float>(x.second[1])};
#endif
}

// Of two vectors one after the other: the elements of even places, and of odd ones.
// And the reverse: the elements of two in turn, those of their first halves and of their second.
#define CHAINRULE_SHUFFLE(name, type, ...)                                                                            \
    CHAINRULE_INLINE type name(type a, type b) { return __builtin_shufflevector(a, b, __VA_ARGS__); }
#if CHAINRULE_VECTOR_BYTES == 64
CHAINRULE_SHUFFLE(evens, F32, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
CHAINRULE_SHUFFLE(odds, F32, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
CHAINRULE_SHUFFLE(lower_pairs, F32, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
CHAINRULE_SHUFFLE(upper_pairs, F32, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
CHAINRULE_SHUFFLE(evens, F64, 0, 2, 4, 6, 8, 10, 12, 14)
CHAINRULE_SHUFFLE(odds, F64, 1, 3, 5, 7, 9, 11, 13, 15)
CHAINRULE_SHUFFLE(lower_pairs, F64, 0, 8, 1, 9, 2, 10, 3, 11)
CHAINRULE_SHUFFLE(upper_pairs, F64, 4, 12, 5, 13, 6, 14, 7, 15)
#elif CHAINRULE_VECTOR_BYTES == 32
CHAINRULE_SHUFFLE(evens, F32, 0, 2, 4, 6, 8, 10, 12, 14)
CHAINRULE_SHUFFLE(odds, F32, 1, 3, 5, 7, 9, 11, 13, 15)
CHAINRULE_SHUFFLE(lower_pairs, F32, 0, 8, 1, 9, 2, 10, 3, 11)
CHAINRULE_SHUFFLE(upper_pairs, F32, 4, 12, 5, 13, 6, 14, 7, 15)
CHAINRULE_SHUFFLE(evens, F64, 0, 2, 4, 6)
CHAINRULE_SHUFFLE(odds, F64, 1, 3, 5, 7)
CHAINRULE_SHUFFLE(lower_pairs, F64, 0, 4, 1, 5)
CHAINRULE_SHUFFLE(upper_pairs, F64, 2, 6, 3, 7)
#else
CHAINRULE_SHUFFLE(evens, F32, 0, 2, 4, 6)
CHAINRULE_SHUFFLE(odds, F32, 1, 3, 5, 7)
CHAINRULE_SHUFFLE(lower_pairs, F32, 0, 4, 1, 5)
CHAINRULE_SHUFFLE(upper_pairs, F32, 2, 6, 3, 7)
CHAINRULE_SHUFFLE(evens, F64, 0, 2)
CHAINRULE_SHUFFLE(odds, F64, 1, 3)
CHAINRULE_SHUFFLE(lower_pairs, F64, 0, 2)
CHAINRULE_SHUFFLE(upper_pairs, F64, 1, 3)
#endif
#undef CHAINRULE_SHUFFLE

// The sum of all lanes, halves first: one fixed order.
CHAINRULE_INLINE float sum_lanes(F32 v) {
#if CHAINRULE_VECTOR_BYTES == 64
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
#elif CHAINRULE_VECTOR_BYTES == 32
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
#else
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1);
#endif
    return v[0] + v[1];
}

CHAINRULE_INLINE double sum_lanes(F64 v) {
#if CHAINRULE_VECTOR_BYTES == 64
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
#elif CHAINRULE_VECTOR_BYTES == 32
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1);
#endif
    return v[0] + v[1];
}

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__ARM_NEON)
constexpr bool kFusesMultiplyAdd = true;
#else
constexpr bool kFusesMultiplyAdd = false;
#endif

} // namespace chainrule::CHAINRULE_ISA
