// Names of the elementwise functions, and those through the C library that an instruction set may lack.
#include "vecmath.hpp"

#include <cmath>
#include <cstring>
#include <limits>

namespace chainrule {
namespace {

template <int N>
int find(const char* const (&names)[N], const char* name) {
    for (int i = 0; i < N; ++i)
        if (std::strcmp(names[i], name) == 0) return i;
    return -1;
}

#define CHAINRULE_NAME(name) #name,
const char* const kUnaryNames[] = {CHAINRULE_UNARY(CHAINRULE_NAME)};
const char* const kBinaryNames[] = {CHAINRULE_BINARY(CHAINRULE_NAME)};
const char* const kCompareNames[] = {CHAINRULE_COMPARE(CHAINRULE_NAME)};
const char* const kTestNames[] = {CHAINRULE_TEST(CHAINRULE_NAME)};
const char* const kLogicNames[] = {CHAINRULE_LOGIC(CHAINRULE_NAME)};
#undef CHAINRULE_NAME

template <class T, class F>
void each(std::ptrdiff_t n, const T* x, T* out, F f) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = f(x[i]);
}

template <class T, class F>
void each(std::ptrdiff_t n, const T* a, int a_step, const T* b, int b_step, T* out, F f) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = f(a[i * a_step], b[i * b_step]);
}

double cube_root(double x) {
    if (x != 0 && std::fabs(x) < 0x1p-700) return cube_root(x * 0x1p600) * 0x1p-200; // the residual would underflow
    const double y = std::cbrt(x);
    // The C library's result may be 4 ulp off; one step of Newton's method with an exact residual repairs it.
    if (y == 0 || !std::isfinite(y)) return y;
    const double square = y * y;
    const double low = std::fma(y, y, -square);
    const double residual = std::fma(square, y, -x) + low * y;
    return y - residual / (3 * square);
}
float cube_root(float x) { return std::cbrt(x); }

template <class T>
T log_add_exp(T a, T b) {
    if (a == b) return a + std::log(T(2)); // infinities too
    const T gap = a - b;
    if (gap > 0) return a + std::log1p(std::exp(-gap));
    if (gap <= 0) return b + std::log1p(std::exp(gap));
    return gap; // NaN
}

template <class T>
void fill(VecKernels<T>& k) {
    using L = std::ptrdiff_t;
#define CHAINRULE_LIBM(name, call)                                                                                  \
    k.unary[static_cast<int>(Unary::name)] = [](L n, const T* x, T* out) {                                          \
        each(n, x, out, [](T v) -> T { return call; });                                                             \
    }
    CHAINRULE_LIBM(sin, std::sin(v));
    CHAINRULE_LIBM(cos, std::cos(v));
    CHAINRULE_LIBM(tan, std::tan(v));
    CHAINRULE_LIBM(arcsin, std::asin(v));
    CHAINRULE_LIBM(arccos, std::acos(v));
    CHAINRULE_LIBM(arctan, std::atan(v));
    CHAINRULE_LIBM(sinh, std::sinh(v));
    CHAINRULE_LIBM(cosh, std::cosh(v));
    CHAINRULE_LIBM(arcsinh, std::asinh(v));
    CHAINRULE_LIBM(arccosh, std::acosh(v));
    CHAINRULE_LIBM(arctanh, std::atanh(v));
    CHAINRULE_LIBM(cbrt, cube_root(v));
#undef CHAINRULE_LIBM
#define CHAINRULE_LIBM(name, call)                                                                                  \
    k.binary[static_cast<int>(Binary::name)] = [](L n, const T* a, int a_step, const T* b, int b_step, T* out) {     \
        each(n, a, a_step, b, b_step, out, [](T v, T w) -> T { return call; });                                     \
    }
    CHAINRULE_LIBM(power, std::pow(v, w));
    CHAINRULE_LIBM(arctan2, std::atan2(v, w));
    CHAINRULE_LIBM(hypot, std::hypot(v, w));
    CHAINRULE_LIBM(logaddexp, log_add_exp(v, w));
#undef CHAINRULE_LIBM
}

} // namespace

int find_unary(const char* name) { return find(kUnaryNames, name); }
int find_binary(const char* name) { return find(kBinaryNames, name); }
int find_compare(const char* name) { return find(kCompareNames, name); }
int find_test(const char* name) { return find(kTestNames, name); }
int find_logic(const char* name) { return find(kLogicNames, name); }

void fill_scalar(VecKernels<float>& k) { fill(k); }
void fill_scalar(VecKernels<double>& k) { fill(k); }

} // namespace chainrule
