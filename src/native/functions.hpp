// Vectors of exponentials, logarithms and what is made of them, for one instruction set.
//
// Each reduces its argument so that a short polynomial remains, and adds last, and exactly, what carries most of the
// result. In double, where 2 ulp leave little room, the parts that rounding lost are carried along.
#pragma once

#include "coefficients.hpp"
#include "isa.hpp"

namespace chainrule::CHAINRULE_ISA {

template <class T>
struct Numbers;

template <>
struct Numbers<float> {
    static constexpr int kBits = 23, kBias = 127;
    static constexpr float kMagic = 12582912.0f;      // adding it rounds to an integer, held in the low bits
    static constexpr float kLog2e = 1.4426950408889634f;
    static constexpr float kLn2High = 0.693359375f;   // few bits: n times it is exact
    static constexpr float kLn2Low = -2.1219444e-4f;
    static constexpr float kLeast = 1.17549435e-38f, kInfinity = __builtin_inff();
    static constexpr std::int32_t kRootHalf = 0x3f3504f3;
    static constexpr float kExpLow = -104.0f, kExpHigh = 89.0f;
    static constexpr float kTanhOne = 10.0f, kErfOne = 4.0f;
    static constexpr float kMany = 4096.0f;           // its square plus 1 is its square
    static constexpr float kCircle = 100000.0f;       // beyond, sin and its like go through the C library
    static constexpr const float (&kHalfPi)[3] = kHalfPiF;
    static constexpr float kHuge = 0x1p100f, kTiny = 0x1p-60f, kEnlarge = 0x1p70f;
};

template <>
struct Numbers<double> {
    static constexpr int kBits = 52, kBias = 1023;
    static constexpr double kMagic = 6755399441055744.0;
    static constexpr double kLog2e = 1.4426950408889634;
    static constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
    static constexpr double kLeast = 2.2250738585072014e-308, kInfinity = __builtin_inf();
    static constexpr std::int64_t kRootHalf = 0x3fe6a09e667f3bcd;
    static constexpr double kExpLow = -746.0, kExpHigh = 710.0;
    static constexpr double kTanhOne = 22.0, kErfOne = 6.0;
    static constexpr double kMany = 0x1p28;
    static constexpr double kCircle = 1e9;
    static constexpr const double (&kHalfPi)[3] = kHalfPiD;
    static constexpr double kHuge = 0x1p1000, kTiny = 0x1p-400, kEnlarge = 0x1p600;
};

template <class T>
constexpr bool kPrecise = sizeof(T) == sizeof(double);

template <class T>
CHAINRULE_INLINE Mask<T> bits(Vec<T> x) {
    return (Mask<T>)x;
}

template <class T>
CHAINRULE_INLINE Vec<T> magnitude(Vec<T> x) {
    using S = typename Vectors<T>::Scalar;
    return (Vec<T>)(bits<T>(x) & ~(Mask<T>{} + (S(1) << (8 * sizeof(T) - 1))));
}

// The magnitude of x with the sign of s.
template <class T>
CHAINRULE_INLINE Vec<T> with_sign(Vec<T> x, Vec<T> s) {
    using S = typename Vectors<T>::Scalar;
    const Mask<T> top = Mask<T>{} + static_cast<S>(S(1) << (8 * sizeof(T) - 1));
    return (Vec<T>)((bits<T>(x) & ~top) | (bits<T>(s) & top));
}

template <class T>
CHAINRULE_INLINE Vec<T> not_below(Vec<T> x, T low) { // NaN stays
    return x < low ? splat<T>(low) : x;
}

template <class T>
CHAINRULE_INLINE Vec<T> not_above(Vec<T> x, T high) {
    return x > high ? splat<T>(high) : x;
}

template <class T, int N>
CHAINRULE_INLINE Vec<T> polynomial(const T (&c)[N], Vec<T> x) {
    Vec<T> y = splat<T>(c[N - 1]);
#pragma GCC unroll 32
    for (int i = N - 2; i >= 0; --i) y = fma(y, x, splat<T>(c[i]));
    return y;
}

// a b = p + the result, for p = a b rounded.
template <class T>
CHAINRULE_INLINE Vec<T> product_rest(Vec<T> a, Vec<T> b, Vec<T> p) {
    if constexpr (kFusesMultiplyAdd) {
        return fma(a, b, -p);
    } else {
        using S = typename Vectors<T>::Scalar;
        const S cut = ~((S(1) << (Numbers<T>::kBits / 2 + 1)) - 1);
        const Vec<T> ah = (Vec<T>)(bits<T>(a) & cut), bh = (Vec<T>)(bits<T>(b) & cut);
        const Vec<T> al = a - ah, bl = b - bh;
        return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    }
}

// A number as a sum of two, the second small.
template <class T>
struct Sum {
    Vec<T> high, low;
};

template <class T>
CHAINRULE_INLINE Sum<T> two_sum(Vec<T> a, Vec<T> b) {
    const Vec<T> s = a + b, t = s - a;
    return {s, (a - (s - t)) + (b - t)};
}

// For a product or quotient of sums.
template <class T>
CHAINRULE_INLINE Sum<T> two_product(Sum<T> a, Sum<T> b) {
    const Vec<T> p = a.high * b.high;
    return {p, product_rest<T>(a.high, b.high, p) + fma(a.high, b.low, a.low * b.high)};
}

template <class T>
CHAINRULE_INLINE Sum<T> two_quotient(Sum<T> numerator, Sum<T> denominator) {
    const Vec<T> inverse = T(1) / denominator.high;
    const Vec<T> q = numerator.high * inverse;
    const Vec<T> p = q * denominator.high;
    const Vec<T> rest = ((numerator.high - p) - product_rest<T>(q, denominator.high, p)) +
                        (numerator.low - q * denominator.low);
    return {q, rest * inverse};
}

template <class T>
CHAINRULE_INLINE Vec<T> quotient(Sum<T> numerator, Sum<T> denominator) {
    if constexpr (kPrecise<T>) {
        const Sum<T> q = two_quotient<T>(numerator, denominator);
        return q.high + q.low;
    } else {
        return numerator.high / denominator.high;
    }
}

// The root of high + low >= 0; 0 has no correction.
template <class T>
CHAINRULE_INLINE Sum<T> two_root(Sum<T> x) {
    const Vec<T> s = square_root(x.high), p = s * s;
    const Vec<T> rest = ((x.high - p) - product_rest<T>(s, s, p)) + x.low;
    return {s, s > T(0) ? rest * T(0.5) / s : Vec<T>{}};
}

// Lanes of integers are computed without sign, where overflow (of NaN, say, whose lane is replaced later) is defined.
template <class T>
using Bits = typename Vectors<T>::Unsigned;

template <class T>
CHAINRULE_INLINE Bits<T> integer(Vec<T> n) {
    return (Bits<T>)(n + Numbers<T>::kMagic) - (Bits<T>)splat<T>(Numbers<T>::kMagic);
}

template <class T>
CHAINRULE_INLINE Vec<T> power_of_two(Bits<T> n) {
    return (Vec<T>)((n + Numbers<T>::kBias) << Numbers<T>::kBits);
}

// x 2^n for n as a whole number and as an integer; through subnormals and to infinity.
template <class T>
CHAINRULE_INLINE Vec<T> scaled(Vec<T> x, Vec<T> n) {
#if defined(__AVX512F__)
    if constexpr (kPrecise<T>) return (Vec<T>)_mm512_scalef_pd((__m512d)x, (__m512d)n);
    else return (Vec<T>)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    const Bits<T> i = integer<T>(n);
    // Halves of n, without a shift of signed 64-bit lanes, which AVX2 has not.
    const Vec<T> half = (n * T(0.5) + Numbers<T>::kMagic) - Numbers<T>::kMagic;
    const Bits<T> h = integer<T>(half);
    return x * power_of_two<T>(h) * power_of_two<T>(i - h);
#endif
}

// e^x = 2^n (1 + r + tail).
template <class T>
struct ExpParts {
    Vec<T> n, r, tail;
};

template <class T>
CHAINRULE_INLINE ExpParts<T> exp_parts(Vec<T> x) {
    using N = Numbers<T>;
    const Vec<T> n = fma(x, splat<T>(N::kLog2e), splat<T>(N::kMagic)) - N::kMagic;
    const Vec<T> high = fma(n, splat<T>(-N::kLn2High), x);
    const Vec<T> r = fma(n, splat<T>(-N::kLn2Low), high);
    Vec<T> p;
    if constexpr (kPrecise<T>) {
        p = polynomial<T>(kExpD, r);
        const Vec<T> lost = fma(n, splat<T>(-N::kLn2Low), high - r);
        return {n, r, fma(r * r, p, lost)};
    } else {
        p = polynomial<T>(kExpF, r);
        return {n, r, r * r * p};
    }
}

template <class T>
CHAINRULE_INLINE Vec<T> exp(Vec<T> x) {
    using N = Numbers<T>;
    const ExpParts<T> e = exp_parts<T>(not_above<T>(not_below<T>(x, N::kExpLow), N::kExpHigh));
    return scaled<T>(T(1) + (e.r + e.tail), e.n);
}

// For arguments whose result is far from the ends of the range.
template <class T>
CHAINRULE_INLINE Vec<T> exp_between(Vec<T> x) {
    const ExpParts<T> e = exp_parts<T>(x);
    return (T(1) + (e.r + e.tail)) * power_of_two<T>(integer<T>(e.n));
}

template <class T>
CHAINRULE_INLINE Vec<T> exp2(Vec<T> x) {
    using N = Numbers<T>;
    const T low = N::kExpLow / T(0.69), high = N::kExpHigh / T(0.69);
    x = not_above<T>(not_below<T>(x, low), high);
    const Vec<T> n = (x + N::kMagic) - N::kMagic;
    const Vec<T> f = x - n;
    const T ln2 = T(0.69314718055994530942);
    const T rest = kPrecise<T> ? T(2.3190468138462996e-17) : T(-1.904654e-9);
    const Vec<T> r = f * ln2;
    const Vec<T> lost = fma(f, splat<T>(rest), product_rest<T>(f, splat<T>(ln2), r));
    Vec<T> tail;
    if constexpr (kPrecise<T>) tail = fma(r * r, polynomial<T>(kExpD, r), lost);
    else tail = fma(r * r, polynomial<T>(kExpF, r), lost);
    return scaled<T>(T(1) + (r + tail), n);
}

// e^x - 1 as a sum of two: for x up to about 40.
template <class T>
CHAINRULE_INLINE Sum<T> expm1_parts(const ExpParts<T>& e) {
    const Vec<T> scale = power_of_two<T>(integer<T>(e.n));
    const Sum<T> s = two_sum<T>(scale - T(1), scale * e.r);
    const Vec<T> low = fma(scale, e.tail, s.low), high = s.high + low;
    return {high, low - (high - s.high)};
}

template <class T>
CHAINRULE_INLINE Vec<T> expm1(Vec<T> x) {
    using N = Numbers<T>;
    const ExpParts<T> e = exp_parts<T>(not_above<T>(not_below<T>(x, T(-60)), N::kExpHigh));
    const T most = 60;
    ExpParts<T> near = e;
    near.n = not_above<T>(e.n, most);
    const Vec<T> small = expm1_parts<T>(near).high;
    const Vec<T> large = scaled<T>(T(1) + (e.r + e.tail), e.n);
    const Vec<T> y = e.n > most ? large : small;
    return x == T(0) ? x : y; // -0
}

template <class T>
CHAINRULE_INLINE Vec<T> tanh(Vec<T> x) {
    const Vec<T> a = not_above<T>(magnitude<T>(x), Numbers<T>::kTanhOne);
    const Sum<T> t = expm1_parts<T>(exp_parts<T>(a + a));
    const Vec<T> d = t.high + T(2);
    return with_sign<T>(quotient<T>(t, {d, ((t.high - d) + T(2)) + t.low}), x);
}

template <class T>
CHAINRULE_INLINE Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> e = exp<T>(-magnitude<T>(x));
    const Vec<T> top = x < T(0) ? e : splat<T>(T(1)), d = T(1) + e;
    const Vec<T> y = quotient<T>({top, Vec<T>{}}, {d, (T(1) - d) + e});
    return d == T(1) ? top : y; // the correction would lose subnormals
}

