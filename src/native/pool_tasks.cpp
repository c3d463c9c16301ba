// Pooling by the largest element of each window, what goes back to it, and the sum of overlapping windows.
#include <array>
#include <limits>
#include <vector>

#include "kernels.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

using Index = std::ptrdiff_t;

template <class T>
const VecKernels<T>& pool_kernels() {
    if constexpr (sizeof(T) == sizeof(float)) return kernels().vec_f32;
    else return kernels().vec_f64;
}

enum class Pool { largest, back, like };

// For each plane of the last two axes: rows of windows, side by side.
template <class T>
class PoolTask final : public Task {
public:
    PoolTask(Pool kind, const std::array<PoolAxis, 2>& axes, Index planes, Index examples, const std::vector<Place>& inputs, Place out)
        : kind_(kind), axes_(axes), pairs_(in_pairs(axes[0]) && in_pairs(axes[1])), planes_(planes), examples_(examples), inputs_(inputs), out_(out) {
        for (Index k = 0; k < axes_[0].size; ++k)
            for (Index l = 0; l < axes_[1].size; ++l) offsets_.push_back(k * axes_[0].dilation * axes_[1].in + l * axes_[1].dilation);
    }
    // Of each window in a row the largest element, and the number of its tap.
    std::size_t workspace() const override { return static_cast<std::size_t>(axes_[1].out) * (sizeof(T) + sizeof(std::int32_t)) + 64; }
    void run(const Context& c) override {
        in_ranges(c, planes_, work(), [&](Index first, Index last, int member) { planes(c, first, last, c.own(member)); });
    }
    Division division() const override {
        return {examples_, 1, kElement * static_cast<double>(planes_ * work()), inputs_.size(), false};
    }
    void run_some(const Context& c, Index first, Index last, char* own) override {
        planes(c, planes_ / examples_ * first, planes_ / examples_ * last, own);
    }

private:
    Index work() const { return axes_[0].out * axes_[1].out * axes_[0].size * axes_[1].size; } // of a plane

    void planes(const Context& c, Index first, Index last, char* own) const {
        const T* const x = c.at<T>(inputs_.back());
        const T* const other = kind_ == Pool::largest ? nullptr : c.at<T>(inputs_.front());
        T* const out = c.at<T>(out_);
        const Index whole = axes_[0].in * axes_[1].in, pooled = axes_[0].out * axes_[1].out;
        T* const best = reinterpret_cast<T*>(own);
        auto* const at = reinterpret_cast<std::int32_t*>(best + axes_[1].out);
        for (Index p = first; p < last; ++p) {
            const T* const plane = x + p * whole;
            if (kind_ != Pool::back && pairs_) chosen_of_pairs(plane, kind_ == Pool::largest ? plane : other + p * whole, out + p * pooled);
            else if (kind_ == Pool::largest) largest(plane, out + p * pooled);
            else if (kind_ == Pool::back) back(plane, other + p * pooled, out + p * whole, best, at);
            else like(plane, other + p * whole, out + p * pooled, best, at);
        }
    }

    // Windows of two that do not overlap.
    static bool in_pairs(const PoolAxis& a) { return a.size == 2 && a.stride == 2 && a.dilation == 1 && a.before == 0 && 2 * a.out <= a.in; }

    void chosen_of_pairs(const T* x, const T* v, T* out) const {
        const Index wide = axes_[1].in, n = axes_[1].out;
        for (Index h = 0; h < axes_[0].out; ++h, x += 2 * wide, v += 2 * wide, out += n) pool_kernels<T>().pool_pairs(n, x, x + wide, v, v + wide, out);
    }
    void largest(const T* x, T* out) const {
        for (Index h = 0; h < axes_[0].out; ++h) pool_kernels<T>().pool_row(axes_[0], axes_[1], h, x, out + h * axes_[1].out, nullptr);
    }
    void back_in_pairs(const T* x, const T* g, T* out) const {
        const Index wide = axes_[1].in, n = axes_[1].out;
        for (Index h = 0; h < axes_[0].out; ++h, x += 2 * wide, g += n, out += 2 * wide) {
            pool_kernels<T>().unpool_pairs(n, x, x + wide, g, out, out + wide);
            std::fill(out + 2 * n, out + wide, T(0)); // what no window reaches
            std::fill(out + wide + 2 * n, out + 2 * wide, T(0));
        }
        std::fill_n(out, (axes_[0].in - 2 * axes_[0].out) * wide, T(0));
    }
    void back(const T* x, const T* g, T* out, T* best, std::int32_t* at) const {
        if (pairs_) return back_in_pairs(x, g, out);
        std::fill_n(out, axes_[0].in * axes_[1].in, T(0));
        for (Index h = 0; h < axes_[0].out; ++h, g += axes_[1].out) {
            pool_kernels<T>().pool_row(axes_[0], axes_[1], h, x, best, at);
            Index start = first(h);
            for (Index q = 0; q < axes_[1].out; ++q, start += axes_[1].stride)
                if (at[q] >= 0) out[start + offsets_[static_cast<std::size_t>(at[q])]] += g[q];
        }
    }
    void like(const T* x, const T* v, T* out, T* best, std::int32_t* at) const {
        for (Index h = 0; h < axes_[0].out; ++h, out += axes_[1].out) {
            pool_kernels<T>().pool_row(axes_[0], axes_[1], h, x, best, at);
            Index start = first(h);
            for (Index q = 0; q < axes_[1].out; ++q, start += axes_[1].stride)
                out[q] = at[q] >= 0 ? v[start + offsets_[static_cast<std::size_t>(at[q])]] : T(0);
        }
    }
    // Where the first tap of the first window in a row is, in a plane; it may lie outside.
    Index first(Index h) const { return (h * axes_[0].stride - axes_[0].before) * axes_[1].in - axes_[1].before; }

