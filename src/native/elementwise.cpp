// Chains of elementwise operations as small register programs over tiles that stay in the cache.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <type_traits>

#include "executor.hpp"
#include "kernels.hpp"

namespace chainrule {
namespace {

constexpr std::ptrdiff_t kTile = 1024;          // elements: a register of doubles takes 8 KiB
constexpr double kThreadedElements = 60000;     // element operations from which a second thread pays
constexpr int kMostOperands = 96;               // operands and registers of one program

using Any = void (*)();

enum class Form { unary, binary, compare, test, where, cast, logic, logical_not, scaled, fill };

struct Instruction {
    Form form = Form::fill;
    DType dtype = DType::float32; // of the operands that are computed with
    Any function = nullptr;
    std::array<int, 3> in{-1, -1, -1}; // operands and registers by number
    int out = -1;
    void (*call)(const Instruction&, std::ptrdiff_t n) = nullptr;
    std::array<int, 3> by{1, 1, 1};       // 0: one element for all
    std::array<const char*, 3> from = {}; // where they lie, for one tile
    char* to = nullptr;

    template <class T>
    const T* operand(std::size_t k) const {
        return reinterpret_cast<const T*>(from[k]);
    }
    template <class T>
    T* result() const {
        return reinterpret_cast<T*>(to);
    }
};

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

void set_call(Instruction& i) {
    if (i.form == Form::cast) i.call = call_cast;
    else if (i.form == Form::logic) i.call = call_binary<Bool>;
    else if (i.form == Form::logical_not) i.call = call_unary<Bool>;
    else if (i.dtype == DType::float32) set_call<float>(i);
    else if (i.dtype == DType::float64) set_call<double>(i);
    else if (i.dtype == DType::int64) set_call<std::int64_t>(i);
    else set_call<Bool>(i);
}

enum class Walk { whole, scalar, strided };

struct Operand {
    Place place;
    Walk walk;
    std::ptrdiff_t item;
    Extent strides; // bytes, over the collapsed axes; for strided walks
    int scratch = -1; // where a strided walk collects its elements
};

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

class Program final : public Task {
public:
    std::vector<Operand> operands;
    std::vector<Instruction> instructions;
    std::vector<std::ptrdiff_t> scratch; // offsets of registers and collected operands in the workspace
    std::size_t scratch_bytes = 0;
    Extent shape; // collapsed
    std::ptrdiff_t total = 0;
    std::ptrdiff_t tile = 0;

    std::size_t workspace() const override { return scratch_bytes; }

    void bind(const Context& c) override {
        if (total > tile) return;
        calls_.assign(instructions.begin(), instructions.end());
        place(c, 0, c.own(0), calls_.data());
    }

    void run(const Context& c) override {
        if (total <= tile) { // all in one go, and nothing to find out
            for (const Operand& o : operands)
                if (o.walk == Walk::strided) collect(o, c.at<char>(o.place), 0, total, c.own(0) + o.scratch);
            for (const Instruction& i : calls_) i.call(i, total);
            return;
        }
        const auto parts = static_cast<int>((total + tile - 1) / tile);
        if (c.team.size() > 1 && static_cast<double>(total) * static_cast<double>(instructions.size()) > kThreadedElements) {
            c.team.run(parts, [&](int part, int member) { run_tile(c, part * tile, c.own(member)); });
        } else {
            for (int part = 0; part < parts; ++part) run_tile(c, part * tile, c.own(0));
        }
    }

private:
    std::vector<Instruction> calls_; // of a single tile: its operands do not move from run to run

    void run_tile(const Context& c, std::ptrdiff_t first, char* own) const {
        const std::ptrdiff_t n = std::min(tile, total - first);
        for (const Operand& o : operands)
            if (o.walk == Walk::strided) collect(o, c.at<char>(o.place), first, n, own + o.scratch);
        std::array<char*, kMostOperands> at;
        addresses(c, first, own, at);
        for (Instruction i : instructions) {
            aim(i, at);
            i.call(i, n);
        }
    }

