// Steps that are not elementwise: multiplies, reductions, joining and placing, one-hot rows, random numbers.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "executor.hpp"
#include "gemm.hpp"
#include "kernels.hpp"
#include "philox.hpp"

namespace chainrule {
namespace {

constexpr double kThreadedFlops = 1.0e6;      // a multiply from which a second thread pays
constexpr std::ptrdiff_t kTinyProduct = 128; // multiplications up to which plain loops are faster than tiles
constexpr std::ptrdiff_t kShortRow = 16;     // elements of a row up to which several rows are reduced at once

const ValueSpec& value(const ProgramSpec& p, int n) { return p.values[static_cast<std::size_t>(n)]; }

std::ptrdiff_t item(const ValueSpec& v) { return static_cast<std::ptrdiff_t>(size_of(v.dtype)); }

bool real(DType d) { return d == DType::float32 || d == DType::float64; }

void require(bool condition, const char* message) {
    if (!condition) throw PlanError(message);
}

// Walks all positions of `shape`, moving offsets along strides of their own.
template <std::size_t N>
class Odometer {
public:
    Odometer(const Extent& shape, const std::array<const Extent*, N>& strides) : shape_(shape), index_(shape.size(), 0) {
        for (std::size_t k = 0; k < N; ++k) strides_[k] = *strides[k];
    }
    void reset() {
        std::fill(index_.begin(), index_.end(), 0);
        at.fill(0);
    }
    // To the next position; false after the last.
    bool next() {
        for (std::size_t a = shape_.size(); a-- > 0;) {
            for (std::size_t k = 0; k < N; ++k) at[k] += strides_[k][a];
            if (++index_[a] < shape_[a]) return true;
            for (std::size_t k = 0; k < N; ++k) at[k] -= strides_[k][a] * shape_[a];
            index_[a] = 0;
        }
        return false;
    }
    std::array<std::ptrdiff_t, N> at{}; // offsets in bytes

private:
    Extent shape_;
    std::vector<std::ptrdiff_t> index_;
    std::array<Extent, N> strides_;
};

// ---- copies between strided places --------------------------------------------------------------------------------------

class CopyTask final : public Task {
public:
    CopyTask(Place from, Place to, const Extent& shape, const Extent& from_strides, const Extent& to_strides, std::ptrdiff_t size)
        : from_(from), to_(to), size_(size), count_(elements(shape)), inner_(1), walk_(Extent(), {&kNone, &kNone}) {
        Extent outer = shape, a = from_strides, b = to_strides;
        run_ = size;
        while (!outer.empty() && (outer.back() == 1 || (a.back() == run_ && b.back() == run_))) { // one run of bytes
            run_ *= outer.back();
            outer.pop_back();
            a.pop_back();
            b.pop_back();
        }
        walk_ = Odometer<2>(outer, {&a, &b});
    }
    void run(const Context& c) override {
        const char* const from = c.at<char>(from_);
        char* const to = c.at<char>(to_);
        if (count_ == 0 || (from == to && run_ == count_ * size_)) return; // nothing, or made in its place
        walk_.reset();
        do std::memmove(to + walk_.at[1], from + walk_.at[0], static_cast<std::size_t>(run_));
        while (walk_.next());
    }

private:
    static inline const Extent kNone{};
    Place from_, to_;
    std::ptrdiff_t size_, count_, inner_, run_ = 0;
    Odometer<2> walk_;
};

// Several tasks that make one step.
class Sequence final : public Task {
public:
    std::vector<std::unique_ptr<Task>> tasks;
    void run(const Context& c) override {
        for (const auto& t : tasks) t->run(c);
    }
    std::size_t workspace() const override {
        std::size_t most = 0;
        for (const auto& t : tasks) most = std::max(most, t->workspace());
        return most;
    }
};

class ZeroTask final : public Task {
public:
    ZeroTask(Place to, std::ptrdiff_t bytes) : to_(to), bytes_(bytes) {}
    void run(const Context& c) override { std::memset(c.at<char>(to_), 0, static_cast<std::size_t>(bytes_)); }

private:
    Place to_;
    std::ptrdiff_t bytes_;
};

std::unique_ptr<Task> copy_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &x = value(p, step.inputs[0]), &out = value(p, step.output);
    require(x.shape == out.shape && x.dtype == out.dtype, "copy: the forms differ");
    return std::make_unique<CopyTask>(place_of(p, step.inputs[0]), place_of(p, step.output), x.shape, x.strides, out.strides, item(x));
}

std::unique_ptr<Task> concatenate_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec& out = value(p, step.output);
    require(step.numbers.size() == 1 && !out.shape.empty(), "concatenate: no axis");
    const auto axis = static_cast<std::size_t>(step.numbers[0]);
    require(axis < out.shape.size(), "concatenate: no such axis");
    auto all = std::make_unique<Sequence>();
    std::ptrdiff_t at = 0;
    for (const int n : step.inputs) {
        const ValueSpec& x = value(p, n);
        require(x.shape.size() == out.shape.size() && x.dtype == out.dtype, "concatenate: the forms differ");
        for (std::size_t a = 0; a < out.shape.size(); ++a)
            require(a == axis ? x.shape[a] <= out.shape[a] - at : x.shape[a] == out.shape[a], "concatenate: lengths differ");
        Place to = place_of(p, step.output);
        to.offset += at * out.strides[axis];
        all->tasks.push_back(std::make_unique<CopyTask>(place_of(p, n), to, x.shape, x.strides, out.strides, item(x)));
        at += x.shape[axis];
    }
    require(at == out.shape[axis], "concatenate: the parts do not fill the result");
    return all;
}

