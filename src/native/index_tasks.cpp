// Taking elements by number, adding them back by number, and one-hot rows.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "tasks.hpp"

namespace chainrule {
namespace {

template <class Id>
std::int64_t id_at(const char* ids, std::ptrdiff_t i) {
    return static_cast<std::int64_t>(reinterpret_cast<const Id*>(ids)[i]); // one beyond the range becomes negative
}

template <class T>
class OneHotTask final : public Task {
public:
    OneHotTask(std::int64_t (*id)(const char*, std::ptrdiff_t), Place ids, Place out, std::ptrdiff_t count, std::ptrdiff_t classes)
        : id_(id), ids_(ids), out_(out), count_(count), classes_(classes) {}
    void run(const Context& c) override {
        const char* const ids = c.at<char>(ids_);
        T* const out = c.at<T>(out_);
        in_ranges(c, count_, classes_, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
            for (std::ptrdiff_t i = first; i < last; ++i) {
                T* const row = out + i * classes_;
                const std::int64_t id = id_(ids, i); // read once, whatever is written meanwhile
                const bool known = id >= 0 && id < classes_;
                std::fill_n(row, classes_, known ? T(0) : std::numeric_limits<T>::quiet_NaN()); // 0 where there is no NaN
                if (known) row[id] = T(1);
            }
        });
    }

private:
    std::int64_t (*id_)(const char*, std::ptrdiff_t);
    Place ids_, out_;
    std::ptrdiff_t count_, classes_;
};

bool dense(const ValueSpec& v) {
    std::ptrdiff_t run = item(v);
    for (std::size_t a = v.shape.size(); a-- > 0; run *= v.shape[a])
        if (v.strides[a] != run && v.shape[a] != 1) return elements(v.shape) == 0;
    return true;
}

std::unique_ptr<Task> one_hot_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() == 1, "one_hot: expected one array of ids");
    const ValueSpec &ids = value(p, step.inputs[0]), &out = value(p, step.output);
    require(!out.shape.empty(), "one_hot: the result has no axes");
    if (!integer(ids.dtype) || !dense(ids)) return nullptr;
    const std::ptrdiff_t classes = out.shape.back(), count = elements(ids.shape);
    require(elements(Extent(out.shape.begin(), out.shape.end() - 1)) == count, "one_hot: the result has the wrong shape");
    const Place from = place_of(p, step.inputs[0]), to = place_of(p, step.output);
    const auto id = with_type(ids.dtype, []<class Id>(Id) { return id_at<Id>; });
    return with_type(out.dtype, [&]<class T>(T) -> std::unique_ptr<Task> { return std::make_unique<OneHotTask<T>>(id, from, to, count, classes); });
}

// Walks a shape along strides in runs: the last axis, after joining, in a loop of its own.
struct Runs {
    Runs(Extent shape, Extent strides) : walk(shape, {&strides}) {
        const bool none = elements(shape) == 0;
        join_axes(shape, {&strides});
        const auto [n, step] = split_last<1>(shape, {&strides});
        length = n, by = step;
        count = none ? 0 : elements(shape);
        walk = Odometer<1>(shape, {&strides});
    }
    // Calls f(number of the run, its offset) for all runs.
    template <class F>
    void each(F f) const {
        Odometer<1> at = walk;
        at.reset();
        for (std::ptrdiff_t r = 0; r < count; ++r, at.next()) f(r, at.at[0]);
    }
    std::ptrdiff_t count = 0, length = 0, by = 0;
    Odometer<1> walk;
};

// An array of positions along one axis.
struct Positions {
    Place place;
    DType dtype;
    std::ptrdiff_t length, by; // of the axis, in elements and bytes from one to the next
    std::size_t axis;          // for messages
    Runs walk;                 // along the common shape of all positions
};

// Which elements of an array an index with arrays picks: axes that are kept in front, the positions, axes kept behind.
struct Pick {
    std::ptrdiff_t start = 0; // bytes to the first element of the kept axes
    Extent front, front_strides, common, behind, behind_strides;
    std::vector<Positions> positions;

    Extent shape() const {
        Extent all = front;
        all.insert(all.end(), common.begin(), common.end());
        all.insert(all.end(), behind.begin(), behind.end());
        return all;
    }
};

Extent without_ones(Extent shape) {
    std::erase(shape, 1);
    return shape;
}

