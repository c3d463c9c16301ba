// Random numbers by counter.
#include "philox.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

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

} // namespace

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

} // namespace chainrule
