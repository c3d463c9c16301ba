// Taking rows by number, and one-hot rows.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "tasks.hpp"

namespace chainrule {
namespace {

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

} // namespace

std::unique_ptr<Task> index_task(const ProgramSpec& p, const StepSpec& step) {
    if (step.op == "one_hot") return one_hot_task(p, step);
    if (step.op == "gather") return gather_task(p, step);
    return nullptr;
}

} // namespace chainrule
