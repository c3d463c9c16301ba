// The vectorised functions over arrays, for one instruction set.
#include "functions.hpp"
#include "hyperbolic.hpp"
#include "isa_tables.hpp"
#include "powers.hpp"
#include "trigonometric.hpp"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Two vectors at a time: each is a chain of dependent operations, and two of them fill each other's gaps.
#define CHAINRULE_FUNCTION(name)                                                                                    \
    template <class T>                                                                                              \
    void name##_array(std::ptrdiff_t n, const T* x, T* out) {                                                       \
        constexpr int W = kWidth<T>;                                                                                \
        std::ptrdiff_t i = 0;                                                                                       \
        for (; i + 2 * W <= n; i += 2 * W) {                                                                        \
            const Vec<T> a = name<T>(load(x + i)), b = name<T>(load(x + i + W));                                    \
            store(out + i, a);                                                                                      \
            store(out + i + W, b);                                                                                  \
        }                                                                                                           \
        for (; i + W <= n; i += W) store(out + i, name<T>(load(x + i)));                                            \
        if (i < n) {                                                                                                \
            const int rest = static_cast<int>(n - i);                                                               \
            store_partial(out + i, name<T>(load_partial(x + i, rest)), rest);                                       \
        }                                                                                                           \
    }

// Of two arguments, either of which may be one number for all.
#define CHAINRULE_FUNCTION_OF_TWO(name)                                                                             \
    template <class T>                                                                                              \
    void name##_array(std::ptrdiff_t n, const T* a, int a_step, const T* b, int b_step, T* out) {                   \
        constexpr int W = kWidth<T>;                                                                                \
        if (n <= 0) return;                                                                                         \
        const Vec<T> left = splat(*a), right = splat(*b);                                                           \
        std::ptrdiff_t i = 0;                                                                                       \
        for (; i + W <= n; i += W)                                                                                  \
            store(out + i, name<T>(a_step ? load(a + i) : left, b_step ? load(b + i) : right));                     \
        if (i < n) {                                                                                                \
            const int rest = static_cast<int>(n - i);                                                               \
            const Vec<T> x = a_step ? load_partial(a + i, rest) : left;                                             \
            const Vec<T> y = b_step ? load_partial(b + i, rest) : right;                                            \
            store_partial(out + i, name<T>(x, y), rest);                                                            \
        }                                                                                                           \
    }

#define CHAINRULE_FUNCTIONS(X)                                                                                      \
    X(exp) X(expm1) X(exp2) X(log) X(log1p) X(log2) X(log10) X(tanh) X(sigmoid) X(softplus) X(erf)
// Without fused multiply-adds, the C library is as fast for doubles here,
#define CHAINRULE_RARE_FUNCTIONS(X)                                                                                 \
    X(arcsin) X(arccos) X(arctan) X(sinh) X(cosh) X(arcsinh) X(arccosh) X(arctanh) X(cbrt)
#define CHAINRULE_RARE_FUNCTIONS_OF_TWO(X) X(arctan2) X(hypot)
// and for floats too, or these are too inexact: they take away multiples of pi.
#define CHAINRULE_FUSED_FUNCTIONS(X) X(sin) X(cos) X(tan)
#define CHAINRULE_FUSED_FUNCTIONS_OF_TWO(X) X(power) X(logaddexp)

CHAINRULE_FUNCTIONS(CHAINRULE_FUNCTION)
CHAINRULE_RARE_FUNCTIONS(CHAINRULE_FUNCTION)
CHAINRULE_FUSED_FUNCTIONS(CHAINRULE_FUNCTION)
CHAINRULE_RARE_FUNCTIONS_OF_TWO(CHAINRULE_FUNCTION_OF_TWO)
CHAINRULE_FUSED_FUNCTIONS_OF_TWO(CHAINRULE_FUNCTION_OF_TWO)

template <class T>
void fill(VecKernels<T>& k) {
#define CHAINRULE_SET(name) k.unary[static_cast<int>(Unary::name)] = name##_array<T>;
#define CHAINRULE_SET_OF_TWO(name) k.binary[static_cast<int>(Binary::name)] = name##_array<T>;
    CHAINRULE_FUNCTIONS(CHAINRULE_SET)
    if constexpr (kFusesMultiplyAdd || !kPrecise<T>) {
        CHAINRULE_RARE_FUNCTIONS(CHAINRULE_SET)
        CHAINRULE_RARE_FUNCTIONS_OF_TWO(CHAINRULE_SET_OF_TWO)
    }
    if constexpr (kFusesMultiplyAdd) {
        CHAINRULE_FUSED_FUNCTIONS(CHAINRULE_SET)
        CHAINRULE_FUSED_FUNCTIONS_OF_TWO(CHAINRULE_SET_OF_TWO)
    }
#undef CHAINRULE_SET
#undef CHAINRULE_SET_OF_TWO
}

} // namespace

void fill_functions(Kernels& k) {
    fill(k.vec_f32);
    fill(k.vec_f64);
}

} // namespace chainrule::CHAINRULE_ISA