// x = 2^k (1 + f), 1 + f between the roots of 1/2 and 2; for positive finite x.
template <class T>
struct LogParts {
    Vec<T> k, f;
};

template <class T>
CHAINRULE_INLINE LogParts<T> split(Vec<T> x) {
    using N = Numbers<T>;
    using S = typename Vectors<T>::Scalar;
    const Mask<T> subnormal = x < N::kLeast;
    x = subnormal ? x * T(S(1) << N::kBits) : x;
    // The exponent, still biased so that the shift needs no sign: AVX2 has none for 64-bit lanes.
    const Bits<T> one = Bits<T>{} + (S(N::kBias) << N::kBits);
    const Bits<T> biased = ((Bits<T>)x - N::kRootHalf + one) >> N::kBits;
    const Bits<T> mantissa = (Bits<T>)x - (biased << N::kBits) + one;
    Vec<T> k = (Vec<T>)(biased + (Bits<T>)splat<T>(N::kMagic)) - (N::kMagic + T(N::kBias));
    k = subnormal ? k - T(N::kBits) : k;
    return {k, (Vec<T>)mantissa - T(1)};
}

// NaN for negative and NaN, -inf for 0, inf for inf: what split() does not know.
template <class T>
CHAINRULE_INLINE Vec<T> log_ends(Vec<T> x, Vec<T> y) {
    y = x == Numbers<T>::kInfinity ? x : y;
    y = x == T(0) ? splat<T>(-Numbers<T>::kInfinity) : y;
    return x >= T(0) ? y : splat<T>(T(__builtin_nan("")));
}