// The shape that arrays of positions broadcast to.
Extent common_shape(const ProgramSpec& p, const StepSpec& step) {
    Extent common;
    for (std::size_t k = 1; k < step.inputs.size(); ++k) {
        const Extent& shape = value(p, step.inputs[k]).shape;
        if (shape.size() > common.size()) common.insert(common.begin(), shape.size() - common.size(), 1);
        for (std::size_t a = 0; a < shape.size(); ++a) {
            std::ptrdiff_t& d = common[common.size() - shape.size() + a];
            require(shape[a] == d || shape[a] == 1 || d == 1, "an index's arrays do not broadcast");
            d = shape[a] == 1 ? d : shape[a];
        }
    }
    std::ptrdiff_t most = 1;
    for (const std::ptrdiff_t d : common) {
        require(d == 0 || most <= (std::ptrdiff_t{1} << 40) / d, "an index's arrays are too large");
        most *= std::max<std::ptrdiff_t>(d, 1);
    }
    return common;
}

Runs along(const ValueSpec& v, const Extent& shape) {
    Extent strides(shape.size(), 0);
    const std::size_t lead = shape.size() - v.shape.size();
    for (std::size_t a = 0; a < v.shape.size(); ++a) strides[lead + a] = v.shape[a] == 1 ? 0 : v.strides[a];
    return {shape, strides};
}

// numbers: how many kept axes stand in front of the positions, then for each axis of the array that is picked from
// (slot, start, step, length): which array has the positions along it, or -1 and the slice that is kept.
Pick pick_of(const ProgramSpec& p, const StepSpec& step, const ValueSpec& x) {
    const auto& numbers = step.numbers;
    require(numbers.size() == 1 + 4 * x.shape.size(), "an index has the wrong length");
    Pick pick;
    pick.common = common_shape(p, step);
    Extent kept, strides;
    for (std::size_t a = 0; a < x.shape.size(); ++a) {
        const std::ptrdiff_t n = x.shape[a], slot = numbers[1 + 4 * a], start = numbers[2 + 4 * a], by = numbers[3 + 4 * a],
                             length = numbers[4 + 4 * a];
        if (slot >= 0) {
            require(static_cast<std::size_t>(slot) < step.inputs.size() - 1, "an index refers to an array that does not exist");
            const int input = step.inputs[static_cast<std::size_t>(slot) + 1];
            const ValueSpec& ids = value(p, input);
            require(integer(ids.dtype), "an index's arrays are not of integers");
            pick.positions.push_back({place_of(p, input), ids.dtype, n, x.strides[a], a, along(ids, pick.common)});
            continue;
        }
        require(length >= 0 && length <= n, "an index has a slice that is too long");
        if (length > 0) {
            require(start >= 0 && start < n && (length == 1 || (by >= -n && by <= n)), "an index has a slice that is out of range");
            const std::ptrdiff_t last = start + (length > 1 ? (length - 1) * by : 0);
            require(last >= 0 && last < n, "an index has a slice that is out of range");
            pick.start += start * x.strides[a];
        }
        kept.push_back(length);
        strides.push_back(length > 1 ? by * x.strides[a] : 0);
    }
    const std::int64_t front = numbers[0];
    require(front >= 0 && static_cast<std::size_t>(front) <= kept.size(), "an index has its positions behind the last axis");
    pick.front.assign(kept.begin(), kept.begin() + front);
    pick.front_strides.assign(strides.begin(), strides.begin() + front);
    pick.behind.assign(kept.begin() + front, kept.end());
    pick.behind_strides.assign(strides.begin() + front, strides.end());
    return pick;
}

// Where the picked elements begin: one offset for each position, each position held to its axis.
class Offsets {
public:
    explicit Offsets(const Pick& pick) : start_(pick.start), positions_(pick.positions), count_(elements(pick.common)) {
        if (count_ > 0) offsets_.reset(new std::ptrdiff_t[static_cast<std::size_t>(count_)]);
    }
    std::ptrdiff_t count() const { return count_; }
    std::ptrdiff_t operator[](std::ptrdiff_t i) const { return offsets_[static_cast<std::size_t>(i)]; }
    void read(const Context& c) {
        std::fill_n(offsets_.get(), count_, start_);
        if (count_ > 0)
            for (const Positions& p : positions_)
                with_type(p.dtype, [&]<class I>(I) {
                    if constexpr (std::is_integral_v<I>) add<I>(p, c.at<char>(p.place));
                });
    }

private:
    template <class I>
    void add(const Positions& p, const char* ids) {
        p.walk.each([&](std::ptrdiff_t run, std::ptrdiff_t offset) {
            const char* from = ids + offset;
            std::ptrdiff_t* const to = offsets_.get() + run * p.walk.length;
            for (std::ptrdiff_t i = 0; i < p.walk.length; ++i, from += p.walk.by) {
                const auto id = static_cast<std::ptrdiff_t>(*reinterpret_cast<const I*>(from));
                const std::ptrdiff_t at = id < 0 ? id + p.length : id;
                if (at < 0 || at >= p.length) refuse(id, p);
                to[i] += at * p.by;
            }
        });
    }
    [[noreturn]] static void refuse(std::ptrdiff_t id, const Positions& p) {
        throw std::out_of_range("index " + std::to_string(id) + " is out of bounds for axis " + std::to_string(p.axis) +
                                " with size " + std::to_string(p.length)); // NumPy's words
    }

