// Reductions over axes.
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include "kernels.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

constexpr std::ptrdiff_t kShortRow = 16;   // elements of a row up to which several rows are reduced at once
constexpr std::ptrdiff_t kWideRow = 1024;  // columns from which threads share columns rather than rows
constexpr std::ptrdiff_t kColumns = 256;   // the least that a thread takes of them

enum class Fold { sum, max, min, prod, all, any };

template <class T>
const VecKernels<T>& vector_kernels() {
    if constexpr (std::is_same_v<T, float>) return kernels().vec_f32;
    else return kernels().vec_f64;
}

// The common case: a matrix whose rows, or columns, or all of whose elements are reduced.
//
// What is added up in one number goes in blocks where it is large, by the sizes alone, so that threads may share it.
template <class T>
class MatrixReduction final : public Task {
public:
    // `examples`: equal parts of the rows that can be reduced by themselves.
    MatrixReduction(Place x, Place out, std::ptrdiff_t rows, std::ptrdiff_t columns, bool along_rows, Fold fold, std::ptrdiff_t examples)
        : x_(x), out_(out), rows_(rows), columns_(columns), along_rows_(along_rows), fold_(fold), examples_(examples) {
        const bool large = rows * columns >= kThreadedWork;
        if (along_rows && rows == 1 && large) block_ = kPartWork;
        if (!along_rows && large && columns < kWideRow) block_ = std::max<std::ptrdiff_t>(kPartWork / columns, 1);
        if (block_ > 0) parts_.resize(static_cast<std::size_t>(along_rows ? blocks(columns) : blocks(rows) * columns));
    }
    void run(const Context& c) override {
        const T* const x = c.at<T>(x_);
        T* const out = c.at<T>(out_);
        if (along_rows_ && block_ > 0) {
            in_ranges(c, blocks(columns_), block_, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
                for (std::ptrdiff_t b = first; b < last; ++b)
                    parts_[static_cast<std::size_t>(b)] = whole(std::min(block_, columns_ - b * block_), x + b * block_);
            });
            *out = whole(blocks(columns_), parts_.data());
        } else if (along_rows_) {
            in_ranges(c, rows_, columns_, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) { reduce_rows(last - first, x + first * columns_, out + first); });
        } else if (block_ > 0) {
            in_ranges(c, blocks(rows_), block_ * columns_, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
                for (std::ptrdiff_t b = first; b < last; ++b)
                    kernel().sum_columns(std::min(block_, rows_ - b * block_), columns_, x + b * block_ * columns_, columns_, false,
                                         parts_.data() + b * columns_);
            });
            kernel().sum_columns(blocks(rows_), columns_, parts_.data(), columns_, false, out);
        } else {
            in_ranges(c, columns_, rows_, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
                kernel().sum_columns(rows_, last - first, x + first, columns_, false, out + first);
            }, kColumns);
        }
    }

    Division division() const override {
        if (!along_rows_ || block_ > 0 || examples_ == 0) return {};
        return {examples_, 1, kElement * static_cast<double>(rows_ * columns_), 1, false};
    }
    void run_some(const Context& c, std::ptrdiff_t first, std::ptrdiff_t last, char*) override {
        const std::ptrdiff_t each = rows_ / examples_;
        reduce_rows((last - first) * each, c.at<T>(x_) + first * each * columns_, c.at<T>(out_) + first * each);
    }

