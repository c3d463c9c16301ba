// Which task runs a step that is not elementwise.
#include "tasks.hpp"

namespace chainrule {

std::unique_ptr<Task> update_task(const ProgramSpec& p, int from, int to) { return copy_task(p, {"copy", {from}, to, {}}); }

std::unique_ptr<Task> other_task(const ProgramSpec& p, const StepSpec& step) {
    if (step.inputs.empty()) return nullptr;
    for (const int n : step.inputs) require(!overlap(p, n, step.output), "a step writes over what it reads");
    if (step.op == "matmul") return matmul_task(p, step);
    if (step.op == "concatenate") return concatenate_task(p, step);
    if (step.op == "place") return place_task(p, step);
    if (step.op == "uniform") return uniform_task(p, step);
    if (auto task = reduction_task(p, step)) return task;
    return index_task(p, step);
}

} // namespace chainrule