// k ln 2 + log(1 + f) + low.
template <class T>
CHAINRULE_INLINE Vec<T> log_of(Vec<T> k, Vec<T> f, Vec<T> low) {
    using N = Numbers<T>;
    const Vec<T> half = T(0.5) * f * f;
    if constexpr (kPrecise<T>) {
        const Vec<T> s = f / (T(2) + f), z = s * s;
        const Vec<T> r = z * polynomial<T>(kLogOfSquareD, z);
        const Vec<T> tail = fma(s, half + r, fma(k, splat<T>(N::kLn2Low), low));
        return k * N::kLn2High - ((half - tail) - f);
    } else {
        const Vec<T> p = f * f * f * polynomial<T>(kLogF, f);
        const Vec<T> tail = fma(k, splat<T>(N::kLn2Low), p + low) - half;
        return fma(k, splat<T>(N::kLn2High), f + tail);
    }
}

template <class T>
CHAINRULE_INLINE Vec<T> log(Vec<T> x) {
    const LogParts<T> p = split<T>(x);
    return log_ends<T>(x, log_of<T>(p.k, p.f, Vec<T>{}));
}

// log of another base: `unit` is the logarithm of e, `two` of 2, each as a sum of two.
template <class T>
CHAINRULE_INLINE Vec<T> log_of_base(Vec<T> x, T unit, T unit_low, T two, T two_low) {
    const LogParts<T> p = split<T>(x);
    const Vec<T> f = p.f, half = T(0.5) * f * f;
    const Vec<T> half_low = T(0.5) * product_rest<T>(f, f, f * f);
    Vec<T> rest;
    if constexpr (kPrecise<T>) {
        const Vec<T> s = f / (T(2) + f), z = s * s;
        rest = s * (half + z * polynomial<T>(kLogOfSquareD, z));
    } else {
        rest = f * f * f * polynomial<T>(kLogF, f);
    }
    // log(1 + f) = high + low
    const Sum<T> a = two_sum<T>(f, -half);
    const Vec<T> low = (a.low - half_low) + rest;
    const Vec<T> product = a.high * unit;
    const Vec<T> product_low =
        fma(a.high, splat<T>(unit_low), fma(low, splat<T>(unit), product_rest<T>(a.high, splat<T>(unit), product)));
    const Sum<T> total = two_sum<T>(p.k * two, product);
    return log_ends<T>(x, total.high + (total.low + fma(p.k, splat<T>(two_low), product_low)));
}