private:
    std::ptrdiff_t blocks(std::ptrdiff_t n) const { return (n + block_ - 1) / block_; }

    T whole(std::ptrdiff_t n, const T* x) const {
        return fold_ == Fold::sum ? kernel().sum(n, x) : fold_ == Fold::max ? kernel().maximum(n, x) : kernel().minimum(n, x);
    }

    void reduce_rows(std::ptrdiff_t rows, const T* x, T* out) const {
        if (columns_ <= kShortRow && rows_ > 1) {
            if (fold_ == Fold::sum) reduce_short(rows, x, out, [](T a, T b) { return a + b; });
            else if (fold_ == Fold::max) reduce_short(rows, x, out, [](T a, T b) { return b > a || b != b ? b : a; });
            else reduce_short(rows, x, out, [](T a, T b) { return b < a || b != b ? b : a; });
        } else if (fold_ == Fold::sum) {
            kernel().sum_rows(rows, columns_, x, columns_, out);
        } else {
            for (std::ptrdiff_t r = 0; r < rows; ++r) out[r] = whole(columns_, x + r * columns_);
        }
    }

    template <class F>
    void reduce_short(std::ptrdiff_t rows, const T* x, T* out, F f) const {
        constexpr std::ptrdiff_t together = 8;
        std::ptrdiff_t r = 0;
        for (; r + together <= rows; r += together, x += together * columns_, out += together) {
            std::array<T, static_cast<std::size_t>(together)> all;
            for (std::ptrdiff_t i = 0; i < together; ++i) all[static_cast<std::size_t>(i)] = x[i * columns_];
            for (std::ptrdiff_t j = 1; j < columns_; ++j)
                for (std::ptrdiff_t i = 0; i < together; ++i)
                    all[static_cast<std::size_t>(i)] = f(all[static_cast<std::size_t>(i)], x[i * columns_ + j]);
            std::copy(all.begin(), all.end(), out);
        }
        for (; r < rows; ++r, x += columns_) {
            T one = *x;
            for (std::ptrdiff_t j = 1; j < columns_; ++j) one = f(one, x[j]);
            *out++ = one;
        }
    }

    static const VecKernels<T>& kernel() { return vector_kernels<T>(); }

    Place x_, out_;
    std::ptrdiff_t rows_, columns_;
    bool along_rows_;
    Fold fold_;
    std::ptrdiff_t examples_;
    std::ptrdiff_t block_ = 0; // columns, or rows, that are added up at once
    std::vector<T> parts_;
};

// How terms join, and what no terms give. NaN wins over all.
struct Sum {
    template <class S>
    static S join(S a, S b) { return a + b; }
    template <class S>
    static constexpr S start() { return S(0); }
};
struct Product {
    template <class S>
    static S join(S a, S b) { return a * b; }
    template <class S>
    static constexpr S start() { return S(1); }
};
struct Most {
    template <class S>
    static S join(S a, S b) { return a >= b || a != a ? a : b; }
    template <class S>
    static constexpr S start() { return std::numeric_limits<S>::has_infinity ? -std::numeric_limits<S>::infinity() : std::numeric_limits<S>::lowest(); }
};
struct Least {
    template <class S>
    static S join(S a, S b) { return a <= b || a != a ? a : b; }
    template <class S>
    static constexpr S start() { return std::numeric_limits<S>::has_infinity ? std::numeric_limits<S>::infinity() : std::numeric_limits<S>::max(); }
};
struct All {
    template <class S>
    static S join(S a, S b) { return a & b; }
    template <class S>
    static constexpr S start() { return 1; }
};
struct AnyOf {
    template <class S>
    static S join(S a, S b) { return a | b; }
    template <class S>
    static constexpr S start() { return 0; }
};

// Of one dtype: elements `by` bytes apart as terms side by side, and results as elements.
template <class S>
struct Conversion {
    std::ptrdiff_t item; // bytes of a result
    void (*terms)(const char* from, std::ptrdiff_t by, std::ptrdiff_t n, S* to);
    void (*results)(const S* from, std::ptrdiff_t n, char* to);
    // What the vector kernels do with adjacent elements: their fold, and sums of columns. Null: nothing.
    S (*run)(std::ptrdiff_t n, const char* from) = nullptr;
    void (*columns)(std::ptrdiff_t rows, std::ptrdiff_t n, const char* from, std::ptrdiff_t by, bool add, char* to) = nullptr;
};

template <class T, class S>
void terms_of(const char* from, std::ptrdiff_t by, std::ptrdiff_t n, S* to) {
    for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = static_cast<S>(*reinterpret_cast<const T*>(from + i * by));
}
template <class T>
void truths_of(const char* from, std::ptrdiff_t by, std::ptrdiff_t n, Bool* to) {
    for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = *reinterpret_cast<const T*>(from + i * by) != T(0);
}
template <class T, class S>
void results_of(const S* from, std::ptrdiff_t n, char* to) {
    for (std::ptrdiff_t i = 0; i < n; ++i) reinterpret_cast<T*>(to)[i] = static_cast<T>(from[i]);
}

template <class F, class T, class S>
S vector_fold(std::ptrdiff_t n, const char* from) {
    const VecKernels<T>& k = vector_kernels<T>();
    const T* const x = reinterpret_cast<const T*>(from);
    return std::is_same_v<F, Sum> ? k.sum(n, x) : std::is_same_v<F, Most> ? k.maximum(n, x) : k.minimum(n, x);
}
template <class T>
void vector_columns(std::ptrdiff_t rows, std::ptrdiff_t n, const char* from, std::ptrdiff_t by, bool add, char* to) {
    vector_kernels<T>().sum_columns(rows, n, reinterpret_cast<const T*>(from), by / static_cast<std::ptrdiff_t>(sizeof(T)), add, reinterpret_cast<T*>(to));
}

