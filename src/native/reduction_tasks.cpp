// Reductions over axes.
#include <cmath>
#include <type_traits>

#include "kernels.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

constexpr std::ptrdiff_t kShortRow = 16; // elements of a row up to which several rows are reduced at once

enum class Fold { sum, max, min, prod, all, any };

// The common case: a matrix whose rows, or columns, or all of whose elements are reduced.
template <class T>
class MatrixReduction final : public Task {
public:
    MatrixReduction(Place x, Place out, std::ptrdiff_t rows, std::ptrdiff_t columns, bool along_rows, Fold fold)
        : x_(x), out_(out), rows_(rows), columns_(columns), along_rows_(along_rows), fold_(fold) {}
    void run(const Context& c) override {
        const VecKernels<T>& k = kernel();
        const T* const x = c.at<T>(x_);
        T* const out = c.at<T>(out_);
        if (along_rows_ && columns_ <= kShortRow && rows_ > 1) {
            if (fold_ == Fold::sum) reduce_short(x, out, [](T a, T b) { return a + b; });
            else if (fold_ == Fold::max) reduce_short(x, out, [](T a, T b) { return b > a || b != b ? b : a; });
            else reduce_short(x, out, [](T a, T b) { return b < a || b != b ? b : a; });
        } else if (fold_ == Fold::sum) {
            if (rows_ == 1 && along_rows_) *out = k.sum(columns_, x);
            else if (along_rows_) k.sum_rows(rows_, columns_, x, columns_, out);
            else k.sum_columns(rows_, columns_, x, columns_, false, out);
        } else {
            const auto f = fold_ == Fold::max ? k.maximum : k.minimum;
            for (std::ptrdiff_t r = 0; r < rows_; ++r) out[r] = f(columns_, x + r * columns_);
        }
    }

private:
    template <class F>
    void reduce_short(const T* x, T* out, F f) const {
        constexpr std::ptrdiff_t together = 8;
        std::ptrdiff_t r = 0;
        for (; r + together <= rows_; r += together, x += together * columns_, out += together) {
            std::array<T, static_cast<std::size_t>(together)> all;
            for (std::ptrdiff_t i = 0; i < together; ++i) all[static_cast<std::size_t>(i)] = x[i * columns_];
            for (std::ptrdiff_t j = 1; j < columns_; ++j)
                for (std::ptrdiff_t i = 0; i < together; ++i)
                    all[static_cast<std::size_t>(i)] = f(all[static_cast<std::size_t>(i)], x[i * columns_ + j]);
            std::copy(all.begin(), all.end(), out);
        }
        for (; r < rows_; ++r, x += columns_) {
            T one = *x;
            for (std::ptrdiff_t j = 1; j < columns_; ++j) one = f(one, x[j]);
            *out++ = one;
        }
    }

    static const VecKernels<T>& kernel() {
        if constexpr (std::is_same_v<T, float>) return kernels().vec_f32;
        else return kernels().vec_f64;
    }
    Place x_, out_;
    std::ptrdiff_t rows_, columns_;
    bool along_rows_;
    Fold fold_;
};

