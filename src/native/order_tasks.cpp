// Along an axis in order: sorting, searching, running sums.
#include <type_traits>

#include "tasks.hpp"

namespace chainrule {
namespace {

// NaN comes last, as NumPy sorts.
template <class T>
bool before(T a, T b) {
    return (a < b) | ((b != b) & (a == a)); // no branches
}

// An array seen as lines along one axis.
struct Lines {
    std::ptrdiff_t length, by; // of a line
    Extent outer, outer_strides, inner, inner_strides; // axes in front of it and behind it
    std::ptrdiff_t count() const { return elements(outer) * elements(inner); }
};

Lines lines_of(const ValueSpec& x, const StepSpec& step) {
    require(step.numbers.size() == 1 && step.numbers[0] >= 0 && static_cast<std::size_t>(step.numbers[0]) < x.shape.size(), "the axis is out of range");
    const auto axis = static_cast<std::ptrdiff_t>(step.numbers[0]);
    const auto part = [&](const Extent& all, std::ptrdiff_t from, std::ptrdiff_t to) { return Extent(all.begin() + from, all.begin() + to); };
    const auto axes = static_cast<std::ptrdiff_t>(x.shape.size());
    return {x.shape[static_cast<std::size_t>(axis)], x.strides[static_cast<std::size_t>(axis)],
            part(x.shape, 0, axis), part(x.strides, 0, axis), part(x.shape, axis + 1, axes), part(x.strides, axis + 1, axes)};
}

// Sorts each line with its positions, by merging; equal elements keep their order.
template <class T>
class ArgsortTask final : public Task {
public:
    ArgsortTask(Place x, Place out, const Lines& lines)
        : x_(x), out_(out), length_(lines.length), by_(lines.by), count_(lines.count()), inner_(elements(lines.inner)),
          walk_(Extent(), {&kNone, &kNone}) {
        Extent shape = lines.outer, from = lines.outer_strides, to = dense_strides(lines.outer, lines.length * inner_);
        const Extent behind = dense_strides(lines.inner, 1);
        shape.insert(shape.end(), lines.inner.begin(), lines.inner.end());
        from.insert(from.end(), lines.inner_strides.begin(), lines.inner_strides.end());
        to.insert(to.end(), behind.begin(), behind.end());
        walk_ = Odometer<2>(shape, {&from, &to});
    }
    std::size_t workspace() const override { return 2 * static_cast<std::size_t>(length_) * sizeof(Entry); }
    void run(const Context& c) override {
        if (length_ == 0 || count_ == 0) return;
        const char* const x = c.at<char>(x_);
        auto* const out = c.at<std::int64_t>(out_);
        in_ranges(c, count_, length_ * kCost, [&](std::ptrdiff_t first, std::ptrdiff_t last, int member) {
            Entry* const entries = reinterpret_cast<Entry*>(c.own(member));
            Odometer<2> walk = walk_;
            walk.start(first);
            for (std::ptrdiff_t i = first; i < last; ++i, walk.next()) {
                const char* from = x + walk.at[0];
                for (std::ptrdiff_t k = 0; k < length_; ++k, from += by_) entries[k] = {*reinterpret_cast<const T*>(from), k};
                const Entry* const sorted = sort(entries, entries + length_);
                for (std::ptrdiff_t k = 0; k < length_; ++k) out[walk.at[1] + k * inner_] = sorted[k].position;
            }
        });
    }

private:
    struct Entry {
        T key;
        std::int64_t position;
    };
    static constexpr std::ptrdiff_t kCost = 8;   // an element takes as long as so many elements moved
    static constexpr std::ptrdiff_t kShort = 16; // sorted by insertion

    // Returns which of the two has the result.
    const Entry* sort(Entry* from, Entry* to) const {
        for (std::ptrdiff_t start = 0; start < length_; start += kShort) insert(from + start, std::min(kShort, length_ - start));
        for (std::ptrdiff_t run = kShort; run < length_; run *= 2, std::swap(from, to))
            for (std::ptrdiff_t start = 0; start < length_; start += 2 * run) {
                const std::ptrdiff_t middle = std::min(start + run, length_), end = std::min(start + 2 * run, length_);
                merge(from + start, from + middle, from + end, to + start);
            }
        return from;
    }
    static void insert(Entry* all, std::ptrdiff_t n) {
        for (std::ptrdiff_t i = 1; i < n; ++i) {
            const Entry one = all[i];
            std::ptrdiff_t k = i;
            for (; k > 0 && before(one.key, all[k - 1].key); --k) all[k] = all[k - 1];
            all[k] = one;
        }
    }
    static void merge(const Entry* a, const Entry* const middle, const Entry* const end, Entry* out) {
        const Entry* b = middle;
        while (a < middle && b < end) *out++ = before(b->key, a->key) ? *b++ : *a++;
        out = std::copy(a, middle, out);
        std::copy(b, end, out);
    }

