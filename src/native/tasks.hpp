// What the files of tasks share: walking strides, checks, and the tasks by operation.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "executor.hpp"

namespace chainrule {

inline const ValueSpec& value(const ProgramSpec& p, int n) { return p.values[static_cast<std::size_t>(n)]; }

inline std::ptrdiff_t item(const ValueSpec& v) { return static_cast<std::ptrdiff_t>(size_of(v.dtype)); }

inline bool real(DType d) { return d == DType::float32 || d == DType::float64; }

inline void require(bool condition, const char* message) {
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

// Each returns nullptr for what it does not do, and throws PlanError for shapes that don't go together.
std::unique_ptr<Task> matmul_task(const ProgramSpec& program, const StepSpec& step);
std::unique_ptr<Task> reduction_task(const ProgramSpec& program, const StepSpec& step); // sum, max, argmax, …
std::unique_ptr<Task> copy_task(const ProgramSpec& program, const StepSpec& step);      // of a whole value
std::unique_ptr<Task> concatenate_task(const ProgramSpec& program, const StepSpec& step);
std::unique_ptr<Task> place_task(const ProgramSpec& program, const StepSpec& step);
std::unique_ptr<Task> index_task(const ProgramSpec& program, const StepSpec& step); // gather, one_hot, …
std::unique_ptr<Task> uniform_task(const ProgramSpec& program, const StepSpec& step);

} // namespace chainrule
