// The largest error of each function in units of the last place.
//
//     accuracy float  FUNCTION START STEP    every STEP-th of the 2^32 floats from number START on, against double
//     accuracy double FUNCTION SEED  COUNT   COUNT random doubles, against the widest floating type
//
// Prints: function, worst error, argument. Zeros' signs, infinities and NaN must match; where they don't, the error is
// infinite. "all" takes every function.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels.hpp"

using namespace chainrule;

namespace {

template <class W>
struct Reference {
    const char* name;
    W (*of)(W);
};

template <class W>
W wide_sigmoid(W x) { // for the result's last place near 0 too
    const W e = std::exp(-std::fabs(x));
    return (x < 0 ? e : W(1)) / (1 + e);
}
template <class W>
W wide_softplus(W x) { return std::fmax(x, W(0)) + std::log1p(std::exp(-std::fabs(x))) + (x - x); }
template <class W>
W wide_relu(W x) { return x > 0 ? x : x != x ? x : W(0); }

#define ROW(name, call) {#name, [](W x) -> W { return call; }}
template <class W>
const std::vector<Reference<W>>& references() {
    static const std::vector<Reference<W>> rows = {
        ROW(exp, std::exp(x)),       ROW(expm1, std::expm1(x)),     ROW(exp2, std::exp2(x)),
        ROW(log, std::log(x)),       ROW(log1p, std::log1p(x)),     ROW(log2, std::log2(x)),
        ROW(log10, std::log10(x)),   ROW(tanh, std::tanh(x)),       ROW(sigmoid, wide_sigmoid(x)),
        ROW(softplus, x == -std::numeric_limits<W>::infinity() ? W(0) : x > 0 && std::isinf(x) ? x : wide_softplus(x)),
        ROW(erf, std::erf(x)),       ROW(sqrt, std::sqrt(x)),       ROW(reciprocal, 1 / x),
        ROW(relu, wide_relu(x)),     ROW(sin, std::sin(x)),         ROW(cos, std::cos(x)),
        ROW(tan, std::tan(x)),       ROW(arcsin, std::asin(x)),     ROW(arccos, std::acos(x)),
        ROW(arctan, std::atan(x)),   ROW(sinh, std::sinh(x)),       ROW(cosh, std::cosh(x)),
        ROW(arcsinh, std::asinh(x)), ROW(arccosh, std::acosh(x)),   ROW(arctanh, std::atanh(x)),
        ROW(cbrt, std::cbrt(x)),     ROW(floor, std::floor(x)),     ROW(ceil, std::ceil(x)),
        ROW(rint, std::rint(x)),     ROW(trunc, std::trunc(x)),
    };
    return rows;
}

template <class T, class W>
double error(T found, W wanted) {
    const T rounded = static_cast<T>(wanted);
    if (std::isnan(wanted) || std::isnan(found)) return std::isnan(wanted) == std::isnan(found) ? 0 : INFINITY;
    if (found == rounded) return wanted == 0 && std::signbit(found) != std::signbit(rounded) ? INFINITY : 0;
    if (std::isinf(wanted)) return INFINITY;
    const T most = std::numeric_limits<T>::max();
    const W beyond = W(most) * (1 + W(std::numeric_limits<T>::epsilon()) / 2);
    const W close = std::isinf(found) ? std::copysign(beyond, W(found)) : W(found);
    const T at = std::fmin(std::fabs(rounded), most);
    const W unit = W(at) - W(std::nextafter(at, T(0)));
    const W least = W(std::numeric_limits<T>::denorm_min());
    return static_cast<double>(std::fabs(close - wanted) / (unit > least ? unit : least));
}

template <class T, class W>
struct Worst {
    double ulp = 0;
    T at = 0, found = 0;
    W wanted = 0;
    void take(const std::vector<T>& x, const std::vector<T>& y, const Reference<W>& r) {
        for (std::size_t i = 0; i < x.size(); ++i) {
            const W w = r.of(W(x[i]));
            const double e = error<T, W>(y[i], w);
            if (e > ulp) ulp = e, at = x[i], found = y[i], wanted = w;
        }
    }
    void print(const char* name) const {
        std::printf("%s %.3f %.17g found %.17g wanted %.20Lg\n", name, ulp, static_cast<double>(at),
                    static_cast<double>(found), static_cast<long double>(wanted));
        std::fflush(stdout);
    }
};

void floats(const Reference<double>& r, std::uint64_t start, std::uint64_t step) {
    const auto run = kernels().vec_f32.unary[find_unary(r.name)];
    Worst<float, double> worst;
    std::vector<float> x, y;
    for (std::uint64_t i = start; i < (1ull << 32);) {
        x.clear();
        for (; i < (1ull << 32) && x.size() < 4096; i += step) {
            const auto bits = static_cast<std::uint32_t>(i);
            float v;
            std::memcpy(&v, &bits, sizeof v);
            x.push_back(v);
        }
        y.resize(x.size());
        run(static_cast<std::ptrdiff_t>(x.size()), x.data(), y.data());
        worst.take(x, y, r);
    }
    worst.print(r.name);
}

void doubles(const Reference<long double>& r, std::uint64_t seed, std::uint64_t count) {
    const auto run = kernels().vec_f64.unary[find_unary(r.name)];
    Worst<double, long double> worst;
    std::mt19937_64 bits(seed);
    std::vector<double> x, y;
    const double special[] = {0.0, -0.0, 1.0, -1.0, INFINITY, -INFINITY, NAN, 5e-324, -5e-324, 2.2250738585072014e-308,
                              1.7976931348623157e308, -1.7976931348623157e308, 709.78, 709.79, -745.13, -745.14};
    for (std::uint64_t done = 0; done < count; done += 4096) {
        x.assign(std::begin(special), std::end(special));
        while (x.size() < 4096) {
            const std::uint64_t b = bits();
            double v;
            std::memcpy(&v, &b, sizeof v);
            const double unit = static_cast<double>(bits() >> 11) * 0x1p-53;
            x.push_back(v);                            // any exponent
            x.push_back((unit - 0.5) * 1500);          // to the ends of exp
            x.push_back((unit - 0.5) * 12);            // where the functions bend
            x.push_back((unit - 0.5) * 2);
            x.push_back(1 + (unit - 0.5) * 0.01);      // where logarithms vanish
            x.push_back(std::ldexp(unit - 0.5, -static_cast<int>(b % 60)));
        }
        y.resize(x.size());
        run(static_cast<std::ptrdiff_t>(x.size()), x.data(), y.data());
        worst.take(x, y, r);
    }
    worst.print(r.name);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 5) return std::fprintf(stderr, "accuracy float|double FUNCTION START|SEED STEP|COUNT\n"), 2;
    const std::uint64_t a = std::strtoull(argv[3], nullptr, 10), b = std::strtoull(argv[4], nullptr, 10);
    const bool all = std::strcmp(argv[2], "all") == 0;
    const auto wanted = [&](const char* name) { return all || std::strcmp(argv[2], name) == 0; };
    if (std::strcmp(argv[1], "float") == 0) {
        for (const auto& r : references<double>())
            if (wanted(r.name)) floats(r, a, b);
    } else {
        for (const auto& r : references<long double>())
            if (wanted(r.name)) doubles(r, a, b);
    }
    return 0;
}