    // Where operands and registers lie for a tile.
    void addresses(const Context& c, std::ptrdiff_t first, char* own, std::array<char*, kMostOperands>& at) const {
        std::size_t k = 0;
        for (const Operand& o : operands) {
            char* const base = c.bases[o.place.root] + o.place.offset;
            at[k++] = o.walk == Walk::whole ? base + first * o.item : o.walk == Walk::scalar ? base : own + o.scratch;
        }
        for (const std::ptrdiff_t offset : scratch) at[k++] = own + offset;
    }

    static void aim(Instruction& i, const std::array<char*, kMostOperands>& at) {
        for (std::size_t k = 0; k < i.in.size(); ++k)
            if (i.in[k] >= 0) i.from[k] = at[static_cast<std::size_t>(i.in[k])];
        i.to = at[static_cast<std::size_t>(i.out)];
    }

    void place(const Context& c, std::ptrdiff_t first, char* own, Instruction* made) const {
        std::array<char*, kMostOperands> at;
        addresses(c, first, own, at);
        for (std::size_t i = 0; i < instructions.size(); ++i) aim(made[i], at);
    }

    // Copies elements first … first + n - 1 of a broadcast or strided operand side by side.
    void collect(const Operand& o, const char* base, std::ptrdiff_t first, std::ptrdiff_t n, char* to) const {
        const std::size_t axes = shape.size();
        if (axes == 2 && n == total) return collect_rows(o, base, to);
        std::array<std::ptrdiff_t, 32> index{};
        const char* from = base;
        std::ptrdiff_t rest = first;
        for (std::size_t a = axes; a-- > 0;) {
            index[a] = rest % shape[a];
            rest /= shape[a];
            from += index[a] * o.strides[a];
        }
        const std::ptrdiff_t inner = shape[axes - 1], by = o.strides[axes - 1];
        while (n > 0) {
            const std::ptrdiff_t run = std::min(n, inner - index[axes - 1]);
            copy_run(from, by, o.item, run, to);
            to += run * o.item;
            n -= run;
            from -= index[axes - 1] * by;
            index[axes - 1] = 0;
            for (std::size_t a = axes - 1; a-- > 0;) { // carry
                from += o.strides[a];
                if (++index[a] < shape[a]) break;
                from -= index[a] * o.strides[a];
                index[a] = 0;
            }
        }
    }

    void collect_rows(const Operand& o, const char* from, char* to) const {
        const std::ptrdiff_t rows = shape[0], columns = shape[1], down = o.strides[0], across = o.strides[1];
        const std::ptrdiff_t bytes = columns * o.item;
        if (down == 0) { // one row, copied twice as far each time
            copy_run(from, across, o.item, columns, to);
            for (std::ptrdiff_t done = 1; done < rows; done *= 2)
                std::memcpy(to + done * bytes, to, static_cast<std::size_t>(std::min(done, rows - done) * bytes));
        } else if (across == 0 && o.item == 4 && columns >= 4) {
            for (std::ptrdiff_t r = 0; r < rows; ++r, from += down, to += bytes) fill_row<std::uint32_t>(from, columns, to);
        } else if (across == 0 && o.item == 8 && columns >= 2) {
            for (std::ptrdiff_t r = 0; r < rows; ++r, from += down, to += bytes) fill_row<std::uint64_t>(from, columns, to);
        } else {
            for (std::ptrdiff_t r = 0; r < rows; ++r, from += down, to += bytes) copy_run(from, across, o.item, columns, to);
        }
    }

    // By 16 bytes, the last of them over what is written already.
    template <class T>
    static void fill_row(const char* from, std::ptrdiff_t n, char* to) {
        constexpr std::ptrdiff_t each = 16 / sizeof(T);
        std::array<T, static_cast<std::size_t>(each)> block;
        block.fill(*reinterpret_cast<const T*>(from));
        for (std::ptrdiff_t i = 0; i + each <= n; i += each) std::memcpy(to + i * static_cast<std::ptrdiff_t>(sizeof(T)), &block, 16);
        std::memcpy(to + n * static_cast<std::ptrdiff_t>(sizeof(T)) - 16, &block, 16);
    }

