// Arithmetic, comparisons, choices and conversions over arrays, for one instruction set: plain loops, which the
// compiler turns into vectors.
#include "isa.hpp"
#include "isa_tables.hpp"

// An output is an input or apart from it, so that iterations don't depend on each other.
#if defined(__clang__)
#define CHAINRULE_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define CHAINRULE_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class F, class T, class R>
void each(std::ptrdiff_t n, const T* x, R* out) {
    CHAINRULE_INDEPENDENT
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = F::of(x[i]);
}

template <class F, class T, class R>
void each(std::ptrdiff_t n, const T* a, int a_step, const T* b, int b_step, R* out) {
    if (a_step == 1 && b_step == 1) {
        CHAINRULE_INDEPENDENT
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = F::of(a[i], b[i]);
    } else if (a_step == 1) {
        const T right = n > 0 ? *b : T();
        CHAINRULE_INDEPENDENT
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = F::of(a[i], right);
    } else if (b_step == 1) {
        const T left = n > 0 ? *a : T();
        CHAINRULE_INDEPENDENT
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = F::of(left, b[i]);
    } else if (n > 0) {
        const R same = F::of(*a, *b);
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = same;
    }
}

#define CHAINRULE_UNARY_FORM(name, result, form)                                                                    \
    struct name##_form {                                                                                            \
        template <class T>                                                                                          \
        [[gnu::always_inline]] static inline result of(T x) {                                                       \
            return static_cast<result>(form);                                                                       \
        }                                                                                                           \
    };
#define CHAINRULE_BINARY_FORM(name, result, form)                                                                   \
    struct name##_form {                                                                                            \
        template <class T>                                                                                          \
        [[gnu::always_inline]] static inline result of(T a, T b) {                                                  \
            return static_cast<result>(form);                                                                       \
        }                                                                                                           \
    };

CHAINRULE_UNARY_FORM(negative, T, -x)
CHAINRULE_UNARY_FORM(sign, T, x > 0 ? T(1) : x < 0 ? T(-1) : x == 0 ? T(0) : x)
CHAINRULE_UNARY_FORM(square, T, x* x)
CHAINRULE_UNARY_FORM(reciprocal, T, T(1) / x)
CHAINRULE_UNARY_FORM(relu, T, x > 0 || x != x ? x : T(0))
CHAINRULE_UNARY_FORM(identity, T, x)
CHAINRULE_UNARY_FORM(isnan, Bool, x != x)
CHAINRULE_UNARY_FORM(isfinite, Bool, x - x == 0)
CHAINRULE_UNARY_FORM(isinf, Bool, x == x && x - x != 0)
CHAINRULE_UNARY_FORM(logical_not, Bool, x == 0)
CHAINRULE_BINARY_FORM(add, T, a + b)
CHAINRULE_BINARY_FORM(subtract, T, a - b)
CHAINRULE_BINARY_FORM(multiply, T, a* b)
CHAINRULE_BINARY_FORM(divide, T, a / b)
// A NaN on either side is the result, as NumPy has it.
CHAINRULE_BINARY_FORM(maximum, T, a >= b || a != a ? a : b)
CHAINRULE_BINARY_FORM(minimum, T, a <= b || a != a ? a : b)
CHAINRULE_BINARY_FORM(equal, Bool, a == b)
CHAINRULE_BINARY_FORM(not_equal, Bool, a != b)
CHAINRULE_BINARY_FORM(less, Bool, a < b)
CHAINRULE_BINARY_FORM(less_equal, Bool, a <= b)
CHAINRULE_BINARY_FORM(greater, Bool, a > b)
CHAINRULE_BINARY_FORM(greater_equal, Bool, a >= b)
CHAINRULE_BINARY_FORM(logical_and, Bool, (a != 0) & (b != 0))
CHAINRULE_BINARY_FORM(logical_or, Bool, (a != 0) | (b != 0))
CHAINRULE_BINARY_FORM(logical_xor, Bool, (a != 0) ^ (b != 0))