// numbers: the byte offset of the part within the result, then its strides.
std::unique_ptr<Task> place_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &x = value(p, step.inputs.at(0)), &out = value(p, step.output);
    require(step.numbers.size() == 1 + x.shape.size() && x.dtype == out.dtype, "place: the forms differ");
    ValueSpec part = x;
    part.offset = static_cast<std::ptrdiff_t>(step.numbers[0]);
    for (std::size_t a = 0; a < x.shape.size(); ++a) part.strides[a] = static_cast<std::ptrdiff_t>(step.numbers[1 + a]);
    if (elements(x.shape) > 0) {
        const std::ptrdiff_t most = span(out).second; // no position within the result is farther
        require(part.offset >= 0 && part.offset < most, "place: the part lies outside the result");
        for (std::size_t a = 0; a < x.shape.size(); ++a) {
            const std::ptrdiff_t s = part.strides[a], reach = most / std::max<std::ptrdiff_t>(x.shape[a] - 1, 1);
            require(x.shape[a] == 1 || (s % item(x) == 0 && s >= -reach && s <= reach), "place: strides out of range");
            if (x.shape[a] == 1) part.strides[a] = 0;
        }
        const auto [low, high] = span(part);
        require(part.offset % item(x) == 0 && part.offset + low >= 0 && part.offset + high <= span(out).second,
                "place: the part lies outside the result");
    }
    auto all = std::make_unique<Sequence>();
    all->tasks.push_back(std::make_unique<ZeroTask>(place_of(p, step.output), elements(out.shape) * item(out)));
    Place to = place_of(p, step.output);
    if (elements(x.shape) > 0) to.offset += part.offset;
    all->tasks.push_back(std::make_unique<CopyTask>(place_of(p, step.inputs[0]), to, x.shape, x.strides, part.strides, item(x)));
    return all;
}

// ---- matrix multiplies ---------------------------------------------------------------------------------------------------