// Any axes, any strides. The terms of a result are walked by falling strides, the last of their axes in one loop. Where
// results lie closer together than terms, those along the last of their axes are computed together.
//
// Floating-point sums are collected in double, and each kTogether of these sums in another. F joins terms of type S.
template <class F, class S>
class StridedReduction final : public Task {
public:
    StridedReduction(const Conversion<S>& by, Place x, Place out, Extent kept, Extent kept_strides, Extent gone, Extent gone_strides, bool side_by_side,
                     std::ptrdiff_t examples)
        : conversion_(by), x_(x), out_(out), terms_(elements(gone)), outer_(Extent(), {&kNone}), runs_(Extent(), {&kNone}) {
        join_axes(kept, {&kept_strides});
        join_axes(gone, {&gone_strides});
        if (side_by_side) {
            const auto [n, across] = split_last<1>(kept, {&kept_strides});
            width_ = n, across_ = across;
        }
        const auto [n, along] = split_last<1>(gone, {&gone_strides});
        run_ = n, by_ = along, run_count_ = elements(gone);
        results_ = elements(kept);
        outer_ = Odometer<1>(kept, {&kept_strides});
        runs_ = Odometer<1>(gone, {&gone_strides});
        // each example is a run of the terms of each result
        const bool apart = width_ == 1 && gone.size() == 1 && gone[0] == examples && terms_ > 0 && results_ > 0;
        examples_ = apart ? examples : 0;
        if (apart) parts_.resize(static_cast<std::size_t>(examples * results_));
    }
    Division division() const override {
        return {examples_, 1, kElement * static_cast<double>(results_ * terms_), 1, true};
    }
    void run_some(const Context& c, std::ptrdiff_t first, std::ptrdiff_t last, char*) override {
        Odometer<1> runs = runs_, outer = outer_;
        for (std::ptrdiff_t i = first; i < last; ++i) {
            runs.start(i);
            outer.reset();
            for (std::ptrdiff_t k = 0; k < results_; ++k, outer.next())
                parts_[static_cast<std::size_t>(k * examples_ + i)] = along_run(c.at<char>(x_) + outer.at[0] + runs.at[0]);
        }
    }
    void finish(const Context& c) override {
        for (std::ptrdiff_t k = 0; k < results_; ++k) {
            const S total = joined([&, i = k * examples_]() mutable { return parts_[static_cast<std::size_t>(i++)]; });
            conversion_.results(&total, 1, c.at<char>(out_) + k * conversion_.item);
        }
    }
    void run(const Context& c) override {
        const char* const x = c.at<char>(x_);
        char* const out = c.at<char>(out_);
        const std::ptrdiff_t chunks = (width_ + kChunk - 1) / kChunk;
        in_ranges(c, results_ * chunks, terms_ * std::min(width_, kChunk), [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
            Odometer<1> outer = outer_;
            for (std::ptrdiff_t i = first; i < last; ++i) {
                const std::ptrdiff_t from = i % chunks * kChunk, n = std::min(kChunk, width_ - from);
                if (from == 0 || i == first) outer.start(i / chunks);
                char* const to = out + (i / chunks * width_ + from) * conversion_.item;
                if (width_ == 1) one(x + outer.at[0], to);
                else several(x + outer.at[0] + from * across_, n, to);
            }
        });
    }

private:
    static constexpr std::ptrdiff_t kChunk = 256;
    static constexpr std::ptrdiff_t kTogether = 128;
    static constexpr std::ptrdiff_t kLanes = 8; // sums that don't wait for each other

    static S join(S a, S b) { return F::template join<S>(a, b); }
    static constexpr S start() { return F::template start<S>(); }

    void one(const char* x, char* out) const {
        Odometer<1> runs = runs_;
        runs.reset();
        const S total = joined([&] {
            const S sum = along_run(x + runs.at[0]);
            runs.next();
            return sum;
        });
        conversion_.results(&total, 1, out);
    }

    // What runs give, one after the other.
    template <class Next>
    S joined(Next next) const {
        S total = start(), part = start();
        for (std::ptrdiff_t r = 0; r < (terms_ > 0 ? run_count_ : 0); ++r) {
            part = join(part, next());
            if (r % kTogether == kTogether - 1) total = join(total, part), part = start();
        }
        return join(total, part);
    }

