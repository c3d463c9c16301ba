// Vectors of powers, roots and sums of exponentials, for one instruction set. Floats that need more than their own
// digits go through doubles.
#pragma once

#include "functions.hpp"

namespace chainrule::CHAINRULE_ISA {

template <class T>
CHAINRULE_INLINE Vec<T> cbrt(Vec<T> x) {
    using N = Numbers<T>;
    const Vec<T> a = magnitude<T>(x);
    const LogParts<T> p = split<T>(a);
    // a = 2^(3 n) m, m = 2^j (1 + f), j = -1, 0 or 1
    const Vec<T> n = fma(p.k, splat<T>(T(1) / T(3)), splat<T>(N::kMagic)) - N::kMagic, j = p.k - T(3) * n;
    const Vec<T> one = splat<T>(T(1));
    const Vec<T> m = (p.f + T(1)) * (j < T(0) ? splat<T>(T(0.5)) : j > T(0) ? splat<T>(T(2)) : one);
    const Vec<T> root_of_j = j < T(0)   ? splat<T>(T(1.25992104989487316477))
                             : j > T(0) ? splat<T>(T(0.79370052598409973738))
                                        : one;
    Vec<T> r; // m^(-1/3): a guess, then a step of the third order
    if constexpr (kPrecise<T>) r = root_of_j * polynomial<T>(kInverseCubeRootD, p.f);
    else r = root_of_j * polynomial<T>(kInverseCubeRootF, p.f);
    const Vec<T> h = fma(-(m * r), r * r, one);
    r = fma(r * h, fma(h, splat<T>(T(2) / T(9)), splat<T>(T(1) / T(3))), r);
    // y = m r², and a step of Newton's method with an exact residual
    const Vec<T> y = m * r * r;
    const Sum<T> square = two_product<T>({y, Vec<T>{}}, {y, Vec<T>{}});
    const Sum<T> cube = two_product<T>(square, {y, Vec<T>{}});
    const Vec<T> root = fma(((m - cube.high) - cube.low) * T(1.0 / 3), r * r, y) * power_of_two<T>(integer<T>(n));
    return (a > T(0)) & (a < N::kInfinity) ? with_sign<T>(root, x) : x + x;
}

// log(x) for positive finite x, to more digits than a double has.
CHAINRULE_INLINE Sum<double> log_sum(F64 x) {
    using N = Numbers<double>;
    const LogParts<double> p = split<double>(x);
    const Sum<double> s = two_quotient<double>({p.f, F64{}}, two_sum<double>(splat(2.0), p.f));
    const Sum<double> z = two_product<double>(s, s);
    // 2 s + s z (2/3 + z P(z))
    Sum<double> c = two_sum<double>(splat(0x1.5555555555555p-1), z.high * polynomial<double>(kLogRestD, z.high));
    c.low += 0x1.5555555555555p-55;
    const Sum<double> tail = two_product<double>(s, two_product<double>(z, c));
    const Sum<double> near = two_sum<double>(2.0 * s.high, tail.high);
    const Sum<double> all = two_sum<double>(p.k * N::kLn2High, near.high);
    const F64 low = all.low + fma(p.k, splat(N::kLn2Low), near.low + (2.0 * s.low + tail.low));
    const F64 high = all.high + low;
    return {high, low - (high - all.high)};
}

template <class T>
CHAINRULE_INLINE Mask<T> is_whole(Vec<T> a) { // for a >= 0
    const T digits = T(1ll << Numbers<T>::kBits); // beyond, all numbers are
    return (a >= digits) | ((a + digits) - digits == a);
}

// x^y from |x|^y, which need not be right where x is 0, infinite or NaN.
template <class T>
CHAINRULE_INLINE Vec<T> power_ends(Vec<T> x, Vec<T> y, Vec<T> result) {
    const T infinity = Numbers<T>::kInfinity;
    const Vec<T> a = magnitude<T>(x), b = magnitude<T>(y), one = splat<T>(T(1));
    const Mask<T> whole = is_whole<T>(b), odd = whole & ~is_whole<T>(T(0.5) * b);
    const Vec<T> end = (a > T(1)) ^ (y > T(0)) ? Vec<T>{} : splat<T>(infinity); // of 0 and infinity
    result = (a == T(0)) | (a == infinity) ? end : result;
    result = (a == T(1)) ? one : result;
    result = odd ? with_sign<T>(result, x) : result;
    result = (x < T(0)) & (a < infinity) & ~whole ? splat<T>(T(__builtin_nan(""))) : result;
    result = (x != x) | ((y != y) & (x != T(1))) ? x + y : result;
    return y == T(0) ? one : result;
}

CHAINRULE_INLINE F64 power_of_doubles(F64 x, F64 y) {
    using N = Numbers<double>;
    const Sum<double> l = log_sum(magnitude<double>(x));
    const F64 e = y * l.high;
    const F64 low = fma(y, l.low, product_rest<double>(y, l.high, e));
    ExpParts<double> parts = exp_parts<double>(not_above<double>(not_below<double>(e, N::kExpLow), N::kExpHigh));
    // e^(e + low) = e^e (1 + low); beyond the range `low` may be infinity less infinity.
    const F64 more = magnitude<double>(e) < 1000.0 ? low : F64{};
    parts.tail += fma(more, parts.r + parts.tail, more);
    return scaled<double>(1.0 + (parts.r + parts.tail), parts.n);
}

// (2^k (1 + f))^y to the digits of a float, from 2^-200 to 2^200.
CHAINRULE_INLINE F64 power_of_parts(F64 k, F64 f, F64 y) {
    using N = Numbers<double>;
    const F64 s = f / (2.0 + f), z = s * s;
    const F64 l = fma(k, splat(0.69314718055994530942), fma(s * z, polynomial<double>(kShortLogD, z), s + s));
    const F64 e = not_above<double>(not_below<double>(y * l, -138.0), 138.0);
    const F64 n = fma(e, splat(N::kLog2e), splat(N::kMagic)) - N::kMagic;
    const F64 r = fma(n, splat(-0.69314718055994530942), e);
    return fma(r * r, polynomial<double>(kShortExpD, r), 1.0 + r) * power_of_two<double>(integer<double>(n));
}

template <class T>
CHAINRULE_INLINE Vec<T> power(Vec<T> x, Vec<T> y) {
    Vec<T> result;
    if constexpr (kPrecise<T>) {
        result = power_of_doubles(x, y);
    } else {
        const LogParts<T> p = split<T>(magnitude<T>(x));
        const Wide k = widened(p.k), f = widened(p.f), e = widened(y);
        result = narrowed({power_of_parts(k.first, f.first, e.first), power_of_parts(k.second, f.second, e.second)});
    }
    return power_ends<T>(x, y, result);
}

CHAINRULE_INLINE F64 hypot_of_floats(F64 x, F64 y) { return square_root(fma(x, x, y * y)); }

CHAINRULE_INLINE F64 hypot_of_doubles(F64 a, F64 b) {
    const F64 most = a > b ? a : b, one = splat(1.0), down = splat(0x1p-600), up = splat(0x1p600);
    const I64 large = most > 0x1p400, small = most < 0x1p-400;
    const F64 scale = large ? down : small ? up : one, back = large ? up : small ? down : one;
    const F64 p = a * scale, q = b * scale;
    const Sum<double> u = two_product<double>({p, F64{}}, {p, F64{}}), v = two_product<double>({q, F64{}}, {q, F64{}});
    Sum<double> sum = two_sum<double>(u.high, v.high);
    sum.low += u.low + v.low;
    const Sum<double> root = two_root<double>(sum);
    return (root.high + root.low) * back;
}

template <class T>
CHAINRULE_INLINE Vec<T> hypot(Vec<T> x, Vec<T> y) {
    const T infinity = Numbers<T>::kInfinity;
    const Vec<T> a = magnitude<T>(x), b = magnitude<T>(y);
    Vec<T> root;
    if constexpr (kPrecise<T>) {
        root = hypot_of_doubles(a, b);
    } else {
        const Wide p = widened(a), q = widened(b);
        root = narrowed({hypot_of_floats(p.first, q.first), hypot_of_floats(p.second, q.second)});
    }
    return (a == infinity) | (b == infinity) ? splat<T>(infinity) : root; // even where the other is NaN
}

CHAINRULE_INLINE F64 log_add_exp(F64 a, F64 b) {
    const Sum<double> gap = two_sum<double>(a, -b);
    const F64 g = magnitude<double>(gap.high), most = a > b ? a : b;
    F64 e = exp<double>(-g);
    e -= e * (g < Numbers<double>::kInfinity ? (gap.high < 0.0 ? -gap.low : gap.low) : F64{});
    const F64 y = most + log1p_of_fraction<double>(e);
    return a == b ? a + 0.69314718055994530942 : y; // infinities too
}

template <class T>
CHAINRULE_INLINE Vec<T> logaddexp(Vec<T> x, Vec<T> y) {
    if constexpr (kPrecise<T>) {
        return log_add_exp(x, y);
    } else {
        const Wide a = widened(x), b = widened(y);
        return narrowed({log_add_exp(a.first, b.first), log_add_exp(a.second, b.second)});
    }
}

} // namespace chainrule::CHAINRULE_ISA
