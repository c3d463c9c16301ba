// The table of instructions: which kernel runs an operation on which dtypes.
#include "instruction.hpp"
#include "tasks.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <type_traits>

namespace chainrule {
namespace {

// What an instruction's function is called with, by form.
template <class T>
void call_unary(const Instruction& i, std::ptrdiff_t n) {
    reinterpret_cast<typename VecKernels<T>::UnaryRun>(i.function)(n, i.operand<T>(0), i.result<T>());
}
template <class T>
void call_binary(const Instruction& i, std::ptrdiff_t n) {
    reinterpret_cast<typename VecKernels<T>::BinaryRun>(i.function)(n, i.operand<T>(0), i.by[0], i.operand<T>(1), i.by[1], i.result<T>());
}
template <class T>
void call_compare(const Instruction& i, std::ptrdiff_t n) {
    reinterpret_cast<typename VecKernels<T>::CompareRun>(i.function)(n, i.operand<T>(0), i.by[0], i.operand<T>(1), i.by[1], i.result<Bool>());
}
template <class T>
void call_test(const Instruction& i, std::ptrdiff_t n) {
    reinterpret_cast<typename VecKernels<T>::TestRun>(i.function)(n, i.operand<T>(0), i.result<Bool>());
}
template <class T>
void call_where(const Instruction& i, std::ptrdiff_t n) {
    reinterpret_cast<decltype(VecKernels<T>::where)>(i.function)(n, i.operand<Bool>(0), i.by[0], i.operand<T>(1), i.by[1], i.operand<T>(2),
                                                               i.by[2], i.result<T>());
}
void call_cast(const Instruction& i, std::ptrdiff_t n) {
    reinterpret_cast<void (*)(std::ptrdiff_t, const void*, void*)>(i.function)(n, i.from[0], i.to);
}

template <class T>
void set_call(Instruction& i) {
    switch (i.form) {
    case Form::unary: i.call = call_unary<T>; break;
    case Form::binary: i.call = call_binary<T>; break;
    case Form::compare: i.call = call_compare<T>; break;
    case Form::test: i.call = call_test<T>; break;
    case Form::where: i.call = call_where<T>; break;
    default: break;
    }
}

// Elements of types that no vector kernel covers, in plain loops.
template <class F, class T, class R>
void each_pair(std::ptrdiff_t n, const T* a, int as, const T* b, int bs, R* out) {
    if (as == 1 && bs == 1)
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = F::template of<T>(a[i], b[i]);
    else
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = F::template of<T>(a[i * as], b[i * bs]);
}
template <class F, class T, class R>
void each(std::ptrdiff_t n, const T* x, R* out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = F::template of<T>(x[i]);
}

// Integers wrap around, as NumPy's do: they are computed with without a sign, and not in less than 32 bits.
template <class T>
using Wide = std::conditional_t<(sizeof(T) < 4), std::uint32_t, std::make_unsigned_t<T>>;

#define CHAINRULE_WHOLE_UNARY(name, result, form)                                                                   \
    struct name##_of {                                                                                              \
        template <class T>                                                                                          \
        static result of(T x) {                                                                                     \
            return static_cast<result>(form);                                                                       \
        }                                                                                                           \
    };
#define CHAINRULE_WHOLE_BINARY(name, result, form)                                                                  \
    struct name##_of {                                                                                              \
        template <class T>                                                                                          \
        static result of(T a, T b) {                                                                                \
            return static_cast<result>(form);                                                                       \
        }                                                                                                           \
    };