template <class T>
class MatmulTask final : public Task {
public:
    MatmulTask(const ProgramSpec& p, const StepSpec& step)
        : a_(place_of(p, step.inputs[0])), b_(place_of(p, step.inputs[1])), c_(place_of(p, step.output)),
          walk_(Extent(), {&kNone, &kNone, &kNone}) {
        const ValueSpec &a = value(p, step.inputs[0]), &b = value(p, step.inputs[1]), &c = value(p, step.output);
        const std::size_t na = a.shape.size(), nb = b.shape.size(), nc = c.shape.size();
        require(na >= 2 && nb >= 2 && nc == std::max(na, nb), "matmul: two matrices are needed");
        const std::ptrdiff_t m = a.shape[na - 2], k = a.shape[na - 1], n = b.shape[nb - 1];
        require(b.shape[nb - 2] == k && c.shape[nc - 2] == m && c.shape[nc - 1] == n, "matmul: the shapes do not multiply");
        Extent batch(c.shape.begin(), c.shape.end() - 2), sa(batch.size(), 0), sb(batch.size(), 0), sc(batch.size(), 0);
        for (std::size_t i = 0; i < batch.size(); ++i) {
            sc[i] = c.strides[i];
            const auto along = [&](const ValueSpec& x, std::size_t nx) {
                const std::size_t lead = nc - nx;
                if (i < lead) return std::ptrdiff_t{0};
                require(x.shape[i - lead] == batch[i] || x.shape[i - lead] == 1, "matmul: leading axes do not broadcast");
                return x.shape[i - lead] == 1 ? std::ptrdiff_t{0} : x.strides[i - lead];
            };
            sa[i] = along(a, na);
            sb[i] = along(b, nb);
        }
        count_ = elements(c.shape);
        batches_ = elements(batch);
        m_ = m, n_ = n, k_ = k;
        tiny_ = batches_ == 1 && count_ > 0 && count_ <= kTinyProduct && k <= kTinyProduct / count_;
        walk_ = Odometer<3>(batch, {&sa, &sb, &sc});
        const auto size = static_cast<std::ptrdiff_t>(sizeof(T));
        const auto strides = [&](const ValueSpec& x, std::size_t nx) {
            return Strides{x.strides[nx - 2] / size, x.strides[nx - 1] / size};
        };
        empty_ = k == 0;
        a_strides_ = strides(a, na), b_strides_ = strides(b, nb);
        if (count_ > 0 && !empty_) gemm_ = Gemm<T>(m, n, k, a_strides_, b_strides_, n);
        flops_ = 2.0 * static_cast<double>(count_) * static_cast<double>(k);
    }
    std::size_t workspace() const override { return count_ > 0 && !empty_ ? gemm_.workspace() : 0; }
    void run(const Context& c) override {
        if (count_ == 0) return;
        if (empty_) {
            std::memset(c.at<char>(c_), 0, static_cast<std::size_t>(count_) * sizeof(T));
            return;
        }
        if (tiny_) return multiply(c.at<T>(a_), c.at<T>(b_), c.at<T>(c_));
        if (batches_ == 1) {
            if (c.team.size() > 1 && flops_ > kThreadedFlops)
                gemm_.run(c.at<T>(a_), c.at<T>(b_), c.at<T>(c_), false, Epilogue{}, c.workspace, c.team);
            else
                gemm_.run(c.at<T>(a_), c.at<T>(b_), c.at<T>(c_), false, Epilogue{}, c.workspace);
            return;
        }
        walk_.reset();
        const char *a = c.at<char>(a_), *b = c.at<char>(b_);
        char* out = c.at<char>(c_);
        do gemm_.run(reinterpret_cast<const T*>(a + walk_.at[0]), reinterpret_cast<const T*>(b + walk_.at[1]),
                     reinterpret_cast<T*>(out + walk_.at[2]), false, Epilogue{}, c.workspace);
        while (walk_.next());
    }

private:
    void multiply(const T* a, const T* b, T* out) const {
        for (std::ptrdiff_t i = 0; i < m_; ++i, a += a_strides_.row) {
            for (std::ptrdiff_t j = 0; j < n_; ++j) {
                const T *x = a, *y = b + j * b_strides_.column;
                T sum = *x * *y;
                for (std::ptrdiff_t p = 1; p < k_; ++p) sum += *(x += a_strides_.column) * *(y += b_strides_.row);
                *out++ = sum;
            }
        }
    }

    static inline const Extent kNone{};
    Place a_, b_, c_;
    Gemm<T> gemm_;
    Odometer<3> walk_;
    std::ptrdiff_t count_ = 0, batches_ = 1;
    std::ptrdiff_t m_ = 0, n_ = 0, k_ = 0;
    Strides a_strides_{}, b_strides_{};
    bool empty_ = false, tiny_ = false;
    double flops_ = 0;
};

