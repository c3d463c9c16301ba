// Powers of integers with a sign: the one elementwise operation that may refuse its operands.
#include <type_traits>

#include "tasks.hpp"

namespace chainrule {
namespace {

template <class T>
class PowerTask final : public Task {
public:
    PowerTask(Place a, Place b, Place out, const Extent& shape, const Extent& a_strides, const Extent& b_strides)
        : a_(a), b_(b), out_(out), count_(elements(shape)), walk_(shape, {&a_strides, &b_strides}) {}
    void run(const Context& c) override {
        const char *const a = c.at<char>(a_), *const b = c.at<char>(b_);
        T* const out = c.at<T>(out_);
        walk_.reset();
        for (std::ptrdiff_t i = 0; i < count_; ++i, walk_.next()) {
            const T exponent = *reinterpret_cast<const T*>(b + walk_.at[1]);
            if (exponent < 0) throw std::invalid_argument("Integers to negative integer powers are not allowed."); // NumPy's words
            out[i] = power(*reinterpret_cast<const T*>(a + walk_.at[0]), exponent);
        }
    }

private:
    static T power(T base, T exponent) { // wraps around
        std::uint64_t square = static_cast<std::uint64_t>(base), result = 1;
        for (auto rest = static_cast<std::uint64_t>(exponent); rest != 0; rest >>= 1, square *= square)
            if (rest & 1) result *= square;
        return static_cast<T>(result);
    }

    Place a_, b_, out_;
    std::ptrdiff_t count_;
    Odometer<2> walk_;
};

Extent broadcast_strides(const ValueSpec& v, const Extent& shape) {
    require(v.shape.size() <= shape.size(), "power: an operand has more axes than the result");
    Extent strides(shape.size(), 0);
    const std::size_t lead = shape.size() - v.shape.size();
    for (std::size_t a = 0; a < v.shape.size(); ++a) {
        require(v.shape[a] == shape[lead + a] || v.shape[a] == 1, "power: an operand does not broadcast to the result");
        strides[lead + a] = v.shape[a] == 1 ? 0 : v.strides[a];
    }
    return strides;
}

} // namespace

std::unique_ptr<Task> power_task(const ProgramSpec& p, const StepSpec& step) {
    if (step.inputs.size() != 2) return nullptr;
    const ValueSpec &a = value(p, step.inputs[0]), &b = value(p, step.inputs[1]), &out = value(p, step.output);
    if (!integer(out.dtype) || a.dtype != out.dtype || b.dtype != out.dtype) return nullptr;
    for (const int n : step.inputs)
        require(!overlap(p, n, step.output) || same_places(p, n, step.output), "power: the result overlaps an operand");
    const Extent of_a = broadcast_strides(a, out.shape), of_b = broadcast_strides(b, out.shape);
    return with_type(out.dtype, [&]<class T>(T) -> std::unique_ptr<Task> {
        if constexpr (std::is_integral_v<T> && std::is_signed_v<T>)
            return std::make_unique<PowerTask<T>>(place_of(p, step.inputs[0]), place_of(p, step.inputs[1]), place_of(p, step.output), out.shape, of_a, of_b);
        return nullptr;
    });
}

} // namespace chainrule
