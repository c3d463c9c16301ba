// Vectors of hyperbolic functions (tanh stands with the exponentials) and their inverses, for one instruction set.
#pragma once

#include "functions.hpp"

namespace chainrule::CHAINRULE_ISA {

// e^a / 2 for a >= 0, to the end of the range of sinh and cosh.
template <class T>
CHAINRULE_INLINE Vec<T> half_exp(const ExpParts<T>& e) {
    return scaled<T>(T(1) + (e.r + e.tail), e.n - T(1));
}

template <class T>
CHAINRULE_INLINE Vec<T> sinh(Vec<T> x) {
    const Vec<T> a = not_above<T>(magnitude<T>(x), Numbers<T>::kExpHigh + T(1));
    const ExpParts<T> e = exp_parts<T>(a);
    // With m = e^a - 1: sinh(a) = (m + m / (m + 1)) / 2; far out it is e^a / 2.
    ExpParts<T> bounded = e;
    bounded.n = not_above<T>(e.n, T(60));
    const Sum<T> m = expm1_parts<T>(bounded), next = two_sum<T>(splat<T>(T(1)), m.high);
    const Vec<T> near = T(0.5) * (m.high + (quotient<T>(m, {next.high, next.low + m.low}) + m.low));
    return with_sign<T>(a > Numbers<T>::kTanhOne ? half_exp<T>(e) : near, x);
}

template <class T>
CHAINRULE_INLINE Vec<T> cosh(Vec<T> x) {
    const Vec<T> a = not_above<T>(magnitude<T>(x), Numbers<T>::kExpHigh + T(1));
    const ExpParts<T> e = exp_parts<T>(a);
    const Vec<T> scale = power_of_two<T>(integer<T>(not_above<T>(e.n, T(60)))) * T(0.5);
    const Sum<T> s = two_sum<T>(scale, scale * e.r); // e^a / 2
    const Vec<T> low = fma(scale, e.tail, s.low), high = s.high + low;
    const Vec<T> near = high + (T(0.25) / high + (low - (high - s.high)));
    return a > Numbers<T>::kTanhOne ? half_exp<T>(e) : near;
}

template <class T>
CHAINRULE_INLINE Vec<T> arcsinh(Vec<T> x) {
    using N = Numbers<T>;
    const Vec<T> a = magnitude<T>(x), bounded = not_above<T>(a, N::kMany), one = splat<T>(T(1));
    // arcsinh(a) = log(1 + a + a² / (1 + sqrt(1 + a²))); far out it is log(2 a).
    const Sum<T> square = two_product<T>({bounded, Vec<T>{}}, {bounded, Vec<T>{}});
    Sum<T> next = two_sum<T>(one, square.high);
    next.low += square.low;
    const Sum<T> root = two_root<T>(next);
    Sum<T> denominator = two_sum<T>(one, root.high);
    denominator.low += root.low;
    const Sum<T> more = two_sum<T>(bounded, quotient<T>(square, denominator));
    Sum<T> u = two_sum<T>(one, more.high);
    u.low += more.low;
    const Mask<T> far = a > N::kMany;
    const Vec<T> y = log_of_sum<T>({far ? a : u.high, far ? Vec<T>{} : u.low}, far ? one : Vec<T>{});
    return with_sign<T>((a > T(0)) & (a < N::kInfinity) ? y : a, x);
}

template <class T>
CHAINRULE_INLINE Vec<T> arccosh(Vec<T> x) {
    using N = Numbers<T>;
    const Vec<T> one = splat<T>(T(1)), t = not_above<T>(x, N::kMany) - T(1);
    // With t = x - 1: arccosh(x) = log(1 + t + sqrt(t (t + 2))); far out it is log(2 x).
    const Sum<T> root = two_root<T>(two_product<T>({t, Vec<T>{}}, two_sum<T>(t, splat<T>(T(2)))));
    const Sum<T> more = two_sum<T>(t, root.high);
    Sum<T> u = two_sum<T>(one, more.high);
    u.low += more.low + root.low;
    const Mask<T> far = x > N::kMany;
    Vec<T> y = log_of_sum<T>({far ? x : u.high, far ? Vec<T>{} : u.low}, far ? one : Vec<T>{});
    y = x == N::kInfinity ? x : y;
    return x >= T(1) ? y : splat<T>(T(__builtin_nan("")));
}

template <class T>
CHAINRULE_INLINE Vec<T> arctanh(Vec<T> x) {
    using N = Numbers<T>;
    const Vec<T> a = magnitude<T>(x), one = splat<T>(T(1));
    // arctanh(a) = log(1 + 2 a / (1 - a)) / 2
    const Sum<T> q = two_quotient<T>({a + a, Vec<T>{}}, two_sum<T>(one, -a));
    Sum<T> u = two_sum<T>(one, q.high);
    u.low += q.low;
    Vec<T> y = T(0.5) * log_of_sum<T>(u, Vec<T>{});
    y = a == T(1) ? splat<T>(N::kInfinity) : y;
    return a <= T(1) ? with_sign<T>(y, x) : splat<T>(T(__builtin_nan("")));
}

} // namespace chainrule::CHAINRULE_ISA
