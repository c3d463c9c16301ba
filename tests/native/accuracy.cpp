// The largest error of each function in units of the last place.
//
//     accuracy float32 FUNCTION START STEP    every STEP-th of the 2^32 floats from number START on, against double
//     accuracy float64 FUNCTION SEED  COUNT   COUNT random doubles, against the widest floating type
//
// Prints: function, worst error (0 where each result is the nearest number), argument. Zeros' signs, infinities and NaN
// must match; where they don't, the error is infinite. "all" takes every function. Floats are shared among all cores.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels.hpp"
#include "references.hpp"

using namespace chainrule;

namespace {

template <class W>
struct Reference {
    const char* name;
    W (*of)(W);
    void (*of_all)(std::size_t n, const W* x, W* out);
};

template <class W>
W wide_sigmoid(W x) { // for the result's last place near 0 too
    const W e = std::exp(-std::fabs(x));
    return (x < 0 ? e : W(1)) / (1 + e);
}
template <class W>
W wide_softplus(W x) {
    if (std::isinf(x)) return x > 0 ? x : W(0);
    return std::fmax(x, W(0)) + std::log1p(std::exp(-std::fabs(x))) + (x - x);
}

#define ROW(name, call)                                                                                             \
    {#name, [](W x) -> W { return call; },                                                                          \
     [](std::size_t n, const W* from, W* out) {                                                                     \
         for (std::size_t i = 0; i < n; ++i) {                                                                      \
             const W x = from[i];                                                                                   \
             out[i] = call;                                                                                         \
         }                                                                                                          \
     }}
template <class W>
const std::vector<Reference<W>>& references() {
    static const std::vector<Reference<W>> rows = {
        ROW(negative, -x),           ROW(absolute, std::fabs(x)),   ROW(square, x* x),
        ROW(sign, x > 0 ? W(1) : x < 0 ? W(-1) : x + W(0)),
        ROW(sqrt, std::sqrt(x)),     ROW(reciprocal, 1 / x),        ROW(relu, x > 0 || x != x ? x : W(0)),
        ROW(identity, x),            ROW(floor, std::floor(x)),     ROW(ceil, std::ceil(x)),
        ROW(rint, std::rint(x)),     ROW(trunc, std::trunc(x)),     ROW(exp, std::exp(x)),
        ROW(expm1, std::expm1(x)),   ROW(exp2, std::exp2(x)),       ROW(log, std::log(x)),
        ROW(log1p, std::log1p(x)),   ROW(log2, std::log2(x)),       ROW(log10, std::log10(x)),
        ROW(tanh, std::tanh(x)),     ROW(sigmoid, wide_sigmoid(x)), ROW(softplus, wide_softplus(x)),
        ROW(erf, std::erf(x)),       ROW(sin, std::sin(x)),         ROW(cos, std::cos(x)),
        ROW(tan, std::tan(x)),       ROW(arcsin, std::asin(x)),     ROW(arccos, std::acos(x)),
        ROW(arctan, std::atan(x)),   ROW(sinh, std::sinh(x)),       ROW(cosh, std::cosh(x)),
        ROW(arcsinh, std::asinh(x)), ROW(arccosh, std::acosh(x)),   ROW(arctanh, std::atanh(x)),
        ROW(cbrt, std::cbrt(x)),
    };
    return rows;
}

// The distance of neighbours of T where x lies, subnormals included.
template <class T, class W>
W spacing(W x) {
    using L = std::numeric_limits<T>;
    const W least = W(L::denorm_min());
    if (std::fabs(x) < W(L::min())) return least;
    return std::ldexp(W(1), (std::isfinite(x) ? std::ilogb(x) : L::max_exponent) - L::digits + 1);
}

template <class T, class W>
double error(T found, W wanted) {
    const T rounded = static_cast<T>(wanted);
    if (std::isnan(wanted) || std::isnan(found)) return std::isnan(wanted) == std::isnan(found) ? 0 : INFINITY;
    if (found == rounded) return wanted == 0 && std::signbit(found) != std::signbit(rounded) ? INFINITY : 0;
    if (std::isinf(wanted)) return INFINITY;
    const W beyond = std::ldexp(W(1), std::numeric_limits<T>::max_exponent);
    const W close = std::isinf(found) ? std::copysign(beyond, W(found)) : W(found);
    return static_cast<double>(std::fabs(close - wanted) / spacing<T, W>(wanted));
}

template <class T, class W>
struct Worst {
    double ulp = 0;
    T at = 0, found = 0;
    W wanted = 0;
    void take(T x, T y, W w) {
        const double e = error<T, W>(y, w);
        if (e > ulp) ulp = e, at = x, found = y, wanted = w;
    }
    void print(const char* name) const {
        std::printf("%s %.3f %.17g found %.17g wanted %.20Lg\n", name, ulp, static_cast<double>(at),
                    static_cast<double>(found), static_cast<long double>(wanted));
        std::fflush(stdout);
    }
};

// 1 where y may be more than `worst` (at least 1/2) ulp from w, or have another sign of zero or not be NaN as w is:
// quick, and compiled to vectors. What it finds, error() looks at.
std::uint64_t suspect(float y, double w, double worst) {
    const double most = 0x1p128, f = y;
    const double found = f > most ? most : f < -most ? -most : f, wanted = w > most ? most : w < -most ? -most : w;
    std::uint64_t bits, sign;
    std::memcpy(&bits, &w, sizeof bits);
    std::memcpy(&sign, &f, sizeof sign);
    sign = (sign ^ bits) >> 63;
    bits &= 0x7ff0000000000000u;
    double unit;
    std::memcpy(&unit, &bits, sizeof unit);
    unit = unit * 0x1p-23 > 0x1p-149 ? unit * 0x1p-23 : 0x1p-149;
    const double distance = found - wanted, limit = worst * unit;
    const std::uint64_t near = (distance <= limit) & (distance >= -limit), both_nan = (f != f) & (w != w);
    return ((near | both_nan) ^ 1) | ((f == 0) & sign);
}

constexpr std::size_t kBlock = 4096, kRun = 64;

// Floats number start, start + step, … below end.
Worst<float, double> floats_between(const Reference<double>& r, std::uint64_t start, std::uint64_t end,
                                    std::uint64_t step) {
    const auto run = kernels().vec_f32.unary[find_unary(r.name)];
    const auto quick = quick_reference(r.name);
    Worst<float, double> worst;
    std::vector<float> x(kBlock), y(kBlock);
    std::vector<double> wide(kBlock), wanted(kBlock);
    for (std::uint64_t i = start; i < end;) {
        std::size_t n = 0;
        for (; i < end && n < kBlock; i += step) {
            const auto bits = static_cast<std::uint32_t>(i);
            std::memcpy(&x[n++], &bits, sizeof bits);
        }
        for (std::size_t j = 0; j < n; ++j) wide[j] = x[j];
        run(static_cast<std::ptrdiff_t>(n), x.data(), y.data());
        (quick ? quick : r.of_all)(n, wide.data(), wanted.data());
        for (std::size_t j = 0; j < n; j += kRun) {
            const std::size_t stop = j + kRun < n ? j + kRun : n;
            const double limit = worst.ulp > 0.5 ? worst.ulp : 0.5;
            std::uint64_t any = 0;
            for (std::size_t k = j; k < stop; ++k) any |= suspect(y[k], wanted[k], limit);
            for (std::size_t k = j; any && k < stop; ++k)
                if (suspect(y[k], wanted[k], limit)) worst.take(x[k], y[k], r.of(wide[k]));
        }
    }
    return worst;
}

void floats(const Reference<double>& r, std::uint64_t start, std::uint64_t step) {
    const std::uint64_t all = 1ull << 32, count = (all - start + step - 1) / step;
    const std::uint64_t cores = std::thread::hardware_concurrency(), parts = cores < 1 ? 1 : cores;
    std::vector<Worst<float, double>> found(parts);
    std::vector<std::thread> threads;
    for (std::uint64_t part = 0; part < parts; ++part)
        threads.emplace_back([&, part] {
            const auto at = [&](std::uint64_t p) { return start + count * p / parts * step; };
            found[part] = floats_between(r, at(part), part + 1 == parts ? all : at(part + 1), step);
        });
    for (auto& t : threads) t.join();
    Worst<float, double> worst = found[0];
    for (const auto& w : found)
        if (w.ulp > worst.ulp) worst = w;
    worst.print(r.name);
}

void doubles(const Reference<long double>& r, std::uint64_t seed, std::uint64_t count) {
    const auto run = kernels().vec_f64.unary[find_unary(r.name)];
    Worst<double, long double> worst;
    std::mt19937_64 bits(seed);
    std::vector<double> x, y;
    const double special[] = {0.0, -0.0, 1.0, -1.0, INFINITY, -INFINITY, NAN, 5e-324, -5e-324, 2.2250738585072014e-308,
                              1.7976931348623157e308, -1.7976931348623157e308, 709.78, 709.79, -745.13, -745.14,
                              1.5707963267948966, 3.141592653589793, 710.4758, -710.4759, 0.5, -0.5, 1e9, 1.1e9};
    for (std::uint64_t done = 0; done < count; done += kBlock) {
        x.assign(std::begin(special), std::end(special));
        while (x.size() < kBlock) {
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
            x.push_back(std::ldexp(unit - 0.5, static_cast<int>(b % 34))); // around the circle many times
            x.push_back(std::rint((unit - 0.5) * 1e6) * 1.5707963267948966); // close to its quarters
        }
        y.resize(x.size());
        run(static_cast<std::ptrdiff_t>(x.size()), x.data(), y.data());
        for (std::size_t i = 0; i < x.size(); ++i) worst.take(x[i], y[i], r.of(x[i]));
    }
    worst.print(r.name);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 5) return std::fprintf(stderr, "accuracy float32|float64 FUNCTION START|SEED STEP|COUNT\n"), 2;
    const std::uint64_t a = std::strtoull(argv[3], nullptr, 10), b = std::strtoull(argv[4], nullptr, 10);
    const bool all = std::strcmp(argv[2], "all") == 0;
    const auto wanted = [&](const char* name) { return all || std::strcmp(argv[2], name) == 0; };
    if (std::strcmp(argv[1], "float32") == 0) {
        for (const auto& r : references<double>())
            if (wanted(r.name)) floats(r, a, b);
    } else {
        for (const auto& r : references<long double>())
            if (wanted(r.name)) doubles(r, a, b);
    }
    return 0;
}