CHAINRULE_WHOLE_UNARY(identity, T, x)
CHAINRULE_WHOLE_UNARY(negative, T, Wide<T>(0) - static_cast<Wide<T>>(x))
CHAINRULE_WHOLE_UNARY(absolute, T, x < 0 ? Wide<T>(0) - static_cast<Wide<T>>(x) : static_cast<Wide<T>>(x))
CHAINRULE_WHOLE_UNARY(sign, T, (x > 0) - (x < 0))
CHAINRULE_WHOLE_UNARY(square, T, static_cast<Wide<T>>(x) * static_cast<Wide<T>>(x))
CHAINRULE_WHOLE_UNARY(relu, T, x > 0 ? x : T(0))
CHAINRULE_WHOLE_UNARY(never, Bool, (static_cast<void>(x), false))
CHAINRULE_WHOLE_UNARY(always, Bool, (static_cast<void>(x), true))
CHAINRULE_WHOLE_UNARY(is_negative, Bool, x < T(0))
CHAINRULE_WHOLE_UNARY(logical_not, Bool, x == T(0))
CHAINRULE_WHOLE_BINARY(add, T, static_cast<Wide<T>>(a) + static_cast<Wide<T>>(b))
CHAINRULE_WHOLE_BINARY(subtract, T, static_cast<Wide<T>>(a) - static_cast<Wide<T>>(b))
CHAINRULE_WHOLE_BINARY(multiply, T, static_cast<Wide<T>>(a) * static_cast<Wide<T>>(b))
CHAINRULE_WHOLE_BINARY(maximum, T, a > b ? a : b)
CHAINRULE_WHOLE_BINARY(minimum, T, a < b ? a : b)
CHAINRULE_WHOLE_BINARY(equal, Bool, a == b)
CHAINRULE_WHOLE_BINARY(not_equal, Bool, a != b)
CHAINRULE_WHOLE_BINARY(less, Bool, a < b)
CHAINRULE_WHOLE_BINARY(less_equal, Bool, a <= b)
CHAINRULE_WHOLE_BINARY(greater, Bool, a > b)
CHAINRULE_WHOLE_BINARY(greater_equal, Bool, a >= b)
CHAINRULE_WHOLE_BINARY(logical_and, Bool, (a != T(0)) & (b != T(0)))
CHAINRULE_WHOLE_BINARY(logical_or, Bool, (a != T(0)) | (b != T(0)))
CHAINRULE_WHOLE_BINARY(logical_xor, Bool, (a != T(0)) ^ (b != T(0)))

CHAINRULE_WHOLE_BINARY(bitwise_and, T, a & b)
CHAINRULE_WHOLE_BINARY(bitwise_or, T, a | b)
CHAINRULE_WHOLE_BINARY(bitwise_xor, T, a ^ b)
CHAINRULE_WHOLE_UNARY(invert, T, ~x)

// A shift by as many places as there are bits, or by a negative number, leaves no bit but the sign's.
template <class T>
bool shifts_all(T by) {
    return static_cast<std::make_unsigned_t<T>>(by) >= 8 * sizeof(T);
}
CHAINRULE_WHOLE_BINARY(left_shift, T, shifts_all(b) ? Wide<T>(0) : static_cast<Wide<T>>(a) << b)
CHAINRULE_WHOLE_BINARY(right_shift, T, shifts_all(b) ? (a < T(0) ? -1 : 0) : a >> b)

// Divisions with the remainder's sign of the dividend (fmod) or of the divisor (remainder), as NumPy's: by 0 integers give
// 0, and the least integer over -1 wraps around.
struct fmod_of {
    template <class T>
    static T of(T a, T b) {
        if constexpr (std::is_floating_point_v<T>) return std::fmod(a, b);
        else return b == T(0) || (std::is_signed_v<T> && b == static_cast<T>(-1)) ? T(0) : static_cast<T>(a % b);
    }
};
struct remainder_of {
    template <class T>
    static T of(T a, T b) {
        const T rest = fmod_of::of(a, b);
        if (rest != T(0)) return (rest < T(0)) != (b < T(0)) ? static_cast<T>(rest + b) : rest; // also a NaN
        if constexpr (std::is_floating_point_v<T>) return std::copysign(T(0), b);
        else return rest;
    }
};
struct floor_divide_of {
    template <class T>
    static T of(T a, T b) {
        if constexpr (std::is_floating_point_v<T>) {
            if (b == T(0)) return a / b;
            const T rest = std::fmod(a, b);
            T quotient = (a - rest) / b;
            if (rest != T(0) && (rest < T(0)) != (b < T(0))) quotient -= T(1);
            return quotient != T(0) ? std::rint(quotient) : std::copysign(T(0), a / b); // whole but for rounding
        } else {
            if (b == T(0)) return T(0);
            if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(Wide<T>(0) - static_cast<Wide<T>>(a));
            const T quotient = static_cast<T>(a / b);
            return a % b != 0 && (a < T(0)) != (b < T(0)) ? static_cast<T>(quotient - 1) : quotient;
        }
    }
};
// A NaN gives way to a number.
CHAINRULE_WHOLE_BINARY(fmax, T, a >= b || b != b ? a : b)
CHAINRULE_WHOLE_BINARY(fmin, T, a <= b || b != b ? a : b)

