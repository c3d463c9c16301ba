// Elementwise functions over contiguous arrays, by the names of the operation table.
//
// Accuracy over the whole range, subnormals, zeros, infinities and NaN included: 4 ulp in float, 2 ulp in double. The
// same element gives the same bits wherever it stands in an array. Outputs may be the same array as an input, not
// overlap otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace chainrule {

#define CHAINRULE_UNARY(X)                                                                                          \
    X(negative) X(absolute) X(sign) X(square) X(sqrt) X(reciprocal) X(relu) X(identity)                             \
    X(floor) X(ceil) X(rint) X(trunc)                                                                               \
    X(exp) X(expm1) X(exp2) X(log) X(log1p) X(log2) X(log10)                                                        \
    X(tanh) X(sigmoid) X(softplus) X(erf)                                                                           \
    X(sin) X(cos) X(tan) X(arcsin) X(arccos) X(arctan) X(sinh) X(cosh) X(arcsinh) X(arccosh) X(arctanh) X(cbrt)
#define CHAINRULE_BINARY(X)                                                                                         \
    X(add) X(subtract) X(multiply) X(divide) X(maximum) X(minimum)                                                  \
    X(power) X(arctan2) X(hypot) X(logaddexp)
#define CHAINRULE_COMPARE(X) X(equal) X(not_equal) X(less) X(less_equal) X(greater) X(greater_equal)
#define CHAINRULE_TEST(X) X(isnan) X(isinf) X(isfinite) X(signbit)
#define CHAINRULE_LOGIC(X) X(logical_and) X(logical_or) X(logical_xor)

#define CHAINRULE_ENTRY(name) name,
enum class Unary : int { CHAINRULE_UNARY(CHAINRULE_ENTRY) count };
enum class Binary : int { CHAINRULE_BINARY(CHAINRULE_ENTRY) count };
enum class Compare : int { CHAINRULE_COMPARE(CHAINRULE_ENTRY) count };
enum class Test : int { CHAINRULE_TEST(CHAINRULE_ENTRY) count };
enum class Logic : int { CHAINRULE_LOGIC(CHAINRULE_ENTRY) count };
#undef CHAINRULE_ENTRY

// The number of a name in its list, or -1.
int find_unary(const char* name);
int find_binary(const char* name);
int find_compare(const char* name);
int find_test(const char* name);
int find_logic(const char* name);

enum class Type : int { boolean, int64, float32, float64, count };

using Bool = std::uint8_t; // 0 or 1, as NumPy's

// A step of 1 walks along an operand, a step of 0 takes its first element for all.
// Steps of a pass with a running value x and an operand a: an array, or one number for all elements.
#define CHAINRULE_PASS(X)                                                                                           \
    X(load) X(add) X(subtract) X(subtract_from) X(multiply) X(divide) X(divide_into) X(greater) X(less)
// Without an operand, and the store.
#define CHAINRULE_PASS_ALONE(X) X(negative) X(square) X(sqrt) X(absolute) X(reciprocal) X(relu) X(store)
enum class PassCode : int {
#define CHAINRULE_ENTRY(name) name, name##_number,
    CHAINRULE_PASS(CHAINRULE_ENTRY)
#undef CHAINRULE_ENTRY
#define CHAINRULE_ENTRY(name) name,
    CHAINRULE_PASS_ALONE(CHAINRULE_ENTRY)
#undef CHAINRULE_ENTRY
};
struct PassStep {
    PassCode code;
    int operand; // its number, where there is one
};

// One axis of windows: `out` of them, each of `size` elements, `dilation` apart.
struct PoolAxis {
    std::ptrdiff_t in, out, size, stride, dilation, before; // element tap of a window is at window stride + tap dilation - before
};

template <class T>
struct VecKernels {
    using UnaryRun = void (*)(std::ptrdiff_t n, const T* x, T* out);
    using BinaryRun = void (*)(std::ptrdiff_t n, const T* a, int a_step, const T* b, int b_step, T* out);
    using CompareRun = void (*)(std::ptrdiff_t n, const T* a, int a_step, const T* b, int b_step, Bool* out);
    using TestRun = void (*)(std::ptrdiff_t n, const T* x, Bool* out);
    UnaryRun unary[static_cast<int>(Unary::count)];
    BinaryRun binary[static_cast<int>(Binary::count)];
    CompareRun compare[static_cast<int>(Compare::count)];
    TestRun test[static_cast<int>(Test::count)];
    void (*where)(std::ptrdiff_t n, const Bool* c, int c_step, const T* a, int a_step, const T* b, int b_step, T* out);
    // Several operations in one pass: each step takes a running value x and perhaps an operand, steps[k] of at[…]. What
    // is stored may be what is read.
    void (*pass)(std::ptrdiff_t n, const PassStep* steps, int count, char* const* at);
    // Sums in one fixed order that depends on the sizes alone: halves down to blocks, lanes within a block.
    T (*sum)(std::ptrdiff_t n, const T* x);
    // Of one row of windows over a plane: the largest elements, NaN if there is one, and the taps where the first of
    // them are (unless that is null); -inf and -1 where a window lies outside.
    void (*pool_row)(const PoolAxis& rows, const PoolAxis& columns, std::ptrdiff_t row, const T* x, T* best, std::int32_t* at);
    // Of `n` windows of two by two side by side, over rows a and b: the elements of two rows like them where the (first)
    // largest are; and what goes back from g to these, into rows of zeros else.
    void (*pool_pairs)(std::ptrdiff_t n, const T* a, const T* b, const T* like_a, const T* like_b, T* out);
    void (*unpool_pairs)(std::ptrdiff_t n, const T* a, const T* b, const T* g, T* to_a, T* to_b);
    T (*maximum)(std::ptrdiff_t n, const T* x); // n > 0; NaN if any is
    T (*minimum)(std::ptrdiff_t n, const T* x);
    // Rows are `stride` elements apart. out[row] = the sum along each row; out[column] (+)= along each column.
    void (*sum_rows)(std::ptrdiff_t rows, std::ptrdiff_t columns, const T* x, std::ptrdiff_t stride, T* out);
    void (*sum_columns)(std::ptrdiff_t rows, std::ptrdiff_t columns, const T* x, std::ptrdiff_t stride, bool add,
                        T* out);
};

struct CommonKernels {
    // cast[from][to], between arrays of those types; to bool: not equal to 0; to int64: towards 0.
    void (*cast[static_cast<int>(Type::count)][static_cast<int>(Type::count)])(std::ptrdiff_t n, const void* x,
                                                                               void* out);
    void (*logic[static_cast<int>(Logic::count)])(std::ptrdiff_t n, const Bool* a, int a_step, const Bool* b,
                                                  int b_step, Bool* out);
    void (*uniform_f32)(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter, std::ptrdiff_t first,
                        std::ptrdiff_t n, float* out);
    void (*uniform_f64)(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter, std::ptrdiff_t first,
                        std::ptrdiff_t n, double* out);
    void (*logical_not)(std::ptrdiff_t n, const Bool* x, Bool* out);
};

// The C library's functions, one element after the other: where an instruction set has none, or none that is faster.
void fill_scalar(VecKernels<float>& k);
void fill_scalar(VecKernels<double>& k);

} // namespace chainrule
