// The vectorised functions over arrays, for one instruction set.
#include "functions.hpp"
#include "isa_tables.hpp"

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

#define CHAINRULE_FUNCTIONS(X)                                                                                      \
    X(exp) X(expm1) X(exp2) X(log) X(log1p) X(log2) X(log10) X(tanh) X(sigmoid) X(softplus) X(erf)

CHAINRULE_FUNCTIONS(CHAINRULE_FUNCTION)

template <class T>
void fill(VecKernels<T>& k) {
#define CHAINRULE_SET(name) k.unary[static_cast<int>(Unary::name)] = name##_array<T>;
    CHAINRULE_FUNCTIONS(CHAINRULE_SET)
}

} // namespace

void fill_functions(Kernels& k) {
    fill(k.vec_f32);
    fill(k.vec_f64);
}

} // namespace chainrule::CHAINRULE_ISA