struct absolute_form {
    static float of(float x) { return __builtin_fabsf(x); }
    static double of(double x) { return __builtin_fabs(x); }
};
struct signbit_form {
    static Bool of(float x) { return static_cast<Bool>(__builtin_bit_cast(std::uint32_t, x) >> 31); }
    static Bool of(double x) { return static_cast<Bool>(__builtin_bit_cast(std::uint64_t, x) >> 63); }
};
#define CHAINRULE_BUILTIN(name, function)                                                                           \
    struct name##_form {                                                                                            \
        static float of(float x) { return __builtin_##function##f(x); }                                             \
        static double of(double x) { return __builtin_##function(x); }                                              \
    };
CHAINRULE_BUILTIN(sqrt, sqrt)
CHAINRULE_BUILTIN(floor, floor)
CHAINRULE_BUILTIN(ceil, ceil)
CHAINRULE_BUILTIN(trunc, trunc)
CHAINRULE_BUILTIN(rint, rint)

template <class T>
void where(std::ptrdiff_t n, const Bool* c, int c_step, const T* a, int a_step, const T* b, int b_step, T* out) {
    if (n <= 0) return;
    if (c_step == 0) {
        const T* from = *c ? a : b;
        const int step = *c ? a_step : b_step;
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = from[i * step];
    } else if (a_step == 1 && b_step == 1) {
        CHAINRULE_INDEPENDENT
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const T left = a[i], right = b[i];
            out[i] = c[i] ? left : right;
        }
    } else if (a_step == 1) {
        const T right = *b;
        CHAINRULE_INDEPENDENT
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const T left = a[i];
            out[i] = c[i] ? left : right;
        }
    } else if (b_step == 1) {
        const T left = *a;
        CHAINRULE_INDEPENDENT
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const T right = b[i];
            out[i] = c[i] ? left : right;
        }
    } else {
        const T left = *a, right = *b;
        CHAINRULE_INDEPENDENT
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = c[i] ? left : right;
    }
}

template <class From, class To>
struct Converted {
    static To of(From x) { return static_cast<To>(x); }
};
template <class From>
struct Converted<From, Bool> {
    static Bool of(From x) { return x != From(0); }
};
// What has no integer gives the least one, as the processors of PCs do; C++ leaves it undefined.
template <class From>
[[gnu::always_inline]] static inline std::int64_t whole(From x) {
    return x >= From(-9223372036854775808.0) && x < From(9223372036854775808.0) ? static_cast<std::int64_t>(x)
                                                                                 : INT64_MIN;
}
template <>
struct Converted<float, std::int64_t> {
    static std::int64_t of(float x) { return whole(x); }
};
template <>
struct Converted<double, std::int64_t> {
    static std::int64_t of(double x) { return whole(x); }
};

template <class From, class To>
void cast(std::ptrdiff_t n, const void* x, void* out) {
    const From* from = static_cast<const From*>(x);
    To* to = static_cast<To*>(out);
    for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = Converted<From, To>::of(from[i]);
}

template <class From>
void fill_casts(CommonKernels& k, Type from) {
    auto& row = k.cast[static_cast<int>(from)];
    row[static_cast<int>(Type::boolean)] = cast<From, Bool>;
    row[static_cast<int>(Type::int64)] = cast<From, std::int64_t>;
    row[static_cast<int>(Type::float32)] = cast<From, float>;
    row[static_cast<int>(Type::float64)] = cast<From, double>;
}

template <class T>
void fill(VecKernels<T>& k) {
#define CHAINRULE_SET(name) k.unary[static_cast<int>(Unary::name)] = each<name##_form, T, T>;
    CHAINRULE_SET(negative)
    CHAINRULE_SET(absolute)
    CHAINRULE_SET(sign)
    CHAINRULE_SET(square)
    CHAINRULE_SET(sqrt)
    CHAINRULE_SET(reciprocal)
    CHAINRULE_SET(relu)
    CHAINRULE_SET(identity)
    CHAINRULE_SET(floor)
    CHAINRULE_SET(ceil)
    CHAINRULE_SET(rint)
    CHAINRULE_SET(trunc)
#undef CHAINRULE_SET
#define CHAINRULE_SET(name) k.binary[static_cast<int>(Binary::name)] = each<name##_form, T, T>;
    CHAINRULE_SET(add)
    CHAINRULE_SET(subtract)
    CHAINRULE_SET(multiply)
    CHAINRULE_SET(divide)
    CHAINRULE_SET(maximum)
    CHAINRULE_SET(minimum)
#undef CHAINRULE_SET
#define CHAINRULE_SET(name) k.compare[static_cast<int>(Compare::name)] = each<name##_form, T, Bool>;
    CHAINRULE_COMPARE(CHAINRULE_SET)
#undef CHAINRULE_SET
#define CHAINRULE_SET(name) k.test[static_cast<int>(Test::name)] = each<name##_form, T, Bool>;
    CHAINRULE_TEST(CHAINRULE_SET)
#undef CHAINRULE_SET
    k.where = where<T>;
}

} // namespace

void fill_elementwise(Kernels& k) {
    fill(k.vec_f32);
    fill(k.vec_f64);
#define CHAINRULE_SET(name) k.common.logic[static_cast<int>(Logic::name)] = each<name##_form, Bool, Bool>;
    CHAINRULE_LOGIC(CHAINRULE_SET)
#undef CHAINRULE_SET
    k.common.logical_not = each<logical_not_form, Bool, Bool>;
    fill_casts<Bool>(k.common, Type::boolean);
    fill_casts<std::int64_t>(k.common, Type::int64);
    fill_casts<float>(k.common, Type::float32);
    fill_casts<double>(k.common, Type::float64);
}

} // namespace chainrule::CHAINRULE_ISA
