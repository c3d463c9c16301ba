// Compiled with -ffast-math, which lets the compiler take the C library's vector versions. No comparisons with infinity
// or NaN here: they would not survive it.
#include "references.hpp"

#include <cmath>
#include <cstring>

#include "kernels.hpp"

namespace {

struct Row {
    const char* name;
    QuickReference run;
};

// Beyond, exponentials are zero or infinite as floats, and the vector functions would leave their quick path.
double bounded(double x) { return x < -700 ? -700 : x > 700 ? 700 : x; }

#define ROW(name, call)                                                                                             \
    {#name, [](std::size_t n, const double* from, double* out) {                                                    \
         for (std::size_t i = 0; i < n; ++i) {                                                                      \
             const double x = from[i];                                                                              \
             out[i] = call;                                                                                         \
         }                                                                                                          \
     }}
const Row kRows[] = {
    ROW(exp, std::exp(bounded(x))),
    ROW(expm1, std::expm1(bounded(x))),
    ROW(exp2, std::exp2(bounded(x))),
    ROW(log, std::log(x)),
    ROW(log1p, std::log1p(x)),
    ROW(log2, std::log2(x)),
    ROW(log10, std::log10(x)),
    ROW(tanh, std::tanh(x)),
    ROW(sigmoid, 1 / (1 + std::exp(bounded(-x)))),
    ROW(softplus, (x > 0 ? x : 0) + std::log1p(std::exp(bounded(-std::fabs(x))))),
    ROW(erf, std::erf(x)),
    ROW(sin, std::sin(x)),
    ROW(cos, std::cos(x)),
    ROW(tan, std::tan(x)),
    ROW(arcsin, std::asin(x)),
    ROW(arccos, std::acos(x)),
    ROW(arctan, std::atan(x)),
    ROW(sinh, std::sinh(bounded(x))),
    ROW(cosh, std::cosh(bounded(x))),
    ROW(arcsinh, std::asinh(x)),
    ROW(arccosh, std::acosh(x)),
    ROW(arctanh, std::atanh(x)),
    ROW(cbrt, std::cbrt(x)),
};

} // namespace

QuickReference quick_reference(const char* name) {
    if (std::strcmp(chainrule::kernels().name, "portable") == 0) return nullptr; // this file may use AVX2
    for (const Row& r : kRows)
        if (std::strcmp(r.name, name) == 0) return r.run;
    return nullptr;
}
