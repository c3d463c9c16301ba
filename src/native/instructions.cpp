// The table of instructions: which kernel runs an operation on which dtypes.
#include "instruction.hpp"

#include <algorithm>
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

template <class T, bool Minus>
void call_scaled(const Instruction& i, std::ptrdiff_t n) { // operands: an array, a number, the array it is added to
    const T scale = *i.operand<T>(1);
    reinterpret_cast<decltype(VecKernels<T>::multiply_add)>(i.function)(n, i.operand<T>(0), Minus ? -scale : scale, i.operand<T>(2), i.result<T>());
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

// Elements of types that no vector kernel covers (integers), one after another.
template <class T, class F>
void loop(std::ptrdiff_t n, const T* a, int as, const T* b, int bs, T* out, F f) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = f(a[i * as], b[i * bs]);
}

using I64 = std::int64_t;
using U64 = std::uint64_t;

// Sums of integers wrap around, as NumPy's do.
void add_i64(std::ptrdiff_t n, const I64* a, int as, const I64* b, int bs, I64* out) {
    loop(n, a, as, b, bs, out, [](I64 x, I64 y) { return static_cast<I64>(static_cast<U64>(x) + static_cast<U64>(y)); });
}
void subtract_i64(std::ptrdiff_t n, const I64* a, int as, const I64* b, int bs, I64* out) {
    loop(n, a, as, b, bs, out, [](I64 x, I64 y) { return static_cast<I64>(static_cast<U64>(x) - static_cast<U64>(y)); });
}
void multiply_i64(std::ptrdiff_t n, const I64* a, int as, const I64* b, int bs, I64* out) {
    loop(n, a, as, b, bs, out, [](I64 x, I64 y) { return static_cast<I64>(static_cast<U64>(x) * static_cast<U64>(y)); });
}
void maximum_i64(std::ptrdiff_t n, const I64* a, int as, const I64* b, int bs, I64* out) {
    loop(n, a, as, b, bs, out, [](I64 x, I64 y) { return std::max(x, y); });
}
void minimum_i64(std::ptrdiff_t n, const I64* a, int as, const I64* b, int bs, I64* out) {
    loop(n, a, as, b, bs, out, [](I64 x, I64 y) { return std::min(x, y); });
}

template <int Kind>
void compare_i64(std::ptrdiff_t n, const I64* a, int as, const I64* b, int bs, Bool* out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const I64 x = a[i * as], y = b[i * bs];
        bool r = false;
        if constexpr (Kind == 0) r = x == y;
        if constexpr (Kind == 1) r = x != y;
        if constexpr (Kind == 2) r = x < y;
        if constexpr (Kind == 3) r = x <= y;
        if constexpr (Kind == 4) r = x > y;
        if constexpr (Kind == 5) r = x >= y;
        out[i] = r;
    }
}

template <class T>
void where_plain(std::ptrdiff_t n, const Bool* c, int cs, const T* a, int as, const T* b, int bs, T* out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = c[i * cs] ? a[i * as] : b[i * bs];
}

template <class T>
void copy_plain(std::ptrdiff_t n, const T* x, T* out) {
    std::memmove(out, x, static_cast<std::size_t>(n) * sizeof(T));
}

template <class From, class To>
void cast_plain(std::ptrdiff_t n, const void* from, void* to) {
    const From* x = static_cast<const From*>(from);
    To* out = static_cast<To*>(to);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
            // beyond the integer's range C++ leaves the result open; NumPy's on x86-64 is the smallest integer
            constexpr From limit = static_cast<From>(std::uint64_t{1} << (std::min<int>(63, std::numeric_limits<To>::digits)));
            out[i] = x[i] >= -limit && x[i] < limit ? static_cast<To>(x[i]) : std::numeric_limits<To>::min();
        } else {
            out[i] = static_cast<To>(x[i]);
        }
    }
}

template <class From>
void cast_to_bool(std::ptrdiff_t n, const void* from, void* to) {
    const From* x = static_cast<const From*>(from);
    for (std::ptrdiff_t i = 0; i < n; ++i) static_cast<Bool*>(to)[i] = x[i] != From(0);
}

using CastRun = void (*)(std::ptrdiff_t, const void*, void*);

template <class From>
CastRun cast_from(DType to) {
    switch (to) {
    case DType::boolean: return cast_to_bool<From>;
    case DType::int64: return cast_plain<From, std::int64_t>;
    case DType::float32: return cast_plain<From, float>;
    case DType::float64: return cast_plain<From, double>;
    default: return nullptr;
    }
}

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
    switch (from) {
    case DType::int8: return cast_from<std::int8_t>(to);
    case DType::int16: return cast_from<std::int16_t>(to);
    case DType::int32: return cast_from<std::int32_t>(to);
    case DType::uint8: return cast_from<std::uint8_t>(to);
    case DType::uint16: return cast_from<std::uint16_t>(to);
    case DType::uint32: return cast_from<std::uint32_t>(to);
    case DType::uint64: return cast_from<std::uint64_t>(to);
    default: return nullptr;
    }
}

template <class T>
Any as_any(T f) {
    return reinterpret_cast<Any>(f);
}

template <class T>
const VecKernels<T>& vec() {
    if constexpr (std::is_same_v<T, float>) return kernels().vec_f32;
    else return kernels().vec_f64;
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
    return {Form::fill, d, nullptr};
}