    S along_run(const char* x) const {
        if (conversion_.run != nullptr && by_ == conversion_.item && run_ > 0) return conversion_.run(run_, x);
        S total = start();
        std::array<S, static_cast<std::size_t>(kTogether * kLanes)> terms;
        for (std::ptrdiff_t from = 0; from < run_; from += kTogether * kLanes) {
            const std::ptrdiff_t n = std::min(run_ - from, kTogether * kLanes);
            conversion_.terms(x + from * by_, by_, n, terms.data());
            total = join(total, folded(terms.data(), n));
        }
        return total;
    }

    static S folded(const S* terms, std::ptrdiff_t n) {
        std::array<S, static_cast<std::size_t>(kLanes)> lanes;
        lanes.fill(start());
        std::ptrdiff_t k = 0;
        for (; k + kLanes <= n; k += kLanes)
            for (std::ptrdiff_t j = 0; j < kLanes; ++j) lanes[static_cast<std::size_t>(j)] = join(lanes[static_cast<std::size_t>(j)], terms[k + j]);
        for (; k < n; ++k) lanes[0] = join(lanes[0], terms[k]);
        S part = lanes[0];
        for (std::ptrdiff_t j = 1; j < kLanes; ++j) part = join(part, lanes[static_cast<std::size_t>(j)]);
        return part;
    }

    void several(const char* x, std::ptrdiff_t n, char* out) const {
        Odometer<1> runs = runs_;
        runs.reset();
        if (conversion_.columns != nullptr && across_ == conversion_.item && terms_ > 0 && run_count_ <= kTogether) {
            for (std::ptrdiff_t r = 0; r < run_count_; ++r, runs.next()) conversion_.columns(run_, n, x + runs.at[0], by_, r > 0, out);
            return;
        }
        std::array<S, static_cast<std::size_t>(kChunk)> total, part, terms;
        std::fill_n(total.begin(), n, start());
        std::fill_n(part.begin(), n, start());
        std::ptrdiff_t added = 0;
        for (std::ptrdiff_t r = 0; r < (terms_ > 0 ? run_count_ : 0); ++r, runs.next()) {
            const char* row = x + runs.at[0];
            for (std::ptrdiff_t k = 0; k < run_; ++k, row += by_) {
                conversion_.terms(row, across_, n, terms.data());
                join_rows(n, terms.data(), part.data());
                if (++added % kTogether != 0) continue;
                join_rows(n, part.data(), total.data());
                std::fill_n(part.begin(), n, start());
            }
        }
        join_rows(n, part.data(), total.data());
        conversion_.results(total.data(), n, out);
    }
    static void join_rows(std::ptrdiff_t n, const S* row, S* to) {
        for (std::ptrdiff_t j = 0; j < n; ++j) to[j] = join(to[j], row[j]);
    }

    static inline const Extent kNone{};
    Conversion<S> conversion_;
    Place x_, out_;
    std::ptrdiff_t terms_, results_ = 0, width_ = 1, across_ = 0; // `width_` results side by side
    std::ptrdiff_t run_ = 0, by_ = 0, run_count_ = 0;              // terms in one loop, and how many such loops
    Odometer<1> outer_, runs_;
    std::ptrdiff_t examples_ = 0;
    std::vector<S> parts_; // [result][example]
};

template <class F, class T, class S>
Conversion<S> real_conversion() {
    Conversion<S> c = {sizeof(T), terms_of<T, S>, results_of<T, S>};
    if constexpr (!std::is_same_v<F, Product>) c.run = vector_fold<F, T, S>;
    if constexpr (std::is_same_v<F, Sum>) c.columns = vector_columns<T>;
    return c;
}

// Sums and products: integers wrap around, with a sign and without one alike.
template <class F, class Make>
std::unique_ptr<Task> totals(DType x, DType out, Make make) {
    if (real(x) && out != x) return nullptr;
    if (x == DType::float32) return make.template operator()<F>(real_conversion<F, float, double>());
    if (x == DType::float64) return make.template operator()<F>(real_conversion<F, double, double>());
    if (out != DType::int64 && out != DType::uint64) return nullptr;
    return with_type(x, [&]<class T>(T) -> std::unique_ptr<Task> {
        return make.template operator()<F>(Conversion<std::uint64_t>{sizeof(std::uint64_t), terms_of<T, std::uint64_t>, results_of<std::uint64_t, std::uint64_t>});
    });
}