    Pool kind_;
    std::array<PoolAxis, 2> axes_;
    bool pairs_;
    Index planes_, examples_;
    std::vector<Place> inputs_;
    Place out_;
    std::vector<Index> offsets_; // of the taps from a window's first
};

// Zeros, to which the elements of windows are added: for each tap, all windows' elements, in the order of the taps.
template <class T>
class OverlapTask final : public Task {
public:
    OverlapTask(Place g, Place out, Index size, const Extent& shape, const Extent& from, const Extent& to, const Extent& taps,
                const Extent& taps_from, const Extent& taps_to, Index fronts, std::array<Index, 2> front_by)
        : g_(g), out_(out), size_(size), fronts_(fronts), front_by_(front_by), taps_(elements(taps)), walk_(taps, {&taps_from, &taps_to}),
          inner_(Extent(), {&kNone, &kNone}) {
        Extent axes = shape, a = from, b = to;
        join_axes(axes, {&a, &b});
        const auto [n, from_by, to_by] = split_last<2>(axes, {&a, &b});
        run_ = n, from_by_ = from_by / item_, to_by_ = to_by / item_, runs_ = elements(axes);
        inner_ = Odometer<2>(axes, {&a, &b});
    }
    void run(const Context& c) override {
        T* const out = c.at<T>(out_);
        in_ranges(c, size_, 1, [&](Index first, Index last, int) { std::fill(out + first, out + last, T(0)); });
        if (runs_ * run_ * taps_ == 0) return;
        in_ranges(c, fronts_, runs_ * run_ * taps_, [&](Index first, Index last, int) {
            for (Index f = first; f < last; ++f)
                add(c.at<char>(g_) + f * front_by_[0], reinterpret_cast<char*>(out) + f * front_by_[1]);
        });
    }

private:
    void add(const char* g, char* out) const {
        Odometer<2> tap = walk_, inner = inner_;
        tap.reset();
        for (Index k = 0; k < taps_; ++k, tap.next()) {
            inner.reset();
            for (Index r = 0; r < runs_; ++r, inner.next()) {
                const T* const from = reinterpret_cast<const T*>(g + tap.at[0] + inner.at[0]);
                T* const to = reinterpret_cast<T*>(out + tap.at[1] + inner.at[1]);
                for (Index i = 0; i < run_; ++i) to[i * to_by_] += from[i * from_by_];
            }
        }
    }

    static inline const Extent kNone{};
    static constexpr Index item_ = static_cast<Index>(sizeof(T));
    Place g_, out_;
    Index size_, fronts_;
    std::array<Index, 2> front_by_;
    Index taps_;
    Odometer<2> walk_, inner_;
    Index run_ = 0, from_by_ = 0, to_by_ = 0, runs_ = 0;
};

PoolAxis pool_axis(Index in, Index out, Index size, Index stride, Index dilation, Index before) {
    require(size >= 1 && stride >= 1 && dilation >= 1 && before >= 0, "pooling: a setting is out of range");
    return {in, out, size, stride, dilation, before};
}

} // namespace