Instruction integer_instruction(const std::string& op) {
    static const std::map<std::string, Any> binary = {
        {"add", as_any(add_i64)},         {"subtract", as_any(subtract_i64)}, {"multiply", as_any(multiply_i64)},
        {"maximum", as_any(maximum_i64)}, {"minimum", as_any(minimum_i64)},
    };
    static const std::map<std::string, Any> compare = {
        {"equal", as_any(compare_i64<0>)},      {"not_equal", as_any(compare_i64<1>)},
        {"less", as_any(compare_i64<2>)},       {"less_equal", as_any(compare_i64<3>)},
        {"greater", as_any(compare_i64<4>)},    {"greater_equal", as_any(compare_i64<5>)},
    };
    if (const auto f = binary.find(op); f != binary.end()) return {Form::binary, DType::int64, f->second};
    if (const auto f = compare.find(op); f != compare.end()) return {Form::compare, DType::int64, f->second};
    if (op == "where") return {Form::where, DType::int64, as_any(where_plain<I64>)};
    if (op == "identity") return {Form::unary, DType::int64, as_any(copy_plain<I64>)};
    return {Form::fill, DType::int64, nullptr};
}

Instruction boolean_instruction(const std::string& op) {
    if (const int i = find_logic(op.c_str()); i >= 0) return {Form::logic, DType::boolean, as_any(kernels().common.logic[i])};
    if (op == "logical_not") return {Form::logical_not, DType::boolean, as_any(kernels().common.logical_not)};
    if (op == "where") return {Form::where, DType::boolean, as_any(where_plain<Bool>)};
    if (op == "identity") return {Form::unary, DType::boolean, as_any(copy_plain<Bool>)};
    return {Form::fill, DType::boolean, nullptr};
}

// number · array, then that added to, or taken from, another array: one pass over memory, and how optimisers move.
template <class T>
bool join_scaled(const Instruction& product, const Instruction& sum, Instruction& made) {
    const VecKernels<T>& k = vec<T>();
    const auto is = [&](const Instruction& i, Binary b) { return i.form == Form::binary && i.function == as_any(k.binary[static_cast<int>(b)]); };
    const bool minus = is(sum, Binary::subtract);
    if (!is(product, Binary::multiply) || !(minus || is(sum, Binary::add)) || product.by[0] + product.by[1] != 1) return false;
    const std::size_t number = product.by[0] == 0 ? 0 : 1;
    const std::size_t other = sum.in[1] == product.out ? 0 : 1;
    if (sum.in[1 - other] != product.out || sum.in[other] == product.out || sum.by[other] != 1 || (minus && other != 0)) return false;
    made = sum;
    made.form = Form::scaled;
    made.function = as_any(k.multiply_add);
    made.in = {product.in[1 - number], product.in[number], sum.in[other]};
    made.by = {1, 0, 1};
    made.call = minus ? call_scaled<T, true> : call_scaled<T, false>;
    return true;
}

} // namespace

void set_call(Instruction& i) {
    if (i.form == Form::cast) i.call = call_cast;
    else if (i.form == Form::logic) i.call = call_binary<Bool>;
    else if (i.form == Form::logical_not) i.call = call_unary<Bool>;
    else if (i.dtype == DType::float32) set_call<float>(i);
    else if (i.dtype == DType::float64) set_call<double>(i);
    else if (i.dtype == DType::int64) set_call<std::int64_t>(i);
    else set_call<Bool>(i);
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
    if (d == DType::int64) made = integer_instruction(op);
    if (d == DType::boolean) made = boolean_instruction(op);
    const bool to_bool = made.form == Form::compare || made.form == Form::test;
    const std::size_t needs = made.form == Form::where ? 3
                              : made.form == Form::binary || made.form == Form::compare || made.form == Form::logic ? 2
                                                                                                                    : 1;
    if (made.form != Form::fill && (step.inputs.size() != needs || out != (to_bool ? DType::boolean : d)))
        return {Form::fill, d, nullptr};
    return made;
}

std::vector<Instruction> joined(const std::vector<Instruction>& all, int registers) {
    const auto read_later = [&](int operand, std::size_t from) {
        for (std::size_t i = from; i < all.size(); ++i) {
            if (std::find(all[i].in.begin(), all[i].in.end(), operand) != all[i].in.end()) return true;
            if (all[i].out == operand) return false;
        }
        return false;
    };
    std::vector<Instruction> out;
    for (std::size_t i = 0; i < all.size(); ++i) {
        Instruction made;
        const bool between = i + 1 < all.size() && all[i].out >= registers && all[i].dtype == all[i + 1].dtype &&
                             (all[i + 1].out == all[i].out || !read_later(all[i].out, i + 2));
        if (between && ((all[i].dtype == DType::float32 && join_scaled<float>(all[i], all[i + 1], made)) ||
                        (all[i].dtype == DType::float64 && join_scaled<double>(all[i], all[i + 1], made)))) {
            out.push_back(made);
            ++i;
        } else {
            out.push_back(all[i]);
        }
    }
    return out;
}

bool takes_scalars(Form form) {
    return form == Form::binary || form == Form::compare || form == Form::where || form == Form::logic;
}

} // namespace chainrule
