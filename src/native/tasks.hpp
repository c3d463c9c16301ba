// What the files of tasks share: walking strides, checks, and the tasks by operation.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <vector>

#include "executor.hpp"

namespace chainrule {

inline const ValueSpec& value(const ProgramSpec& p, int n) { return p.values[static_cast<std::size_t>(n)]; }

inline std::ptrdiff_t item(const ValueSpec& v) { return static_cast<std::ptrdiff_t>(size_of(v.dtype)); }

inline bool real(DType d) { return d == DType::float32 || d == DType::float64; }

inline void require(bool condition, const char* message) {
    if (!condition) throw PlanError(message);
}

// Calls f with a value of the type that holds elements of this dtype; truth values as the bytes 0 and 1.
template <class F>
auto with_type(DType d, F f) {
    switch (d) {
    case DType::int8: return f(std::int8_t{});
    case DType::int16: return f(std::int16_t{});
    case DType::int32: return f(std::int32_t{});
    case DType::int64: return f(std::int64_t{});
    case DType::uint16: return f(std::uint16_t{});
    case DType::uint32: return f(std::uint32_t{});
    case DType::uint64: return f(std::uint64_t{});
    case DType::float32: return f(float{});
    case DType::float64: return f(double{});
    default: return f(std::uint8_t{});
    }
}

// The same for what is only moved: by its size alone.
template <class F>
auto with_item(std::ptrdiff_t bytes, F f) {
    switch (bytes) {
    case 1: return f(std::uint8_t{});
    case 2: return f(std::uint16_t{});
    case 4: return f(std::uint32_t{});
    default: return f(std::uint64_t{});
    }
}

inline bool integer(DType d) { return !real(d) && d != DType::boolean; }

// Walks positions of `shape`, moving offsets along strides of their own. A copy takes no memory from the heap.
template <std::size_t N>
class Odometer {
public:
    Odometer(const Extent& shape, const std::array<const Extent*, N>& strides) : axes_(shape.size()) {
        require(axes_ <= kMostAxes, "too many axes");
        std::copy(shape.begin(), shape.end(), shape_.begin());
        for (std::size_t k = 0; k < N; ++k) std::copy(strides[k]->begin(), strides[k]->end(), strides_[k].begin());
    }
    void reset() {
        std::fill_n(index_.begin(), axes_, 0);
        at.fill(0);
    }
    // To a position by its number in C order.
    void start(std::ptrdiff_t position) {
        at.fill(0);
        for (std::size_t a = axes_; a-- > 0; position /= shape_[a]) {
            index_[a] = position % shape_[a];
            for (std::size_t k = 0; k < N; ++k) at[k] += strides_[k][a] * index_[a];
        }
    }
    // To the next position; false after the last.
    bool next() {
        for (std::size_t a = axes_; a-- > 0;) {
            for (std::size_t k = 0; k < N; ++k) at[k] += strides_[k][a];
            if (++index_[a] < shape_[a]) return true;
            for (std::size_t k = 0; k < N; ++k) at[k] -= strides_[k][a] * shape_[a];
            index_[a] = 0;
        }
        return false;
    }
    std::array<std::ptrdiff_t, N> at{}; // offsets in bytes

private:
    static constexpr std::size_t kMostAxes = 64; // those of an operation with all that it adds to its operands'
    using Axes = std::array<std::ptrdiff_t, kMostAxes>;
    std::size_t axes_;
    Axes shape_{}, index_{};
    std::array<Axes, N> strides_{};
};

// Drops axes of length 1 and joins neighbours that all operands walk as one.
template <class Pointers = std::initializer_list<Extent*>>
void join_axes(Extent& shape, const Pointers& strides) {
    std::size_t axes = 0;
    for (std::size_t a = 0; a < shape.size(); ++a) {
        if (shape[a] == 1) continue;
        bool joins = axes > 0;
        for (const Extent* s : strides) joins = joins && (*s)[axes - 1] == (*s)[a] * shape[a];
        if (!joins) ++axes;
        shape[axes - 1] = joins ? shape[axes - 1] * shape[a] : shape[a];
        for (Extent* s : strides) (*s)[axes - 1] = (*s)[a];
    }
    shape.resize(axes);
    for (Extent* s : strides) s->resize(axes);
}

// The last axis on its own: length and strides, in place of which nothing is left; length 1 where there is none.
template <std::size_t N>
std::array<std::ptrdiff_t, N + 1> split_last(Extent& shape, const std::array<Extent*, N>& strides) {
    std::array<std::ptrdiff_t, N + 1> last{1};
    if (shape.empty()) return last;
    last[0] = shape.back();
    shape.pop_back();
    for (std::size_t k = 0; k < N; ++k) {
        last[k + 1] = strides[k]->back();
        strides[k]->pop_back();
    }
    return last;
}

// The strides of C order.
inline Extent dense_strides(const Extent& shape, std::ptrdiff_t item) {
    Extent strides(shape.size());
    for (std::size_t a = shape.size(); a-- > 0; item *= shape[a]) strides[a] = item;
    return strides;
}

constexpr std::ptrdiff_t kThreadedWork = 65536; // elements from which work is cut into parts: the same for any threads
constexpr double kElement = 0.1;                // nanoseconds that an element takes one thread, about
constexpr std::ptrdiff_t kPartWork = 16384;     // elements of one part

// Calls f(first, last, member) for ranges that cover 0 … count, by several threads if there is enough work: `each`
// elements for each of them. What f does for one number must not depend on its range. Ranges begin at multiples of `whole`.
template <class F>
void in_ranges(const Context& c, std::ptrdiff_t count, std::ptrdiff_t each, F f, std::ptrdiff_t whole = 1) {
    each = std::max<std::ptrdiff_t>(each, 1);
    if (count < 2 || !c.team.worth(kElement * static_cast<double>(count) * static_cast<double>(each))) {
        f(std::ptrdiff_t{0}, count, 0);
        return;
    }
    const std::ptrdiff_t least = (std::max<std::ptrdiff_t>(kPartWork / each, 1) + whole - 1) / whole * whole;
    const std::ptrdiff_t size = std::max(least, (count / 4096 + whole) / whole * whole);
    const auto parts = static_cast<int>((count + size - 1) / size);
    c.team.run(parts, [&](int part, int member) { f(part * size, std::min(count, (part + 1) * size), member); });
}

// Each returns nullptr for what it does not do, and throws PlanError for shapes that don't go together.
std::unique_ptr<Task> matmul_task(const ProgramSpec& program, const StepSpec& step);
std::unique_ptr<Task> reduction_task(const ProgramSpec& program, const StepSpec& step); // sum, max, argmax, …
std::unique_ptr<Task> copy_task(const ProgramSpec& program, const StepSpec& step);      // of a whole value
std::unique_ptr<Task> concatenate_task(const ProgramSpec& program, const StepSpec& step);
std::unique_ptr<Task> place_task(const ProgramSpec& program, const StepSpec& step);
std::unique_ptr<Task> index_task(const ProgramSpec& program, const StepSpec& step); // gather, scatter_add, one_hot
std::unique_ptr<Task> order_task(const ProgramSpec& program, const StepSpec& step); // argsort, searchsorted, cumsum
std::unique_ptr<Task> power_task(const ProgramSpec& program, const StepSpec& step); // of integers with a sign
std::unique_ptr<Task> conv_task(const ProgramSpec& program, const StepSpec& step);    // and its two adjoints
std::unique_ptr<Task> pool_task(const ProgramSpec& program, const StepSpec& step);    // max_pool, unpool, pool_like
std::unique_ptr<Task> overlap_task(const ProgramSpec& program, const StepSpec& step); // overlap_add
std::unique_ptr<Task> loop_task(const ProgramSpec& program, const StepSpec& step);  // of a body
std::unique_ptr<Task> uniform_task(const ProgramSpec& program, const StepSpec& step);

} // namespace chainrule
