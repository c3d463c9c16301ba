// Random numbers by counter.
#include <type_traits>

#include "philox.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

template <class T>
class UniformTask final : public Task {
public:
    UniformTask(Place counter, DType kind, Place out, std::ptrdiff_t count, std::uint64_t seed, std::uint64_t stream)
        : counter_(counter), kind_(kind), out_(out), count_(count), seed_(seed), stream_(stream) {}
    void run(const Context& c) override {
        const auto draw = with_type(kind_, [&]<class I>(I) {
            if constexpr (std::is_integral_v<I>) return static_cast<std::uint64_t>(*c.at<I>(counter_));
            else return std::uint64_t{0};
        });
        T* const out = c.at<T>(out_);
        in_ranges(c, count_, kCost, [&](std::ptrdiff_t first, std::ptrdiff_t last, int) {
            uniform(seed_, stream_, draw, first, last - first, out + first);
        }, kWhole);
    }

private:
    static constexpr std::ptrdiff_t kCost = 8;   // a number takes as long as so many elements moved
    static constexpr std::ptrdiff_t kWhole = 64; // no block is drawn twice
    Place counter_;
    DType kind_;
    Place out_;
    std::ptrdiff_t count_;
    std::uint64_t seed_, stream_;
};

} // namespace

// numbers: seed and stream, as the same 64 bits.
std::unique_ptr<Task> uniform_task(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &counter = value(p, step.inputs.at(0)), &out = value(p, step.output);
    require(step.numbers.size() == 2 && elements(counter.shape) == 1, "uniform: expected a seed, a stream and one counter");
    if (!integer(counter.dtype) || !real(out.dtype)) return nullptr;
    const auto seed = static_cast<std::uint64_t>(step.numbers[0]), stream = static_cast<std::uint64_t>(step.numbers[1]);
    const Place from = place_of(p, step.inputs[0]), to = place_of(p, step.output);
    if (out.dtype == DType::float32) return std::make_unique<UniformTask<float>>(from, counter.dtype, to, elements(out.shape), seed, stream);
    return std::make_unique<UniformTask<double>>(from, counter.dtype, to, elements(out.shape), seed, stream);
}

} // namespace chainrule