    std::ptrdiff_t start_;
    std::vector<Positions> positions_;
    std::ptrdiff_t count_;
    std::unique_ptr<std::ptrdiff_t[]> offsets_;
};

// Elements of one size, picked from x side by side into out.
template <class T>
class GatherTask final : public Task {
public:
    GatherTask(Place x, Place out, const Pick& pick)
        : x_(x), out_(out), offsets_(pick), front_(pick.front, {&pick.front_strides}), fronts_(elements(pick.front)),
          behind_(Extent(), {&kNone}) {
        Extent shape = pick.behind, strides = pick.behind_strides;
        join_axes(shape, {&strides});
        const auto [n, by] = split_last<1>(shape, {&strides});
        run_ = n, by_ = by, runs_ = elements(shape);
        behind_ = Odometer<1>(shape, {&strides});
    }
    void run(const Context& c) override {
        offsets_.read(c);
        const char* const x = c.at<char>(x_);
        T* const out = c.at<T>(out_);
        const std::ptrdiff_t each = runs_ * run_, many = offsets_.count();
        if (each == 0) return;
        in_ranges(c, fronts_ * many, each, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
            Odometer<1> front = front_, behind = behind_;
            for (std::ptrdiff_t i = first; i < last;) {
                const std::ptrdiff_t from = i % many, to = std::min(many, from + last - i);
                front.start(i / many);
                const char* const start = x + front.at[0];
                if (each == 1)
                    for (std::ptrdiff_t k = from; k < to; ++k, ++i) out[i] = *reinterpret_cast<const T*>(start + offsets_[k]);
                else
                    for (std::ptrdiff_t k = from; k < to; ++k, ++i) take(start + offsets_[k], out + i * each, behind);
            }
        });
    }

private:
    void take(const char* x, T* out, Odometer<1>& walk) const {
        if (runs_ == 1) return take_run(x, out);
        walk.reset();
        for (std::ptrdiff_t r = 0; r < runs_; ++r, walk.next(), out += run_) take_run(x + walk.at[0], out);
    }
    void take_run(const char* x, T* out) const {
        if (run_ == 1) *out = *reinterpret_cast<const T*>(x);
        else if (by_ == static_cast<std::ptrdiff_t>(sizeof(T))) std::memcpy(out, x, static_cast<std::size_t>(run_) * sizeof(T));
        else for (std::ptrdiff_t j = 0; j < run_; ++j, x += by_) out[j] = *reinterpret_cast<const T*>(x);
    }

    static inline const Extent kNone{};
    Place x_, out_;
    Offsets offsets_;
    Odometer<1> front_;
    std::ptrdiff_t fronts_, run_ = 0, by_ = 0, runs_ = 0;
    Odometer<1> behind_;
};

std::unique_ptr<Task> gather_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() >= 2, "gather: expected an array and positions");
    const ValueSpec &x = value(p, step.inputs[0]), &out = value(p, step.output);
    const Pick pick = pick_of(p, step, x);
    require(out.dtype == x.dtype && without_ones(out.shape) == without_ones(pick.shape()), "gather: the result has the wrong shape or dtype");
    return with_item(item(x), [&]<class T>(T) -> std::unique_ptr<Task> {
        return std::make_unique<GatherTask<T>>(place_of(p, step.inputs[0]), place_of(p, step.output), pick);
    });
}

// Sums over all positions in their order, whoever adds: each thread has offsets of its own.
template <class T>
class ScatterTask final : public Task {
public:
    ScatterTask(Place g, Place out, std::ptrdiff_t size, const Pick& pick, const Extent& strides)
        : g_(g), out_(out), size_(size), offsets_(pick), fronts_(elements(pick.front)), front_(Extent(), {&kNone, &kNone}),
          common_(pick.common, Extent(strides.begin() + front_axes(pick), strides.end() - behind_axes(pick))),
          behind_(Extent(), {&kNone, &kNone}) {
        const Extent g_front(strides.begin(), strides.begin() + front_axes(pick));
        front_ = Odometer<2>(pick.front, {&pick.front_strides, &g_front});
        Extent shape = pick.behind, to = pick.behind_strides, from(strides.end() - behind_axes(pick), strides.end());
        join_axes(shape, {&to, &from});
        const auto [n, to_by, from_by] = split_last<2>(shape, {&to, &from});
        run_ = n, to_by_ = to_by, from_by_ = from_by, runs_ = elements(shape);
        behind_ = Odometer<2>(shape, {&to, &from});
        low_ = pick.start;
        for (const Positions& k : pick.positions) reach_ += (k.length - 1) * k.by;
    }
    void run(const Context& c) override {
        T* const out = c.at<T>(out_);
        in_ranges(c, size_, 1, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) { std::fill(out + first, out + last, T(0)); });
        offsets_.read(c);
        const std::ptrdiff_t work = fronts_ * offsets_.count() * runs_ * run_;
        if (work == 0) return;
        const char* const g = c.at<char>(g_);
        const std::ptrdiff_t parts = c.team.worth(kElement * static_cast<double>(work)) ? c.team.size() : 1, each = reach_ / parts + 1;
        if (parts == 1) return add(g, reinterpret_cast<char*>(out), low_, low_ + reach_);
        c.team.run(static_cast<int>(parts), [&](int part, int) {
            add(g, reinterpret_cast<char*>(out), low_ + part * each, low_ + (part + 1) * each - 1);
        });
    }