    static inline const Extent kNone{};
    Place x_, out_;
    std::ptrdiff_t length_, by_, count_, inner_;
    Odometer<2> walk_; // lines: bytes of x, elements of the result
};

// numbers: the axis.
std::unique_ptr<Task> argsort_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() == 1, "argsort: expected one array");
    const ValueSpec &x = value(p, step.inputs[0]), &out = value(p, step.output);
    require(out.dtype == DType::int64 && out.shape == x.shape, "argsort: the result has the wrong shape or dtype");
    const Lines lines = lines_of(x, step);
    return with_type(x.dtype, [&]<class T>(T) -> std::unique_ptr<Task> {
        return std::make_unique<ArgsortTask<T>>(place_of(p, step.inputs[0]), place_of(p, step.output), lines);
    });
}

template <class T>
class SearchTask final : public Task {
public:
    SearchTask(Place sorted, std::ptrdiff_t length, std::ptrdiff_t by, const ValueSpec& v, Place wanted, Place out, bool right)
        : sorted_(sorted), wanted_(wanted), out_(out), length_(length), by_(by), count_(elements(v.shape)), right_(right),
          walk_(v.shape, {&v.strides}) {}
    void run(const Context& c) override {
        if (count_ == 0) return;
        const char* const sorted = c.at<char>(sorted_);
        const char* const wanted = c.at<char>(wanted_);
        auto* const out = c.at<std::int64_t>(out_);
        in_ranges(c, count_, kCost, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
            Odometer<1> walk = walk_;
            walk.start(first);
            for (std::ptrdiff_t i = first; i < last; ++i, walk.next()) out[i] = place(sorted, *reinterpret_cast<const T*>(wanted + walk.at[0]));
        });
    }

private:
    static constexpr std::ptrdiff_t kCost = 16;

    std::ptrdiff_t place(const char* sorted, T v) const {
        std::ptrdiff_t low = 0, n = length_;
        while (n > 0) { // without a branch that nobody could foresee
            const std::ptrdiff_t half = n / 2;
            const T there = *reinterpret_cast<const T*>(sorted + (low + half) * by_);
            const bool behind = right_ ? !before(v, there) : before(there, v);
            low = behind ? low + half + 1 : low;
            n = behind ? n - half - 1 : half;
        }
        return low;
    }

    Place sorted_, wanted_, out_;
    std::ptrdiff_t length_, by_, count_;
    bool right_;
    Odometer<1> walk_;
};

// numbers: 1 for the place behind equal elements.
std::unique_ptr<Task> search_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() == 2 && step.numbers.size() == 1, "searchsorted: expected a vector, the values to search for and a side");
    const ValueSpec &a = value(p, step.inputs[0]), &v = value(p, step.inputs[1]), &out = value(p, step.output);
    require(a.shape.size() == 1 && a.dtype == v.dtype && out.dtype == DType::int64 && out.shape == v.shape, "searchsorted: the shapes or dtypes do not match");
    return with_type(a.dtype, [&]<class T>(T) -> std::unique_ptr<Task> {
        return std::make_unique<SearchTask<T>>(place_of(p, step.inputs[0]), a.shape[0], a.strides[0], v, place_of(p, step.inputs[1]),
                                               place_of(p, step.output), step.numbers[0] == 1);
    });
}