// ---- reductions ------------------------------------------------------------------------------------------------------------

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
std::unique_ptr<Task> reduction_task(const ProgramSpec& p, const StepSpec& step, Fold fold) {
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

// ---- classes, rows, random numbers -----------------------------------------------------------------------------------------

template <class Id, class T>
class OneHotTask final : public Task {
public:
    OneHotTask(Place ids, Place out, std::ptrdiff_t count, std::ptrdiff_t classes)
        : ids_(ids), out_(out), count_(count), classes_(classes) {}
    void run(const Context& c) override {
        const Id* const ids = c.at<Id>(ids_);
        T* out = c.at<T>(out_);
        for (std::ptrdiff_t i = 0; i < count_; ++i, out += classes_) {
            const auto id = static_cast<std::ptrdiff_t>(ids[i]);
            const bool known = id >= 0 && id < classes_;
            std::fill_n(out, classes_, known ? T(0) : std::numeric_limits<T>::quiet_NaN()); // as the table's row says
            if (known) out[id] = T(1);
        }
    }

private:
    Place ids_, out_;
    std::ptrdiff_t count_, classes_;
};

std::unique_ptr<Task> one_hot_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &ids = value(p, step.inputs.at(0)), &out = value(p, step.output);
    if (out.shape.empty() || !real(out.dtype)) return nullptr;
    const std::ptrdiff_t classes = out.shape.back(), count = elements(ids.shape);
    require(elements(Extent(out.shape.begin(), out.shape.end() - 1)) == count, "one_hot: the result has the wrong shape");
    std::ptrdiff_t run = item(ids);
    for (std::size_t a = ids.shape.size(); a-- > 0; run *= ids.shape[a])
        if (ids.strides[a] != run && ids.shape[a] != 1) return nullptr;
    const Place from = place_of(p, step.inputs[0]), to = place_of(p, step.output);
    const auto made = [&]<class Id>(Id) -> std::unique_ptr<Task> {
        if (out.dtype == DType::float32) return std::make_unique<OneHotTask<Id, float>>(from, to, count, classes);
        return std::make_unique<OneHotTask<Id, double>>(from, to, count, classes);
    };
    switch (ids.dtype) {
    case DType::int64: return made(std::int64_t{});
    case DType::int32: return made(std::int32_t{});
    case DType::uint8: return made(std::uint8_t{});
    default: return nullptr;
    }
}

class GatherRowsTask final : public Task {
public:
    GatherRowsTask(Place x, Place ids, Place out, std::ptrdiff_t rows, std::ptrdiff_t count, std::ptrdiff_t bytes)
        : x_(x), ids_(ids), out_(out), rows_(rows), count_(count), bytes_(bytes) {}
    void run(const Context& c) override {
        const char* const x = c.at<char>(x_);
        const auto* const ids = c.at<std::int64_t>(ids_);
        char* out = c.at<char>(out_);
        for (std::ptrdiff_t i = 0; i < count_; ++i, out += bytes_) {
            const std::int64_t id = ids[i] < 0 ? ids[i] + rows_ : ids[i];
            if (id < 0 || id >= rows_)
                throw std::out_of_range("index " + std::to_string(ids[i]) + " is out of range for an axis of length " + std::to_string(rows_));
            std::memcpy(out, x + id * bytes_, static_cast<std::size_t>(bytes_));
        }
    }

private:
    Place x_, ids_, out_;
    std::ptrdiff_t rows_, count_, bytes_;
};

