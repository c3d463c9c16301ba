// Vectors of sine, cosine, tangent and their inverses, for one instruction set.
#pragma once

#include "functions.hpp"

namespace chainrule::CHAINRULE_ISA {

// x = (quarters) pi/2 + r + low, |r| <= pi/4; only the last two bits of `quarters` are meant.
template <class T>
struct Reduced {
    Vec<T> r, low;
    Bits<T> quarters;
};

// For |x| <= kCircle. Needs fused multiply-adds: the first is exact, because so much cancels.
template <class T>
CHAINRULE_INLINE Reduced<T> reduced(Vec<T> x) {
    using N = Numbers<T>;
    const auto& pi = Numbers<T>::kHalfPi;
    const Vec<T> shifted = fma(x, splat<T>(T(0.63661977236758134308)), splat<T>(N::kMagic));
    const Vec<T> n = shifted - N::kMagic;
    const Vec<T> near = fma(n, splat<T>(-pi[0]), x);
    const Vec<T> second = n * pi[1];
    const Sum<T> s = two_sum<T>(near, -second);
    const Vec<T> rest = fma(n, splat<T>(-pi[2]), s.low - product_rest<T>(n, splat<T>(pi[1]), second));
    const Vec<T> r = s.high + rest;
    return {r, rest - (r - s.high), (Bits<T>)shifted};
}

template <class T>
CHAINRULE_INLINE Sum<T> sine_of(const Reduced<T>& a) {
    const Vec<T> z = a.r * a.r;
    Vec<T> p;
    if constexpr (kPrecise<T>) p = polynomial<T>(kSinD, z);
    else p = polynomial<T>(kSinF, z);
    const Vec<T> tail = fma(a.r * z, p, a.low * (T(1) - T(0.5) * z)), high = a.r + tail;
    return {high, tail - (high - a.r)};
}

template <class T>
CHAINRULE_INLINE Sum<T> cosine_of(const Reduced<T>& a) {
    const Vec<T> z = a.r * a.r, half = T(0.5) * z, near = T(1) - half;
    Vec<T> p;
    if constexpr (kPrecise<T>) p = polynomial<T>(kCosD, z);
    else p = polynomial<T>(kCosF, z);
    const Vec<T> tail = ((T(1) - near) - half) + fma(z * z, p, -(a.r * a.low)), high = near + tail;
    return {high, tail - (high - near)};
}

template <class T>
CHAINRULE_INLINE Mask<T> is_odd(Bits<T> n) {
    return (n & 1) != 0;
}

template <class T, class F>
[[gnu::noinline, gnu::cold]] static Vec<T> by_library(Vec<T> x, Vec<T> y, Mask<T> where) {
    for (int i = 0; i < kWidth<T>; ++i)
        if (where[i]) y[i] = F::of(x[i]);
    return y;
}

// Lanes beyond kCircle come from the C library, the others never do: a lane's result is its own.
template <class T, class F>
CHAINRULE_INLINE Vec<T> with_far_lanes(Vec<T> x, Vec<T> y) {
    const Mask<T> far = magnitude<T>(x) > Numbers<T>::kCircle;
    if (__builtin_expect(any(far), false)) return by_library<T, F>(x, y, far);
    return y;
}

#define CHAINRULE_LIBRARY(name)                                                                                     \
    struct library_##name {                                                                                         \
        static float of(float x) { return __builtin_##name##f(x); }                                                 \
        static double of(double x) { return __builtin_##name(x); }                                                  \
    };
CHAINRULE_LIBRARY(sin)
CHAINRULE_LIBRARY(cos)
CHAINRULE_LIBRARY(tan)
#undef CHAINRULE_LIBRARY

// Sine after so many quarters of a circle more.
template <class T>
CHAINRULE_INLINE Vec<T> sine_after(Vec<T> x, std::uint32_t more) {
    const Reduced<T> a = reduced<T>(x);
    const Bits<T> q = a.quarters + more;
    const Vec<T> y = is_odd<T>(q) ? cosine_of<T>(a).high : sine_of<T>(a).high;
    return (Vec<T>)((Bits<T>)y ^ ((q & 2) << (8 * sizeof(T) - 2)));
}

template <class T>
CHAINRULE_INLINE Vec<T> sin(Vec<T> x) {
    const Vec<T> y = sine_after<T>(x, 0);
    return with_far_lanes<T, library_sin>(x, x == T(0) ? x : y); // -0
}

template <class T>
CHAINRULE_INLINE Vec<T> cos(Vec<T> x) {
    return with_far_lanes<T, library_cos>(x, sine_after<T>(x, 1));
}

template <class T>
CHAINRULE_INLINE Vec<T> tan(Vec<T> x) {
    const Reduced<T> a = reduced<T>(x);
    const Sum<T> s = sine_of<T>(a), c = cosine_of<T>(a);
    const Mask<T> odd = is_odd<T>(a.quarters);
    const Vec<T> y = quotient<T>({odd ? -c.high : s.high, odd ? -c.low : s.low},
                                 {odd ? s.high : c.high, odd ? s.low : c.low});
    return with_far_lanes<T, library_tan>(x, x == T(0) ? x : y);
}

// The angle of the point (x, y), x and y not negative, or of (-x, y) where `left`.
template <class T>
CHAINRULE_INLINE Vec<T> angle(Vec<T> y, Vec<T> x, Mask<T> left) {
    // tan(pi/8) and its inverse: from the nearest multiple of pi/4 the tangent is at most tan(pi/8).
    const Mask<T> steep = y > T(2.41421356) * x, middle = (y > T(0.41421356) * x) & ~steep;
    const Sum<T> difference = two_sum<T>(y, -x), sum = two_sum<T>(y, x);
    const Sum<T> numerator = {middle ? difference.high : steep ? -x : y, middle ? difference.low : Vec<T>{}};
    const Sum<T> denominator = {middle ? sum.high : steep ? y : x, middle ? sum.low : Vec<T>{}};
    Sum<T> t;
    Vec<T> z, p;
    if constexpr (kPrecise<T>) {
        t = two_quotient<T>(numerator, denominator);
        z = t.high * t.high;
        p = polynomial<T>(kAtanD, z);
    } else {
        t = {numerator.high / denominator.high, Vec<T>{}};
        z = t.high * t.high;
        p = polynomial<T>(kAtanF, z);
    }
    Vec<T> tail = fma(t.high * z, p, t.low * (T(1) - z));
    Vec<T> quarters = middle ? splat<T>(T(0.5)) : steep ? splat<T>(T(1)) : Vec<T>{}; // of a circle
    quarters = left ? T(2) - quarters : quarters;
    t.high = left ? -t.high : t.high;
    tail = left ? -tail : tail;
    const auto& pi = Numbers<T>::kHalfPi;
    const Vec<T> offset = quarters * pi[0];
    const Vec<T> offset_low = fma(quarters, splat<T>(pi[1]), product_rest<T>(quarters, splat<T>(pi[0]), offset));
    const Sum<T> total = two_sum<T>(offset, t.high);
    return total.high + (total.low + (tail + offset_low));
}

template <class T>
CHAINRULE_INLINE Vec<T> arctan(Vec<T> x) {
    const Vec<T> a = not_above<T>(magnitude<T>(x), T(0x1p60));
    return with_sign<T>(angle<T>(a, splat<T>(T(1)), Mask<T>{}), x);
}

template <class T>
CHAINRULE_INLINE Vec<T> arctan2(Vec<T> y, Vec<T> x) {
    using N = Numbers<T>;
    using S = typename Vectors<T>::Scalar;
    Vec<T> a = magnitude<T>(y), b = magnitude<T>(x);
    const Vec<T> most = a > b ? a : b;
    const Mask<T> endless = most == N::kInfinity;
    const Vec<T> one = splat<T>(T(1)), scale = most > N::kHuge ? splat<T>(T(0.0625))
                                               : most < N::kTiny ? splat<T>(N::kEnlarge) : one;
    a = endless ? (a == N::kInfinity ? one : Vec<T>{}) : a * scale;
    b = endless ? (b == N::kInfinity ? one : Vec<T>{}) : b * scale;
    b = most == T(0) ? one : b;
    const Mask<T> left = (bits<T>(x) & static_cast<S>(S(1) << (8 * sizeof(T) - 1))) != 0;
    const Vec<T> turned = with_sign<T>(angle<T>(a, b, left), y);
    return (x != x) | (y != y) ? x + y : turned;
}

// arcsin(x) = s + tail up to 1/2, pi/2 - 2 (s + tail) above, for |x|; NaN beyond 1.
template <class T>
struct Arc {
    Mask<T> near;
    Vec<T> s, tail;
};

template <class T>
CHAINRULE_INLINE Arc<T> arc(Vec<T> a) {
    const Mask<T> near = a <= T(0.5);
    const Vec<T> z = near ? a * a : T(0.5) - T(0.5) * a;
    Vec<T> p, low;
    const Sum<T> root = two_root<T>({z, Vec<T>{}});
    if constexpr (kPrecise<T>) p = polynomial<T>(kAsinD, z);
    else p = polynomial<T>(kAsinF, z);
    low = near ? Vec<T>{} : root.low;
    const Vec<T> s = near ? a : root.high;
    return {near, s, fma(s * z, p, low)};
}

template <class T>
CHAINRULE_INLINE Vec<T> arcsin(Vec<T> x) {
    const auto& pi = Numbers<T>::kHalfPi;
    const Arc<T> c = arc<T>(magnitude<T>(x));
    const Sum<T> far = two_sum<T>(splat<T>(pi[0]), T(-2) * c.s);
    const Vec<T> y = c.near ? c.s + c.tail : far.high + (far.low + fma(c.tail, splat<T>(T(-2)), splat<T>(pi[1])));
    return with_sign<T>(y, x);
}

template <class T>
CHAINRULE_INLINE Vec<T> arccos(Vec<T> x) {
    const auto& pi = Numbers<T>::kHalfPi;
    const Arc<T> c = arc<T>(magnitude<T>(x));
    // quarters pi/2 + factor (s + tail)
    const Mask<T> left = x < T(0);
    const Vec<T> quarters = c.near ? splat<T>(T(1)) : left ? splat<T>(T(2)) : Vec<T>{};
    const Vec<T> right = c.near ? splat<T>(T(-1)) : splat<T>(T(2)), factor = left ? -right : right;
    const Sum<T> total = two_sum<T>(quarters * pi[0], factor * c.s);
    return total.high + (total.low + fma(factor, c.tail, quarters * pi[1]));
}

} // namespace chainrule::CHAINRULE_ISA
