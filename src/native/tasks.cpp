// Which task runs a step that is not elementwise.
#include "tasks.hpp"

#include <map>
#include <string>

namespace chainrule {

std::unique_ptr<Task> update_task(const ProgramSpec& p, int from, int to) { return copy_task(p, {"copy", {from}, to, {}}); }

std::unique_ptr<Task> other_task(const ProgramSpec& p, const StepSpec& step) {
    using Make = std::unique_ptr<Task> (*)(const ProgramSpec&, const StepSpec&);
    static const std::map<std::string, Make> table = {
        {"matmul", matmul_task},   {"concatenate", concatenate_task}, {"place", place_task},     {"uniform", uniform_task},
        {"sum", reduction_task},   {"max", reduction_task},           {"min", reduction_task},   {"prod", reduction_task},
        {"all", reduction_task},   {"any", reduction_task},           {"argmax", reduction_task}, {"argmin", reduction_task},
        {"cumsum", order_task},    {"argsort", order_task},           {"searchsorted", order_task},
        {"scan", loop_task},
        {"gather", index_task},    {"scatter_add", index_task},       {"one_hot", index_task},
        {"conv", conv_task},       {"conv_input", conv_task},         {"conv_weight", conv_task},
        {"max_pool", pool_task},   {"unpool", pool_task},             {"pool_like", pool_task},  {"overlap_add", overlap_task},
    };
    if (step.inputs.empty()) return nullptr;
    if (step.op == "power") return power_task(p, step);
    const auto found = table.find(step.op);
    if (found == table.end()) return nullptr;
    for (const int n : step.inputs) require(!overlap(p, n, step.output), "a step overwrites memory that it reads");
    return found->second(p, step);
}

} // namespace chainrule