template <class F, class Make>
std::unique_ptr<Task> extremes(DType x, DType out, Make make) {
    if (out != x) return nullptr;
    if (x == DType::float32) return make.template operator()<F>(real_conversion<F, float, float>());
    if (x == DType::float64) return make.template operator()<F>(real_conversion<F, double, double>());
    return with_type(x, [&]<class T>(T) -> std::unique_ptr<Task> {
        using S = std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>;
        if constexpr (std::is_floating_point_v<T>) return nullptr;
        else return make.template operator()<F>(Conversion<S>{sizeof(T), terms_of<T, S>, results_of<T, S>});
    });
}

template <class F, class Make>
std::unique_ptr<Task> truths(DType x, DType out, Make make) {
    if (out != DType::boolean) return nullptr;
    return with_type(x, [&]<class T>(T) -> std::unique_ptr<Task> {
        return make.template operator()<F>(Conversion<Bool>{1, truths_of<T>, results_of<Bool, Bool>});
    });
}

// What a fold of elements of one dtype gives, or nullptr for what it does not give.
template <class Make>
std::unique_ptr<Task> strided(Fold fold, DType x, DType out, Make make) {
    switch (fold) {
    case Fold::sum: return totals<Sum>(x, out, make);
    case Fold::prod: return totals<Product>(x, out, make);
    case Fold::max: return extremes<Most>(x, out, make);
    case Fold::min: return extremes<Least>(x, out, make);
    case Fold::all: return truths<All>(x, out, make);
    default: return truths<AnyOf>(x, out, make);
    }
}

// numbers: the axes.
std::unique_ptr<Task> fold_task(const ProgramSpec& p, const StepSpec& step, Fold fold) {
    require(step.inputs.size() == 1, "a reduction: expected one array");
    const ValueSpec &x = value(p, step.inputs[0]), &out = value(p, step.output);
    std::vector<bool> gone(x.shape.size(), false);
    for (const std::int64_t a : step.numbers) {
        require(a >= 0 && static_cast<std::size_t>(a) < x.shape.size(), "a reduction: the axis is out of range");
        gone[static_cast<std::size_t>(a)] = true;
    }
    Extent kept, kept_strides, over, over_strides;
    for (std::size_t a = 0; a < x.shape.size(); ++a) {
        (gone[a] ? over : kept).push_back(x.shape[a]);
        (gone[a] ? over_strides : kept_strides).push_back(x.strides[a]);
    }
    require(elements(out.shape) == elements(kept), "a reduction's result has the wrong size");
    const bool extreme = fold == Fold::max || fold == Fold::min;
    if (extreme) require(elements(over) > 0 || elements(kept) == 0, "a maximum or minimum of no elements");
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
        const std::ptrdiff_t examples = x.shape.size() > 1 && !gone[0] ? x.shape[0] : 0;
        if (x.dtype == DType::float32) return std::make_unique<MatrixReduction<float>>(from, to, rows, columns, last, fold, examples);
        return std::make_unique<MatrixReduction<double>>(from, to, rows, columns, last, fold, examples);
    }
    // the smaller of the two steps is the inner one
    std::ptrdiff_t along_kept = std::numeric_limits<std::ptrdiff_t>::max(), along_gone = along_kept;
    for (std::size_t a = 0; a < x.shape.size(); ++a) {
        std::ptrdiff_t& least = gone[a] ? along_gone : along_kept;
        if (x.shape[a] > 1) least = std::min(least, std::abs(x.strides[a]));
    }
    const bool side_by_side = along_kept < along_gone;
    std::vector<std::size_t> order(over.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return std::abs(over_strides[a]) > std::abs(over_strides[b]); });
    Extent terms, terms_strides;
    for (const std::size_t a : order) {
        terms.push_back(over[a]);
        terms_strides.push_back(over_strides[a]);
    }
    return strided(fold, x.dtype, out.dtype, [&]<class F, class S>(const Conversion<S>& by) -> std::unique_ptr<Task> {
        return std::make_unique<StridedReduction<F, S>>(by, from, to, kept, kept_strides, terms, terms_strides, side_by_side,
                                                        !order.empty() && gone[0] && order[0] == 0 ? x.shape[0] : 0);
    });
}