struct power_of { // of integers without a sign; those with one may have no power
    template <class T>
    static T of(T a, T b) {
        Wide<T> base = a, result = 1;
        for (; b != 0; b = static_cast<T>(b >> 1), base *= base)
            if (b & 1) result *= base;
        return static_cast<T>(result);
    }
};

template <class T>
void where_plain(std::ptrdiff_t n, const Bool* c, int cs, const T* a, int as, const T* b, int bs, T* out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = c[i * cs] ? a[i * as] : b[i * bs];
}

// Beyond the integer's range C++ leaves the result open. NumPy's on x86-64 is the processor's: the smallest integer of 32
// or 64 bits; without a sign the upper half of the range is moved down for it.
template <class To, class From>
To whole(From x) {
    using Signed = std::conditional_t<(sizeof(To) < 8), std::int32_t, std::int64_t>;
    constexpr From limit = static_cast<From>(std::uint64_t{1} << std::numeric_limits<Signed>::digits);
    const auto near = [](From v) { return v >= -limit && v < limit ? static_cast<Signed>(v) : std::numeric_limits<Signed>::min(); };
    if constexpr (std::is_unsigned_v<To> && sizeof(To) == sizeof(Signed))
        if (x >= limit) return static_cast<To>(static_cast<To>(near(x - limit)) ^ (To(1) << std::numeric_limits<Signed>::digits));
    return static_cast<To>(near(x));
}

template <class From, class To>
void cast_plain(std::ptrdiff_t n, const void* from, void* to) {
    const From* x = static_cast<const From*>(from);
    To* out = static_cast<To*>(to);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) out[i] = whole<To>(x[i]);
        else out[i] = static_cast<To>(x[i]);
    }
}

template <class From>
void cast_to_bool(std::ptrdiff_t n, const void* from, void* to) {
    const From* x = static_cast<const From*>(from);
    for (std::ptrdiff_t i = 0; i < n; ++i) static_cast<Bool*>(to)[i] = x[i] != From(0);
}

using CastRun = void (*)(std::ptrdiff_t, const void*, void*);

int common_type(DType d) {
    switch (d) {
    case DType::boolean: return static_cast<int>(Type::boolean);
    case DType::int64: return static_cast<int>(Type::int64);
    case DType::float32: return static_cast<int>(Type::float32);
    case DType::float64: return static_cast<int>(Type::float64);
    default: return -1;
    }
}

CastRun cast_run(DType from, DType to) {
    if (common_type(from) >= 0 && common_type(to) >= 0) return kernels().common.cast[common_type(from)][common_type(to)];
    return with_type(from, [&]<class From>(From) -> CastRun {
        if (to == DType::boolean) return cast_to_bool<From>;
        return with_type(to, []<class To>(To) -> CastRun { return cast_plain<From, To>; });
    });
}

template <class T>
Any as_any(T f) {
    return reinterpret_cast<Any>(f);
}

struct Named {
    Form form;
    Any function;
};

Instruction named_instruction(const std::map<std::string, Named>& table, const std::string& op, DType d) {
    const auto found = table.find(op);
    return found != table.end() ? Instruction{found->second.form, d, found->second.function} : Instruction{Form::fill, d, nullptr};
}

#define CHAINRULE_ROW(name, form, run, result) {#name, {Form::form, as_any(run<name##_of, T, result>)}}

// What integers and real numbers have in common.
template <class T>
std::map<std::string, Named> division_table() {
    return {
        CHAINRULE_ROW(floor_divide, binary, each_pair, T),
        CHAINRULE_ROW(remainder, binary, each_pair, T),
        CHAINRULE_ROW(fmod, binary, each_pair, T),
        CHAINRULE_ROW(fmax, binary, each_pair, T),
        CHAINRULE_ROW(fmin, binary, each_pair, T),
    };
}