template <class T>
CHAINRULE_INLINE Vec<T> log2(Vec<T> x) {
    if constexpr (kPrecise<T>) return log_of_base<T>(x, 1.4426950408889634, 2.0355273740931033e-17, 1.0, 0.0);
    else return log_of_base<T>(x, 1.442695f, 1.925963e-8f, 1.0f, 0.0f);
}

template <class T>
CHAINRULE_INLINE Vec<T> log10(Vec<T> x) {
    if constexpr (kPrecise<T>)
        return log_of_base<T>(x, 0.4342944819032518, 1.098319650216765e-17, 0x1.34413509p-2, 0x1.ef3fde623e256p-35);
    else
        return log_of_base<T>(x, 0.4342945f, -1.010305e-8f, 0x1.344p-2f, 0x1.3509f8p-18f);
}

// log(u.high + u.low) + more ln 2, for positive finite u.
template <class T>
CHAINRULE_INLINE Vec<T> log_of_sum(Sum<T> u, Vec<T> more) {
    const LogParts<T> p = split<T>(u.high);
    // The low part belongs to f, at its scale; beyond 2^60 it is nothing, and 2^-k might not be a number.
    const T far = 60;
    const Vec<T> scale = power_of_two<T>(integer<T>(-not_above<T>(p.k, far)));
    const Vec<T> lost = p.k > far ? Vec<T>{} : u.low * scale;
    const Vec<T> f = p.f + lost;
    return log_of<T>(p.k + more, f, lost - (f - p.f));
}