// Where the first of the largest, or smallest, elements stands in each line; NaN counts as beyond all.
template <class T, bool Most>
class ArgTask final : public Task {
public:
    ArgTask(Place x, Place out, Extent kept, Extent strides, std::ptrdiff_t length, std::ptrdiff_t by)
        : x_(x), out_(out), length_(length), by_(by), outer_(Extent(), {&kNone}) {
        join_axes(kept, {&strides});
        if (!strides.empty() && std::abs(strides.back()) < std::abs(by)) {
            const auto [n, across] = split_last<1>(kept, {&strides});
            width_ = n, across_ = across;
        }
        results_ = elements(kept);
        outer_ = Odometer<1>(kept, {&strides});
    }
    void run(const Context& c) override {
        const char* const x = c.at<char>(x_);
        auto* const out = c.at<std::int64_t>(out_);
        const std::ptrdiff_t chunks = (width_ + kChunk - 1) / kChunk;
        in_ranges(c, results_ * chunks, length_ * std::min(width_, kChunk), [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
            Odometer<1> outer = outer_;
            for (std::ptrdiff_t i = first; i < last; ++i) {
                const std::ptrdiff_t from = i % chunks * kChunk, n = std::min(kChunk, width_ - from);
                if (from == 0 || i == first) outer.start(i / chunks);
                if (width_ == 1) out[i] = best(x + outer.at[0]);
                else side_by_side(x + outer.at[0] + from * across_, n, out + i / chunks * width_ + from);
            }
        });
    }

private:
    static constexpr std::ptrdiff_t kChunk = 256;

    static bool better(T v, T top) { return top == top && (v != v || (Most ? v > top : v < top)); }

    std::ptrdiff_t best(const char* row) const {
        if constexpr (std::is_floating_point_v<T>) {
            if (by_ == static_cast<std::ptrdiff_t>(sizeof(T)) && length_ > kShortRow) {
                const T* const x = reinterpret_cast<const T*>(row);
                const VecKernels<T>& k = vector_kernels<T>();
                const T top = Most ? k.maximum(length_, x) : k.minimum(length_, x);
                return std::find_if(x, x + length_, [top](T v) { return v == top || v != v; }) - x; // no NaN unless it is the top
            }
        }
        std::ptrdiff_t best = 0;
        T top = *reinterpret_cast<const T*>(row);
        for (std::ptrdiff_t i = 1; i < length_; ++i) {
            const T v = *reinterpret_cast<const T*>(row + i * by_);
            if (better(v, top)) top = v, best = i;
        }
        return best;
    }

    void side_by_side(const char* x, std::ptrdiff_t n, std::int64_t* out) const {
        std::array<T, static_cast<std::size_t>(kChunk)> top;
        for (std::ptrdiff_t j = 0; j < n; ++j) top[static_cast<std::size_t>(j)] = *reinterpret_cast<const T*>(x + j * across_);
        std::fill_n(out, n, 0);
        for (std::ptrdiff_t i = 1; i < length_; ++i) {
            x += by_;
            for (std::ptrdiff_t j = 0; j < n; ++j) {
                const T v = *reinterpret_cast<const T*>(x + j * across_);
                T& t = top[static_cast<std::size_t>(j)];
                if (better(v, t)) t = v, out[j] = i;
            }
        }
    }

    static inline const Extent kNone{};
    Place x_, out_;
    std::ptrdiff_t length_, by_, results_ = 0, width_ = 1, across_ = 0; // `width_` lines side by side
    Odometer<1> outer_;
};

// numbers: the axis.
std::unique_ptr<Task> arg_task(const ProgramSpec& p, const StepSpec& step, bool most) {
    require(step.inputs.size() == 1, "argmax: expected one array");
    const ValueSpec &x = value(p, step.inputs[0]), &out = value(p, step.output);
    require(step.numbers.size() == 1 && step.numbers[0] >= 0 && static_cast<std::size_t>(step.numbers[0]) < x.shape.size(), "argmax: the axis is out of range");
    const auto axis = static_cast<std::size_t>(step.numbers[0]);
    Extent kept, strides;
    for (std::size_t a = 0; a < x.shape.size(); ++a) {
        if (a == axis) continue;
        kept.push_back(x.shape[a]);
        strides.push_back(x.strides[a]);
    }
    require(out.dtype == DType::int64 && elements(out.shape) == elements(kept) && (x.shape[axis] > 0 || elements(kept) == 0), "argmax: the result has the wrong shape or dtype");
    const Place from = place_of(p, step.inputs[0]), to = place_of(p, step.output);
    return with_type(x.dtype, [&]<class T>(T) -> std::unique_ptr<Task> {
        if (most) return std::make_unique<ArgTask<T, true>>(from, to, kept, strides, x.shape[axis], x.strides[axis]);
        return std::make_unique<ArgTask<T, false>>(from, to, kept, strides, x.shape[axis], x.strides[axis]);
    });
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