// The instruction for an operation on operands of these dtypes, without its operands; form `fill` where there is none.
template <class T>
Instruction real_instruction(const std::string& op) {
    const DType d = std::is_same_v<T, float> ? DType::float32 : DType::float64;
    const VecKernels<T>& k = vec<T>();
    if (op == "where") return {Form::where, d, as_any(k.where)};
    if (const int i = find_unary(op.c_str()); i >= 0 && k.unary[i] != nullptr) return {Form::unary, d, as_any(k.unary[i])};
    if (const int i = find_binary(op.c_str()); i >= 0 && k.binary[i] != nullptr)
        return {Form::binary, d, as_any(k.binary[i])};
    if (const int i = find_compare(op.c_str()); i >= 0) return {Form::compare, d, as_any(k.compare[i])};
    if (const int i = find_test(op.c_str()); i >= 0) return {Form::test, d, as_any(k.test[i])};
    if (op == "logical_and") return {Form::compare, d, as_any(each_pair<logical_and_of, T, Bool>)};
    if (op == "logical_or") return {Form::compare, d, as_any(each_pair<logical_or_of, T, Bool>)};
    if (op == "logical_xor") return {Form::compare, d, as_any(each_pair<logical_xor_of, T, Bool>)};
    if (op == "logical_not") return {Form::test, d, as_any(each<logical_not_of, T, Bool>)};
    static const auto table = division_table<T>();
    return named_instruction(table, op, d);
}

// What integers and truth values have in common.
template <class T>
std::map<std::string, Named> whole_table() {
    return {
        CHAINRULE_ROW(identity, unary, each, T),
        {"floor", {Form::unary, as_any(each<identity_of, T, T>)}},
        {"ceil", {Form::unary, as_any(each<identity_of, T, T>)}},
        {"trunc", {Form::unary, as_any(each<identity_of, T, T>)}},
        CHAINRULE_ROW(relu, unary, each, T),
        {"isnan", {Form::test, as_any(each<never_of, T, Bool>)}},
        {"isinf", {Form::test, as_any(each<never_of, T, Bool>)}},
        {"isfinite", {Form::test, as_any(each<always_of, T, Bool>)}},
        {"signbit", {Form::test, as_any(each<is_negative_of, T, Bool>)}},
        CHAINRULE_ROW(logical_not, test, each, Bool),
        CHAINRULE_ROW(equal, compare, each_pair, Bool),
        CHAINRULE_ROW(not_equal, compare, each_pair, Bool),
        CHAINRULE_ROW(less, compare, each_pair, Bool),
        CHAINRULE_ROW(less_equal, compare, each_pair, Bool),
        CHAINRULE_ROW(greater, compare, each_pair, Bool),
        CHAINRULE_ROW(greater_equal, compare, each_pair, Bool),
        CHAINRULE_ROW(logical_and, compare, each_pair, Bool),
        CHAINRULE_ROW(logical_or, compare, each_pair, Bool),
        CHAINRULE_ROW(logical_xor, compare, each_pair, Bool),
        {"where", {Form::where, as_any(where_plain<T>)}},
    };
}

template <class T>
std::map<std::string, Named> integer_table() {
    auto table = whole_table<T>();
    table.insert({
        CHAINRULE_ROW(negative, unary, each, T),
        CHAINRULE_ROW(absolute, unary, each, T),
        CHAINRULE_ROW(sign, unary, each, T),
        CHAINRULE_ROW(square, unary, each, T),
        CHAINRULE_ROW(add, binary, each_pair, T),
        CHAINRULE_ROW(subtract, binary, each_pair, T),
        CHAINRULE_ROW(multiply, binary, each_pair, T),
        CHAINRULE_ROW(maximum, binary, each_pair, T),
        CHAINRULE_ROW(minimum, binary, each_pair, T),
        CHAINRULE_ROW(bitwise_and, binary, each_pair, T),
        CHAINRULE_ROW(bitwise_or, binary, each_pair, T),
        CHAINRULE_ROW(bitwise_xor, binary, each_pair, T),
        CHAINRULE_ROW(invert, unary, each, T),
        CHAINRULE_ROW(left_shift, binary, each_pair, T),
        CHAINRULE_ROW(right_shift, binary, each_pair, T),
    });
    table.merge(division_table<T>());
    if constexpr (std::is_unsigned_v<T>) table.insert(CHAINRULE_ROW(power, binary, each_pair, T));
    return table;
}