private:
    // All that goes to offsets from … to.
    void add(const char* g, char* out, std::ptrdiff_t from, std::ptrdiff_t to) const {
        Odometer<2> front = front_, behind = behind_;
        front.reset();
        for (std::ptrdiff_t f = 0; f < fronts_; ++f, front.next())
            common_.each([&](std::ptrdiff_t run, std::ptrdiff_t offset) {
                const char* term = g + front.at[1] + offset;
                char* const start = out + front.at[0];
                const std::ptrdiff_t first = run * common_.length;
                for (std::ptrdiff_t i = first; i < first + common_.length; ++i, term += common_.by)
                    if (offsets_[i] >= from && offsets_[i] <= to) add_behind(term, start + offsets_[i], behind);
            });
    }
    void add_behind(const char* g, char* out, Odometer<2>& walk) const {
        if (runs_ == 1) return add_run(g, out);
        walk.reset();
        for (std::ptrdiff_t r = 0; r < runs_; ++r, walk.next()) add_run(g + walk.at[1], out + walk.at[0]);
    }
    void add_run(const char* g, char* out) const {
        constexpr auto dense = static_cast<std::ptrdiff_t>(sizeof(T));
        if (to_by_ == dense && from_by_ == dense) {
            T* const sums = reinterpret_cast<T*>(out);
            const T* const terms = reinterpret_cast<const T*>(g);
            for (std::ptrdiff_t j = 0; j < run_; ++j) sums[j] = static_cast<T>(sums[j] + terms[j]);
            return;
        }
        for (std::ptrdiff_t j = 0; j < run_; ++j, g += from_by_, out += to_by_) {
            T& sum = *reinterpret_cast<T*>(out);
            sum = static_cast<T>(sum + *reinterpret_cast<const T*>(g));
        }
    }

    static std::ptrdiff_t front_axes(const Pick& pick) { return static_cast<std::ptrdiff_t>(pick.front.size()); }
    static std::ptrdiff_t behind_axes(const Pick& pick) { return static_cast<std::ptrdiff_t>(pick.behind.size()); }

    static inline const Extent kNone{};
    Place g_, out_;
    std::ptrdiff_t size_;
    Offsets offsets_;
    std::ptrdiff_t fronts_, low_ = 0, reach_ = 0, run_ = 0, to_by_ = 0, from_by_ = 0, runs_ = 0;
    Odometer<2> front_;
    Runs common_;
    Odometer<2> behind_;
};

// The type in which sums of integers wrap around without a word: that of the same size without a sign.
template <class T>
using Wrapping = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::type_identity<T>>::type;

std::unique_ptr<Task> scatter_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() >= 2, "scatter_add: expected an array and positions");
    const ValueSpec &g = value(p, step.inputs[0]), &out = value(p, step.output);
    if (out.dtype == DType::boolean) return nullptr;
    const Pick pick = pick_of(p, step, out);
    const Extent shape = pick.shape();
    require(out.dtype == g.dtype, "scatter_add: the dtypes differ");
    if (without_ones(shape) != without_ones(g.shape)) return nullptr; // broadcast
    Extent strides;
    std::size_t next = 0;
    for (const std::ptrdiff_t d : shape) {
        while (d != 1 && g.shape[next] == 1) ++next;
        strides.push_back(d == 1 ? 0 : g.strides[next++]);
    }
    return with_type(out.dtype, [&]<class T>(T) -> std::unique_ptr<Task> {
        return std::make_unique<ScatterTask<Wrapping<T>>>(place_of(p, step.inputs[0]), place_of(p, step.output), elements(out.shape), pick, strides);
    });
}

} // namespace

std::unique_ptr<Task> index_task(const ProgramSpec& p, const StepSpec& step) {
    if (step.op == "one_hot") return one_hot_task(p, step);
    if (step.op == "gather") return gather_task(p, step);
    if (step.op == "scatter_add") return scatter_task(p, step);
    return nullptr;
}

} // namespace chainrule