    template <class T>
    static void copy_items(const char* from, std::ptrdiff_t by, std::ptrdiff_t n, char* to) {
        T* out = reinterpret_cast<T*>(to);
        if (by == 0) {
            std::fill_n(out, n, *reinterpret_cast<const T*>(from));
            return;
        }
        for (std::ptrdiff_t i = 0; i < n; ++i, from += by) out[i] = *reinterpret_cast<const T*>(from);
    }

    static void copy_run(const char* from, std::ptrdiff_t by, std::ptrdiff_t item, std::ptrdiff_t n, char* to) {
        if (by == item) {
            std::memcpy(to, from, static_cast<std::size_t>(n * item));
        } else if (item == 4) {
            copy_items<std::uint32_t>(from, by, n, to);
        } else if (item == 8) {
            copy_items<std::uint64_t>(from, by, n, to);
        } else if (item == 1) {
            copy_items<std::uint8_t>(from, by, n, to);
        } else {
            copy_items<std::uint16_t>(from, by, n, to);
        }
    }
};

// Strides of a value against a broadcast shape: 0 along axes where it has one element.
Extent broadcast_strides(const ValueSpec& v, const Extent& shape) {
    if (v.shape.size() > shape.size()) throw PlanError("an operand has more axes than its step");
    Extent out(shape.size(), 0);
    const std::size_t lead = shape.size() - v.shape.size();
    for (std::size_t i = 0; i < v.shape.size(); ++i) {
        if (v.shape[i] != shape[lead + i] && v.shape[i] != 1) throw PlanError("an operand does not broadcast to its step");
        out[lead + i] = v.shape[i] == 1 ? 0 : v.strides[i];
    }
    return out;
}

// Joins neighbouring axes that every operand walks as one.
Extent collapse(const Extent& shape, std::vector<Extent>& strides) {
    Extent axes;
    std::vector<Extent> out(strides.size());
    for (std::size_t a = 0; a < shape.size(); ++a) {
        if (shape[a] == 1) continue;
        bool joins = !axes.empty();
        for (std::size_t k = 0; joins && k < strides.size(); ++k) joins = out[k].back() == strides[k][a] * shape[a];
        if (joins) {
            axes.back() *= shape[a];
            for (std::size_t k = 0; k < strides.size(); ++k) out[k].back() = strides[k][a];
        } else {
            axes.push_back(shape[a]);
            for (std::size_t k = 0; k < strides.size(); ++k) out[k].push_back(strides[k][a]);
        }
    }
    if (axes.empty()) {
        axes.push_back(1);
        for (Extent& s : out) s.push_back(0);
    }
    strides = out;
    return axes;
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

// Joins instructions where nothing else reads what passes between them. `registers`: the first that is no memory.
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

} // namespace

std::unique_ptr<Task> elementwise_task(const ProgramSpec& p, const GroupSpec& group) {
    std::vector<Instruction> instructions;
    for (const StepSpec& step : group.steps) {
        Instruction made = instruction_of(p, step);
        if (made.form == Form::fill) return nullptr;
        instructions.push_back(made);
    }
    const auto value = [&](int n) -> const ValueSpec& { return p.values[static_cast<std::size_t>(n)]; };
    const Extent& shape = value(group.steps.front().output).shape;
    auto program = std::make_unique<Program>();
    program->total = elements(shape);

    // operands in memory, in the order of their first use; then registers
    std::vector<int> numbers;
    std::map<int, int> slot;
    std::vector<bool> whole_only;
    for (std::size_t s = 0; s < group.steps.size(); ++s) {
        const StepSpec& step = group.steps[s];
        if (value(step.output).shape != shape) throw PlanError("a fused step has another shape than its group");
        std::vector<int> all = step.inputs;
        all.push_back(step.output);
        for (const int n : all) {
            if (group.registers.count(n) > 0) {
                if (value(n).shape != shape) throw PlanError("a register has another shape than its group");
                continue;
            }
            if (slot.emplace(n, static_cast<int>(numbers.size())).second) {
                numbers.push_back(n);
                whole_only.push_back(false);
            }
        }
        if (!takes_scalars(instructions[s].form))
            for (const int n : step.inputs)
                if (slot.count(n) > 0) whole_only[static_cast<std::size_t>(slot[n])] = true;
    }
    // tiles run in any order: what is written may be read only at the same place
    for (const StepSpec& step : group.steps) {
        if (group.registers.count(step.output) > 0) continue;
        for (const int n : numbers)
            if (n != step.output && overlap(p, n, step.output) && !same_places(p, n, step.output))
                throw PlanError("a fused step writes over what it reads elsewhere");
    }
    std::vector<Extent> strides;
    for (const int n : numbers) strides.push_back(broadcast_strides(value(n), shape));
    strides.push_back(Extent()); // the shape's own order: results lie in it
    {
        std::ptrdiff_t step = 1;
        Extent own(shape.size());
        for (std::size_t a = shape.size(); a-- > 0;) {
            own[a] = step;
            step *= shape[a];
        }
        strides.back() = own;
    }
    program->shape = collapse(shape, strides);
    const Extent order = strides.back();

    std::size_t bytes = 0;
    // a little more than a tile goes in one, too
    const std::ptrdiff_t most = program->total <= 3 * kTile ? 3 * kTile : kTile;
    const std::ptrdiff_t tile = std::min(most, std::max<std::ptrdiff_t>(program->total, 1));
    const auto reserve = [&](std::ptrdiff_t item) {
        const std::size_t at = bytes;
        bytes += (static_cast<std::size_t>(tile * item) + 63) / 64 * 64;
        return at;
    };
    for (std::size_t k = 0; k < numbers.size(); ++k) {
        const ValueSpec& v = value(numbers[k]);
        Operand o;
        o.place = place_of(p, numbers[k]);
        o.item = static_cast<std::ptrdiff_t>(size_of(v.dtype));
        o.strides = strides[k];
        bool whole = true, fixed = true;
        for (std::size_t a = 0; a < order.size(); ++a) {
            whole = whole && (o.strides[a] == order[a] * o.item || program->shape[a] == 1);
            fixed = fixed && o.strides[a] == 0;
        }
        o.walk = whole || program->total <= 1 ? Walk::whole : fixed && !whole_only[k] ? Walk::scalar : Walk::strided;
        if (o.walk == Walk::strided) o.scratch = static_cast<int>(reserve(o.item));
        program->operands.push_back(o);
    }
    for (const DType d : group.register_types)
        program->scratch.push_back(static_cast<std::ptrdiff_t>(reserve(static_cast<std::ptrdiff_t>(size_of(d)))));
    program->scratch_bytes = bytes;
    program->tile = tile;
    if (numbers.size() + group.register_types.size() > static_cast<std::size_t>(kMostOperands) || program->shape.size() > 32)
        return nullptr;
    for (std::size_t s = 0; s < group.steps.size(); ++s) {
        const StepSpec& step = group.steps[s];
        const auto index = [&](int n) {
            const auto r = group.registers.find(n);
            return r != group.registers.end() ? static_cast<int>(numbers.size()) + r->second : slot.at(n);
        };
        for (std::size_t i = 0; i < step.inputs.size(); ++i) {
            const int k = instructions[s].in[i] = index(step.inputs[i]);
            const auto o = static_cast<std::size_t>(k);
            instructions[s].by[i] = o < numbers.size() && program->operands[o].walk == Walk::scalar ? 0 : 1;
        }
        instructions[s].out = index(step.output);
        set_call(instructions[s]);
        const auto o = static_cast<std::size_t>(instructions[s].out);
        if (o < program->operands.size() && program->operands[o].walk != Walk::whole)
            throw PlanError("a result is not contiguous");
    }
    program->instructions = joined(instructions, static_cast<int>(numbers.size()));
    return program;
}

} // namespace chainrule