// Running sums along lines; those that lie side by side are added up together.
template <class T, class Sum>
class CumsumTask final : public Task {
public:
    CumsumTask(Place x, Place out, const Lines& lines)
        : x_(x), out_(out), length_(lines.length), by_(lines.by), apart_(elements(lines.inner)), walk_(Extent(), {&kNone, &kNone}) {
        Extent shape = lines.outer, from = lines.outer_strides, to = dense_strides(lines.outer, length_ * apart_);
        Extent inner = lines.inner, inner_from = lines.inner_strides, inner_to = dense_strides(lines.inner, 1);
        join_axes(inner, {&inner_from, &inner_to});
        const auto [n, from_by, to_by] = split_last<2>(inner, {&inner_from, &inner_to});
        run_ = n, run_by_ = from_by;
        shape.insert(shape.end(), inner.begin(), inner.end());
        from.insert(from.end(), inner_from.begin(), inner_from.end());
        to.insert(to.end(), inner_to.begin(), inner_to.end());
        join_axes(shape, {&from, &to});
        runs_ = elements(shape);
        walk_ = Odometer<2>(shape, {&from, &to});
    }
    void run(const Context& c) override {
        if (length_ == 0 || runs_ == 0 || run_ == 0) return;
        const char* const x = c.at<char>(x_);
        Sum* const out = c.at<Sum>(out_);
        const std::ptrdiff_t chunks = (run_ + kChunk - 1) / kChunk; // of lines side by side
        in_ranges(c, runs_ * chunks, length_ * std::min(run_, kChunk), [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
            Odometer<2> walk = walk_;
            for (std::ptrdiff_t i = first; i < last; ++i) {
                const std::ptrdiff_t from = i % chunks * kChunk, n = std::min(kChunk, run_ - from);
                if (from == 0 || i == first) walk.start(i / chunks);
                const char* const start = x + walk.at[0] + from * run_by_;
                if (n == 1) one_line(start, out + walk.at[1] + from);
                else side_by_side(start, out + walk.at[1] + from, n);
            }
        });
    }

private:
    static constexpr std::ptrdiff_t kChunk = 1024;

    void one_line(const char* x, Sum* out) const {
        auto sum = static_cast<Sum>(*reinterpret_cast<const T*>(x));
        *out = sum;
        for (std::ptrdiff_t k = 1; k < length_; ++k) {
            x += by_;
            out += apart_;
            sum = static_cast<Sum>(sum + static_cast<Sum>(*reinterpret_cast<const T*>(x)));
            *out = sum;
        }
    }
    void side_by_side(const char* x, Sum* out, std::ptrdiff_t n) const {
        const auto at = [&](std::ptrdiff_t j) { return static_cast<Sum>(*reinterpret_cast<const T*>(x + j * run_by_)); };
        for (std::ptrdiff_t j = 0; j < n; ++j) out[j] = at(j);
        for (std::ptrdiff_t k = 1; k < length_; ++k) {
            x += by_;
            const Sum* const last = out;
            out += apart_;
            for (std::ptrdiff_t j = 0; j < n; ++j) out[j] = static_cast<Sum>(last[j] + at(j));
        }
    }

    static inline const Extent kNone{};
    Place x_, out_;
    std::ptrdiff_t length_, by_, apart_, run_ = 0, run_by_ = 0, runs_ = 0;
    Odometer<2> walk_; // runs of lines side by side: bytes of x, elements of the result
};

// numbers: the axis.
std::unique_ptr<Task> cumsum_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() == 1, "cumsum: expected one array");
    const ValueSpec &x = value(p, step.inputs[0]), &out = value(p, step.output);
    require(out.shape == x.shape, "cumsum: the result has the wrong shape");
    const Lines lines = lines_of(x, step);
    const Place from = place_of(p, step.inputs[0]), to = place_of(p, step.output);
    return with_type(x.dtype, [&]<class T>(T) -> std::unique_ptr<Task> {
        if constexpr (std::is_floating_point_v<T>) {
            if (out.dtype == x.dtype) return std::make_unique<CumsumTask<T, T>>(from, to, lines);
        } else {
            // sums of integers wrap around, with a sign and without one alike
            if (out.dtype == DType::int64 || out.dtype == DType::uint64) return std::make_unique<CumsumTask<T, std::uint64_t>>(from, to, lines);
        }
        return nullptr;
    });
}

} // namespace

std::unique_ptr<Task> order_task(const ProgramSpec& p, const StepSpec& step) {
    if (step.op == "argsort") return argsort_task(p, step);
    if (step.op == "searchsorted") return search_task(p, step);
    if (step.op == "cumsum") return cumsum_task(p, step);
    return nullptr;
}

} // namespace chainrule
