// Copies between strided places, joining and placing.
#include <cstring>

#include "tasks.hpp"

namespace chainrule {
namespace {

// Runs of elements, each along one stride on either side.
class CopyTask final : public Task {
public:
    CopyTask(Place from, Place to, Extent shape, Extent from_strides, Extent to_strides, std::ptrdiff_t size)
        : from_(from), to_(to), size_(size), count_(elements(shape)), walk_(Extent(), {&kNone, &kNone}) {
        join_axes(shape, {&from_strides, &to_strides});
        const auto [n, from_by, to_by] = split_last<2>(shape, {&from_strides, &to_strides});
        run_ = n, from_by_ = from_by, to_by_ = to_by;
        dense_ = n == 1 || (from_by == size && to_by == size);
        runs_ = elements(shape);
        walk_ = Odometer<2>(shape, {&from_strides, &to_strides});
    }
    void run(const Context& c) override {
        const char* const from = c.at<char>(from_);
        char* const to = c.at<char>(to_);
        if (count_ == 0 || (from == to && dense_ && runs_ == 1)) return; // nothing, or made in its place
        if (runs_ > 1) {
            in_ranges(c, runs_, run_, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) { copy_runs(from, to, first, last); });
        } else {
            in_ranges(c, run_, 1, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
                copy(from + first * from_by_, to + first * to_by_, last - first);
            });
        }
    }

    // All of it between other places, on the calling thread.
    void copy_at(const char* from, char* to) const {
        if (count_ > 0) copy_runs(from, to, 0, runs_);
    }

private:
    void copy_runs(const char* from, char* to, std::ptrdiff_t first, std::ptrdiff_t last) const {
        Odometer<2> walk = walk_;
        walk.start(first);
        for (std::ptrdiff_t i = first; i < last; ++i, walk.next()) copy(from + walk.at[0], to + walk.at[1], run_);
    }

    void copy(const char* from, char* to, std::ptrdiff_t n) const {
        if (dense_) {
            std::memmove(to, from, static_cast<std::size_t>(n * size_));
            return;
        }
        with_item(size_, [&]<class T>(T) {
            for (std::ptrdiff_t i = 0; i < n; ++i, from += from_by_, to += to_by_) *reinterpret_cast<T*>(to) = *reinterpret_cast<const T*>(from);
        });
    }

    static inline const Extent kNone{};
    Place from_, to_;
    std::ptrdiff_t size_, count_, run_ = 0, runs_ = 0, from_by_ = 0, to_by_ = 0;
    bool dense_ = false;
    Odometer<2> walk_;
};

// Several tasks that make one step.
class Sequence : public Task {
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

// Arrays side by side; along another axis than the first, example by example.
class Concatenation final : public Sequence {
public:
    struct Part {
        Place from, to;
        std::ptrdiff_t from_step, to_step; // from example to example
        CopyTask example;
    };
    std::ptrdiff_t examples = 0, count = 0;
    std::vector<Part> parts;

    Division division() const override { return {count > 0 ? examples : 0, 1, kElement * static_cast<double>(count), parts.size(), false}; }
    void run_some(const Context& c, std::ptrdiff_t first, std::ptrdiff_t last, char*) override {
        for (std::ptrdiff_t i = first; i < last; ++i)
            for (const Part& p : parts) p.example.copy_at(c.at<char>(p.from) + i * p.from_step, c.at<char>(p.to) + i * p.to_step);
    }
};

class ZeroTask final : public Task {
public:
    ZeroTask(Place to, std::ptrdiff_t bytes) : to_(to), bytes_(bytes) {}
    void run(const Context& c) override {
        char* const to = c.at<char>(to_);
        in_ranges(c, (bytes_ + kLine - 1) / kLine, kLine / 4, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
            std::memset(to + first * kLine, 0, static_cast<std::size_t>(std::min(last * kLine, bytes_) - first * kLine));
        });
    }

private:
    static constexpr std::ptrdiff_t kLine = 64;
    Place to_;
    std::ptrdiff_t bytes_;
};

} // namespace

std::unique_ptr<Task> copy_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &x = value(p, step.inputs[0]), &out = value(p, step.output);
    require(x.shape == out.shape && x.dtype == out.dtype, "copy: the shapes or dtypes differ");
    return std::make_unique<CopyTask>(place_of(p, step.inputs[0]), place_of(p, step.output), x.shape, x.strides, out.strides, item(x));
}

std::unique_ptr<Task> concatenate_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec& out = value(p, step.output);
    require(step.numbers.size() == 1 && !out.shape.empty(), "concatenate: expected one axis");
    const auto axis = static_cast<std::size_t>(step.numbers[0]);
    require(axis < out.shape.size(), "concatenate: the axis is out of range");
    auto all = std::make_unique<Concatenation>();
    if (axis > 0) all->examples = out.shape[0], all->count = elements(out.shape);
    std::ptrdiff_t at = 0;
    for (const int n : step.inputs) {
        const ValueSpec& x = value(p, n);
        require(x.shape.size() == out.shape.size() && x.dtype == out.dtype, "concatenate: the numbers of axes or the dtypes differ");
        for (std::size_t a = 0; a < out.shape.size(); ++a)
            require(a == axis ? x.shape[a] <= out.shape[a] - at : x.shape[a] == out.shape[a], "concatenate: lengths differ");
        Place to = place_of(p, step.output);
        to.offset += at * out.strides[axis];
        all->tasks.push_back(std::make_unique<CopyTask>(place_of(p, n), to, x.shape, x.strides, out.strides, item(x)));
        if (axis > 0) {
            const Extent shape(x.shape.begin() + 1, x.shape.end()), by(x.strides.begin() + 1, x.strides.end()), to_by(out.strides.begin() + 1, out.strides.end());
            all->parts.push_back({place_of(p, n), to, x.strides[0], out.strides[0], {place_of(p, n), to, shape, by, to_by, item(x)}});
        }
        at += x.shape[axis];
    }
    require(at == out.shape[axis], "concatenate: the parts do not fill the result");
    return all;
}

// numbers: the byte offset of the part within the result, then its strides.
std::unique_ptr<Task> place_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &x = value(p, step.inputs.at(0)), &out = value(p, step.output);
    require(step.numbers.size() == 1 + x.shape.size() && x.dtype == out.dtype, "place: the numbers of axes or the dtypes differ");
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

} // namespace chainrule