// NumPy's sum of truth values is whether any holds, their product whether all do.
std::map<std::string, Named> boolean_table() {
    using T = Bool;
    auto table = whole_table<T>();
    table.insert({
        {"absolute", {Form::unary, as_any(each<identity_of, T, T>)}},
        {"add", {Form::binary, as_any(each_pair<logical_or_of, T, T>)}},
        {"maximum", {Form::binary, as_any(each_pair<logical_or_of, T, T>)}},
        {"multiply", {Form::binary, as_any(each_pair<logical_and_of, T, T>)}},
        {"minimum", {Form::binary, as_any(each_pair<logical_and_of, T, T>)}},
        {"fmax", {Form::binary, as_any(each_pair<logical_or_of, T, T>)}},
        {"fmin", {Form::binary, as_any(each_pair<logical_and_of, T, T>)}},
        {"bitwise_and", {Form::binary, as_any(each_pair<logical_and_of, T, T>)}},
        {"bitwise_or", {Form::binary, as_any(each_pair<logical_or_of, T, T>)}},
        {"bitwise_xor", {Form::binary, as_any(each_pair<logical_xor_of, T, T>)}},
        {"invert", {Form::unary, as_any(each<logical_not_of, T, T>)}},
    });
    return table;
}
#undef CHAINRULE_ROW

Instruction whole_instruction(const std::string& op, DType d) {
    return with_type(d, [&]<class T>(T) -> Instruction {
        if constexpr (std::is_floating_point_v<T>) {
            return {Form::fill, d, nullptr};
        } else {
            static const auto table = integer_table<T>();
            return named_instruction(table, op, d);
        }
    });
}

Instruction boolean_instruction(const std::string& op) {
    if (const int i = find_logic(op.c_str()); i >= 0) return {Form::logic, DType::boolean, as_any(kernels().common.logic[i])};
    if (op == "logical_not") return {Form::logical_not, DType::boolean, as_any(kernels().common.logical_not)};
    static const auto table = boolean_table();
    return named_instruction(table, op, DType::boolean);
}

} // namespace

void set_call(Instruction& i) {
    if (i.form == Form::cast) i.call = call_cast;
    else if (i.form == Form::logic) i.call = call_binary<Bool>;
    else if (i.form == Form::logical_not) i.call = call_unary<Bool>;
    else with_type(i.dtype, [&]<class T>(T) { set_call<T>(i); });
}

Instruction instruction_of(const ProgramSpec& p, const StepSpec& step) {
    if (step.inputs.empty() || step.inputs.size() > 3) return {Form::fill, DType::float32, nullptr};
    const auto dtype = [&](std::size_t i) { return p.values[static_cast<std::size_t>(step.inputs[i])].dtype; };
    const DType out = p.values[static_cast<std::size_t>(step.output)].dtype;
    if (step.op == "cast" || (step.op == "identity" && dtype(0) != out)) {
        const CastRun run = step.inputs.size() == 1 ? cast_run(dtype(0), out) : nullptr;
        return {run != nullptr ? Form::cast : Form::fill, out, as_any(run)};
    }
    const std::string op = step.op == "stop_gradient" ? "identity" : step.op;
    const DType d = dtype(step.inputs.size() - 1); // where: of its values
    for (std::size_t i = op == "where" ? 1 : 0; i < step.inputs.size(); ++i)
        if (dtype(i) != d) return {Form::fill, d, nullptr};
    if (op == "where" && (step.inputs.size() != 3 || dtype(0) != DType::boolean)) return {Form::fill, d, nullptr};
    Instruction made{Form::fill, d, nullptr};
    if (d == DType::float32) made = real_instruction<float>(op);
    if (d == DType::float64) made = real_instruction<double>(op);
    if (integer(d)) made = whole_instruction(op, d);
    if (d == DType::boolean) made = boolean_instruction(op);
    const bool to_bool = made.form == Form::compare || made.form == Form::test;
    const std::size_t needs = made.form == Form::where ? 3
                              : made.form == Form::binary || made.form == Form::compare || made.form == Form::logic ? 2
                                                                                                                    : 1;
    if (made.form != Form::fill && (step.inputs.size() != needs || out != (to_bool ? DType::boolean : d)))
        return {Form::fill, d, nullptr};
    return made;
}

bool takes_scalars(Form form) {
    return form == Form::binary || form == Form::compare || form == Form::where || form == Form::logic;
}

} // namespace chainrule
