// Passes: several operations on a running value that stays in the processor's registers, for one instruction set.
#include "isa.hpp"
#include "isa_tables.hpp"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Vectors at a time: enough that choosing the next step costs little beside it, few enough for the registers.
constexpr int kTogether = 8;

template <class T>
CHAINRULE_INLINE Vec<T> one_where(Mask<T> m) {
    return (Vec<T>)(m & (Mask<T>)splat<T>(T(1)));
}

template <class T>
CHAINRULE_INLINE Vec<T> without_sign(Vec<T> x) {
    return (Vec<T>)((Mask<T>)x & ~(Mask<T>)splat<T>(T(-0.0)));
}

template <class T>
CHAINRULE_INLINE Vec<T> rectified(Vec<T> x) { // NaN stays
    return (Vec<T>)((Mask<T>)x & ~(x <= T(0)));
}

// Elements i … of every operand: K whole vectors, or `rest` elements of one.
template <class T, int K, bool Partial>
CHAINRULE_INLINE void block(std::ptrdiff_t i, int rest, const PassStep* steps, int count, char* const* at) {
    constexpr int W = kWidth<T>;
    Vec<T> x[K];
    for (int k = 0; k < K; ++k) x[k] = Vec<T>{};
    for (const PassStep* s = steps; s != steps + count; ++s) {
        T* const p = reinterpret_cast<T*>(at[s->operand]);
        const auto a = [&](int k) __attribute__((always_inline)) { return Partial ? load_partial(p + i, rest) : load(p + i + k * W); };
        switch (s->code) {
#define CHAINRULE_STEP(name, form)                                                                                  \
    case PassCode::name:                                                                                            \
        for (int k = 0; k < K; ++k) {                                                                               \
            const Vec<T> v = a(k);                                                                                  \
            x[k] = form;                                                                                            \
        }                                                                                                           \
        break;                                                                                                      \
    case PassCode::name##_number: {                                                                                 \
        const Vec<T> v = splat<T>(*p);                                                                              \
        for (int k = 0; k < K; ++k) x[k] = form;                                                                    \
        break;                                                                                                      \
    }
            CHAINRULE_STEP(load, v)
            CHAINRULE_STEP(add, x[k] + v)
            CHAINRULE_STEP(subtract, x[k] - v)
            CHAINRULE_STEP(subtract_from, v - x[k])
            CHAINRULE_STEP(multiply, x[k] * v)
            CHAINRULE_STEP(divide, x[k] / v)
            CHAINRULE_STEP(divide_into, v / x[k])
            CHAINRULE_STEP(greater, one_where<T>(x[k] > v))
            CHAINRULE_STEP(less, one_where<T>(x[k] < v))
#undef CHAINRULE_STEP
#define CHAINRULE_STEP(name, form)                                                                                  \
    case PassCode::name:                                                                                            \
        for (int k = 0; k < K; ++k) x[k] = form;                                                                    \
        break;
            CHAINRULE_STEP(negative, -x[k])
            CHAINRULE_STEP(square, x[k] * x[k])
            CHAINRULE_STEP(sqrt, square_root(x[k]))
            CHAINRULE_STEP(absolute, without_sign<T>(x[k]))
            CHAINRULE_STEP(reciprocal, T(1) / x[k])
            CHAINRULE_STEP(relu, rectified<T>(x[k]))
#undef CHAINRULE_STEP
        case PassCode::store:
            for (int k = 0; k < K; ++k) {
                if (Partial) store_partial(p + i, x[k], rest);
                else store(p + i + k * W, x[k]);
            }
            break;
        }
    }
}

template <class T>
void pass(std::ptrdiff_t n, const PassStep* steps, int count, char* const* at) {
    constexpr int W = kWidth<T>;
    std::ptrdiff_t i = 0;
    for (; i + kTogether * W <= n; i += kTogether * W) block<T, kTogether, false>(i, 0, steps, count, at);
    for (; i + W <= n; i += W) block<T, 1, false>(i, 0, steps, count, at);
    if (i < n) block<T, 1, true>(i, static_cast<int>(n - i), steps, count, at);
}

} // namespace

void fill_passes(Kernels& k) {
    k.vec_f32.pass = pass<float>;
    k.vec_f64.pass = pass<double>;
}

} // namespace chainrule::CHAINRULE_ISA