// numbers: 1 for whole rows of the first axis by one index array.
std::unique_ptr<Task> gather_task(const ProgramSpec& p, const StepSpec& step) {
    if (step.inputs.size() != 2 || step.numbers != std::vector<std::int64_t>{1}) return nullptr;
    const ValueSpec &x = value(p, step.inputs[0]), &ids = value(p, step.inputs[1]), &out = value(p, step.output);
    if (ids.dtype != DType::int64 || x.shape.empty()) return nullptr;
    for (const ValueSpec* v : {&x, &ids}) {
        std::ptrdiff_t run = item(*v);
        for (std::size_t a = v->shape.size(); a-- > 0; run *= v->shape[a])
            if (v->strides[a] != run && v->shape[a] != 1) return nullptr;
    }
    const std::ptrdiff_t row = elements(Extent(x.shape.begin() + 1, x.shape.end()));
    const std::ptrdiff_t count = elements(ids.shape), all = elements(out.shape);
    require(out.dtype == x.dtype && (row == 0 || count == 0 ? all == 0 : all % row == 0 && all / row == count), "gather: the result has the wrong form");
    return std::make_unique<GatherRowsTask>(place_of(p, step.inputs[0]), place_of(p, step.inputs[1]), place_of(p, step.output), x.shape[0],
                                            count, row * item(x));
}

template <class T>
class UniformTask final : public Task {
public:
    UniformTask(Place counter, Place out, std::ptrdiff_t count, std::uint64_t seed, std::uint64_t stream)
        : counter_(counter), out_(out), count_(count), seed_(seed), stream_(stream) {}
    void run(const Context& c) override {
        uniform(seed_, stream_, static_cast<std::uint64_t>(*c.at<std::int64_t>(counter_)), 0, count_, c.at<T>(out_));
    }

private:
    Place counter_, out_;
    std::ptrdiff_t count_;
    std::uint64_t seed_, stream_;
};

// numbers: seed and stream, as the same 64 bits.
std::unique_ptr<Task> uniform_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &counter = value(p, step.inputs.at(0)), &out = value(p, step.output);
    require(step.numbers.size() == 2 && elements(counter.shape) == 1, "uniform: a seed, a stream and one counter are needed");
    if (counter.dtype != DType::int64 || !real(out.dtype)) return nullptr;
    const auto seed = static_cast<std::uint64_t>(step.numbers[0]), stream = static_cast<std::uint64_t>(step.numbers[1]);
    const Place from = place_of(p, step.inputs[0]), to = place_of(p, step.output);
    if (out.dtype == DType::float32) return std::make_unique<UniformTask<float>>(from, to, elements(out.shape), seed, stream);
    return std::make_unique<UniformTask<double>>(from, to, elements(out.shape), seed, stream);
}

} // namespace

std::unique_ptr<Task> update_task(const ProgramSpec& p, int from, int to) { return copy_task(p, {"copy", {from}, to, {}}); }

std::unique_ptr<Task> other_task(const ProgramSpec& p, const StepSpec& step) {
    if (step.inputs.empty()) return nullptr;
    for (const int n : step.inputs) require(!overlap(p, n, step.output), "a step writes over what it reads");
    if (step.op == "matmul") {
        require(step.inputs.size() == 2, "matmul takes two operands");
        const DType d = value(p, step.output).dtype;
        require(value(p, step.inputs[0]).dtype == d && value(p, step.inputs[1]).dtype == d, "matmul: the dtypes differ");
        if (d == DType::float32) return std::make_unique<MatmulTask<float>>(p, step);
        if (d == DType::float64) return std::make_unique<MatmulTask<double>>(p, step);
        return nullptr;
    }
    if (step.op == "sum") return reduction_task(p, step, Fold::sum);
    if (step.op == "max") return reduction_task(p, step, Fold::max);
    if (step.op == "min") return reduction_task(p, step, Fold::min);
    if (step.op == "prod") return reduction_task(p, step, Fold::prod);
    if (step.op == "all") return reduction_task(p, step, Fold::all);
    if (step.op == "any") return reduction_task(p, step, Fold::any);
    if (step.op == "argmax") return arg_task(p, step, true);
    if (step.op == "argmin") return arg_task(p, step, false);
    if (step.op == "concatenate") return concatenate_task(p, step);
    if (step.op == "place") return place_task(p, step);
    if (step.op == "one_hot") return one_hot_task(p, step);
    if (step.op == "gather") return gather_task(p, step);
    if (step.op == "uniform") return uniform_task(p, step);
    return nullptr;
}

} // namespace chainrule