// numbers: sizes, strides, dilations and positions before each axis.
std::unique_ptr<Task> pool_task(const ProgramSpec& p, const StepSpec& step) {
    const Pool kind = step.op == "max_pool" ? Pool::largest : step.op == "unpool" ? Pool::back : Pool::like;
    require(step.inputs.size() == (kind == Pool::largest ? 1U : 2U), "pooling: the wrong number of operands");
    const ValueSpec &x = value(p, step.inputs.back()), &out = value(p, step.output);
    const ValueSpec& pooled = kind == Pool::back ? value(p, step.inputs.front()) : out;
    const std::size_t n = step.numbers.size() / 4, axes = x.shape.size();
    if (n < 1 || n > 2 || !real(x.dtype)) return nullptr;
    require(step.numbers.size() == 4 * n && axes >= n && pooled.shape.size() == axes, "pooling: the shapes do not match");
    for (const int input : step.inputs) {
        require(value(p, input).dtype == out.dtype, "pooling: the dtypes differ");
        if (!contiguous(value(p, input))) return nullptr;
    }
    require(step.inputs.size() == 1 || value(p, step.inputs.front()).shape == (kind == Pool::back ? pooled.shape : x.shape), "pooling: the shapes do not match");
    std::array<PoolAxis, 2> found = {PoolAxis{1, 1, 1, 1, 1, 0}, PoolAxis{1, 1, 1, 1, 1, 0}};
    for (std::size_t a = 0; a < n; ++a) {
        const auto number = [&](std::size_t k) { return static_cast<Index>(step.numbers[k * n + a]); };
        found[2 - n + a] = pool_axis(x.shape[axes - n + a], pooled.shape[axes - n + a], number(0), number(1), number(2), number(3));
    }
    require(found[0].size * found[1].size <= std::numeric_limits<std::int32_t>::max(), "pooling: the windows are too large");
    Index planes = 1;
    for (std::size_t a = 0; a + n < axes; ++a) {
        require(x.shape[a] == pooled.shape[a], "pooling: the shapes do not match");
        planes *= x.shape[a];
    }
    const Index examples = axes > n ? x.shape[0] : 0;
    std::vector<Place> inputs;
    for (const int input : step.inputs) inputs.push_back(place_of(p, input));
    if (x.dtype == DType::float32) return std::make_unique<PoolTask<float>>(kind, found, planes, examples, inputs, place_of(p, step.output));
    return std::make_unique<PoolTask<double>>(kind, found, planes, examples, inputs, place_of(p, step.output));
}

// numbers: axes of the result, strides and dilations of the windows along them.
std::unique_ptr<Task> overlap_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() == 1 && step.numbers.size() % 3 == 0, "overlap_add: expected windows and their settings");
    const ValueSpec &g = value(p, step.inputs[0]), &out = value(p, step.output);
    const std::size_t n = step.numbers.size() / 3, axes = out.shape.size();
    require(g.shape.size() == axes + n && g.dtype == out.dtype, "overlap_add: the shapes or dtypes do not match");
    if (!real(g.dtype)) return nullptr;
    Extent shape(g.shape.begin(), g.shape.end() - static_cast<Index>(n)), from(g.strides.begin(), g.strides.end() - static_cast<Index>(n)), to = out.strides;
    Extent taps(g.shape.end() - static_cast<Index>(n), g.shape.end()), taps_from(g.strides.end() - static_cast<Index>(n), g.strides.end()), taps_to;
    std::vector<Index> reach(out.shape.begin(), out.shape.end());
    for (std::size_t k = 0; k < n; ++k) {
        const auto axis = static_cast<std::size_t>(step.numbers[k]);
        const Index stride = step.numbers[n + k], dilation = step.numbers[2 * n + k];
        require(step.numbers[k] >= 0 && axis < axes && stride >= 1 && dilation >= 1, "overlap_add: a setting is out of range");
        require(shape[axis] == 0 || taps[k] == 0 || (shape[axis] - 1) * stride + (taps[k] - 1) * dilation < out.shape[axis], "overlap_add: the windows do not fit");
        taps_to.push_back(out.strides[axis] * dilation);
        to[axis] = out.strides[axis] * stride;
        reach[axis] = shape[axis];
    }
    require(Extent(reach.begin(), reach.end()) == shape, "overlap_add: the shapes do not match");
    // examples in front, along which nothing overlaps, are what threads share
    const bool shared = !shape.empty() && std::find(step.numbers.begin(), step.numbers.begin() + static_cast<Index>(n), 0) == step.numbers.begin() + static_cast<Index>(n);
    Index fronts = 1;
    std::array<Index, 2> by = {0, 0};
    if (shared) {
        fronts = shape[0], by = {from[0], to[0]};
        shape.erase(shape.begin()), from.erase(from.begin()), to.erase(to.begin());
    }
    const Place in = place_of(p, step.inputs[0]), place = place_of(p, step.output);
    const Index size = elements(out.shape);
    if (g.dtype == DType::float32) return std::make_unique<OverlapTask<float>>(in, place, size, shape, from, to, taps, taps_from, taps_to, fronts, by);
    return std::make_unique<OverlapTask<double>>(in, place, size, shape, from, to, taps, taps_from, taps_to, fronts, by);
}

} // namespace chainrule