template <class T>
CHAINRULE_INLINE Vec<T> log1p(Vec<T> x) {
    using N = Numbers<T>;
    Vec<T> y = log_of_sum<T>(two_sum<T>(splat<T>(T(1)), x), Vec<T>{});
    y = x == N::kInfinity ? x : y;
    y = x == T(-1) ? splat<T>(-N::kInfinity) : y;
    y = x == T(0) ? x : y; // -0
    return x >= T(-1) ? y : splat<T>(T(__builtin_nan("")));
}

// log(1 + e) for 0 <= e <= 1: 1 + e is 1 + f or 2 (1 + f).
template <class T>
CHAINRULE_INLINE Vec<T> log1p_of_fraction(Vec<T> e) {
    const Mask<T> big = e > T(0.41421356);
    const Vec<T> f = big ? (e - T(1)) * T(0.5) : e;
    return log_of<T>(big ? splat<T>(T(1)) : Vec<T>{}, f, Vec<T>{});
}

template <class T>
CHAINRULE_INLINE Vec<T> softplus(Vec<T> x) {
    const Vec<T> y = log1p_of_fraction<T>(exp<T>(-magnitude<T>(x)));
    return (x < T(0) ? Vec<T>{} : x) + y;
}

template <class T>
CHAINRULE_INLINE Vec<T> erf(Vec<T> x) {
    const Vec<T> a = not_above<T>(magnitude<T>(x), Numbers<T>::kErfOne), z = a * a;
    const Vec<T> t = T(1) / fma(a, splat<T>(T(0.5)), splat<T>(T(1)));
    Vec<T> near, far;
    if constexpr (kPrecise<T>) {
        near = polynomial<T>(kErfD, z);
        far = polynomial<T>(kErfTailD, t);
    } else {
        near = polynomial<T>(kErfF, z);
        far = polynomial<T>(kErfTailF, t);
    }
    const Vec<T> y = T(1) - exp_between<T>(-z) * far;
    return with_sign<T>(a < T(1) ? fma(a, near, a) : y, x);
}

} // namespace chainrule::CHAINRULE_ISA