// Any axes, any strides: one result after another.
template <class T, class Out>
class AnyReduction final : public Task {
public:
    AnyReduction(Place x, Place out, const Extent& kept, const Extent& kept_strides, const Extent& gone, const Extent& gone_strides, Fold fold)
        : x_(x), out_(out), results_(elements(kept)), terms_(elements(gone)), fold_(fold), outer_(kept, {&kept_strides}),
          inner_(gone, {&gone_strides}) {}
    void run(const Context& c) override {
        const char* const x = c.at<char>(x_);
        Out* out = c.at<Out>(out_);
        outer_.reset();
        for (std::ptrdiff_t r = 0; r < results_; ++r) {
            *out++ = reduced(x + outer_.at[0]);
            outer_.next();
        }
    }

private:
    // Integers wrap around, as NumPy's do.
    template <class Sum, class F>
    static Sum wrapped(Sum a, Sum b, F f) {
        if constexpr (std::is_same_v<Sum, std::int64_t>) return static_cast<Sum>(f(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
        else return static_cast<Sum>(f(a, b));
    }

    Out reduced(const char* x) {
        using Sum = std::conditional_t<std::is_floating_point_v<Out>, double, Out>;
        const auto first = [&] { return *reinterpret_cast<const T*>(x + inner_.at[0]); };
        inner_.reset();
        Sum total = fold_ == Fold::prod || fold_ == Fold::all ? Sum(1) : Sum(0);
        if (fold_ == Fold::max || fold_ == Fold::min) {
            total = static_cast<Sum>(first());
            for (std::ptrdiff_t i = 0; i < terms_; ++i, inner_.next()) {
                const auto v = static_cast<Sum>(first());
                if (v != v || (total == total && (fold_ == Fold::max ? v > total : v < total))) total = v;
            }
            return static_cast<Out>(total);
        }
        for (std::ptrdiff_t i = 0; i < terms_; ++i, inner_.next()) {
            const auto v = static_cast<Sum>(first());
            switch (fold_) {
            case Fold::sum: total = wrapped<Sum>(total, v, [](auto a, auto b) { return a + b; }); break;
            case Fold::prod: total = wrapped<Sum>(total, v, [](auto a, auto b) { return a * b; }); break;
            case Fold::all: total = static_cast<Sum>(total != Sum(0) && v != Sum(0)); break;
            default: total = static_cast<Sum>(total != Sum(0) || v != Sum(0)); break;
            }
        }
        return static_cast<Out>(total);
    }

    Place x_, out_;
    std::ptrdiff_t results_, terms_;
    Fold fold_;
    Odometer<1> outer_, inner_;
};

// numbers: the axes.
std::unique_ptr<Task> fold_task(const ProgramSpec& p, const StepSpec& step, Fold fold) {
    const ValueSpec &x = value(p, step.inputs.at(0)), &out = value(p, step.output);
    std::vector<bool> gone(x.shape.size(), false);
    for (const std::int64_t a : step.numbers) {
        require(a >= 0 && static_cast<std::size_t>(a) < x.shape.size(), "a reduction over an axis that is not there");
        gone[static_cast<std::size_t>(a)] = true;
    }
    Extent kept, kept_strides, over, over_strides;
    for (std::size_t a = 0; a < x.shape.size(); ++a) {
        (gone[a] ? over : kept).push_back(x.shape[a]);
        (gone[a] ? over_strides : kept_strides).push_back(x.strides[a]);
    }
    require(elements(out.shape) == elements(kept), "a reduction's result has the wrong size");
    const bool extreme = fold == Fold::max || fold == Fold::min;
    if (extreme) require(elements(over) > 0 || elements(kept) == 0, "a maximum of no elements");
    const Place from = place_of(p, step.inputs[0]), to = place_of(p, step.output);

    bool dense = true; // contiguous, with the reduced axes all last or all first
    std::ptrdiff_t run = item(x);
    for (std::size_t a = x.shape.size(); a-- > 0;) {
        dense = dense && (x.strides[a] == run || x.shape[a] == 1);
        run *= x.shape[a];
    }
    std::size_t trailing = 0, leading = 0;
    while (trailing < gone.size() && gone[gone.size() - 1 - trailing]) ++trailing;
    while (leading < gone.size() && gone[leading]) ++leading;
    const bool last = trailing == over.size(), first = leading == over.size();
    if (dense && real(x.dtype) && out.dtype == x.dtype && elements(x.shape) > 0 && ((fold == Fold::sum && (last || first)) || (extreme && last))) {
        const std::ptrdiff_t rows = last ? elements(kept) : elements(over), columns = last ? elements(over) : elements(kept);
        if (x.dtype == DType::float32) return std::make_unique<MatrixReduction<float>>(from, to, rows, columns, last, fold);
        return std::make_unique<MatrixReduction<double>>(from, to, rows, columns, last, fold);
    }
    const auto any = [&]<class T, class Out>(T, Out) -> std::unique_ptr<Task> {
        return std::make_unique<AnyReduction<T, Out>>(from, to, kept, kept_strides, over, over_strides, fold);
    };
    if (x.dtype == DType::float32 && out.dtype == DType::float32) return any(float{}, float{});
    if (x.dtype == DType::float64 && out.dtype == DType::float64) return any(double{}, double{});
    if (x.dtype == DType::int64 && out.dtype == DType::int64) return any(std::int64_t{}, std::int64_t{});
    if (x.dtype == DType::boolean && out.dtype == DType::int64) return any(Bool{}, std::int64_t{});
    if (x.dtype == DType::boolean && out.dtype == DType::boolean) return any(Bool{}, Bool{});
    return nullptr;
}

template <class T>
class ArgTask final : public Task {
public:
    ArgTask(Place x, Place out, const Extent& kept, const Extent& strides, std::ptrdiff_t length, std::ptrdiff_t by, bool most)
        : x_(x), out_(out), results_(elements(kept)), length_(length), by_(by), most_(most), outer_(kept, {&strides}) {}
    void run(const Context& c) override {
        const char* const x = c.at<char>(x_);
        auto* out = c.at<std::int64_t>(out_);
        outer_.reset();
        for (std::ptrdiff_t r = 0; r < results_; ++r, outer_.next()) {
            const char* row = x + outer_.at[0];
            std::ptrdiff_t best = 0;
            T top = *reinterpret_cast<const T*>(row);
            for (std::ptrdiff_t i = 1; i < length_ && top == top; ++i) {
                const T v = *reinterpret_cast<const T*>(row + i * by_);
                if (v != v || (most_ ? v > top : v < top)) {
                    top = v;
                    best = i;
                }
            }
            *out++ = best;
        }
    }

private:
    Place x_, out_;
    std::ptrdiff_t results_, length_, by_;
    bool most_;
    Odometer<1> outer_;
};

// numbers: the axis.
std::unique_ptr<Task> arg_task(const ProgramSpec& p, const StepSpec& step, bool most) {
    const ValueSpec &x = value(p, step.inputs.at(0)), &out = value(p, step.output);
    require(step.numbers.size() == 1 && step.numbers[0] >= 0 && static_cast<std::size_t>(step.numbers[0]) < x.shape.size(), "argmax: no such axis");
    const auto axis = static_cast<std::size_t>(step.numbers[0]);
    Extent kept, strides;
    for (std::size_t a = 0; a < x.shape.size(); ++a) {
        if (a == axis) continue;
        kept.push_back(x.shape[a]);
        strides.push_back(x.strides[a]);
    }
    require(out.dtype == DType::int64 && elements(out.shape) == elements(kept) && (x.shape[axis] > 0 || elements(kept) == 0), "argmax: the result has the wrong form");
    const Place from = place_of(p, step.inputs[0]), to = place_of(p, step.output);
    const auto made = [&]<class T>(T) -> std::unique_ptr<Task> {
        return std::make_unique<ArgTask<T>>(from, to, kept, strides, x.shape[axis], x.strides[axis], most);
    };
    if (x.dtype == DType::float32) return made(float{});
    if (x.dtype == DType::float64) return made(double{});
    if (x.dtype == DType::int64) return made(std::int64_t{});
    return nullptr;
}

} // namespace

std::unique_ptr<Task> reduction_task(const ProgramSpec& p, const StepSpec& step) {
    if (step.op == "sum") return fold_task(p, step, Fold::sum);
    if (step.op == "max") return fold_task(p, step, Fold::max);
    if (step.op == "min") return fold_task(p, step, Fold::min);
    if (step.op == "prod") return fold_task(p, step, Fold::prod);
    if (step.op == "all") return fold_task(p, step, Fold::all);
    if (step.op == "any") return fold_task(p, step, Fold::any);
    if (step.op == "argmax") return arg_task(p, step, true);
    if (step.op == "argmin") return arg_task(p, step, false);
    return nullptr;
}

} // namespace chainrule
