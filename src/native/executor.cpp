#include "executor.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <set>

namespace chainrule {
namespace {

constexpr std::size_t kLine = 64;

std::size_t whole_lines(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

char* aligned(char* p) {
    const auto at = reinterpret_cast<std::uintptr_t>(p);
    return p + (kLine - at % kLine) % kLine;
}

// What a call of the host does instead of a kernel.
class HostTask final : public Task {
public:
    explicit HostTask(Executor::Call call) : call_(std::move(call)) {}
    void run(const Context&) override { call_(); }

private:
    Executor::Call call_;
};

} // namespace

Place place_of(const ProgramSpec& p, int value) {
    const ValueSpec& v = p.values[static_cast<std::size_t>(value)];
    return {v.root, v.storage == Storage::view ? v.offset : 0};
}

// A part of a concatenation that may be made where it ends up, instead of being copied there.
struct Part {
    int root, whole;
    std::ptrdiff_t offset; // bytes from the start of the whole
};

std::vector<Part> parts_in_place(const ProgramSpec& p) {
    const auto value = [&](int n) -> const ValueSpec& { return p.values[static_cast<std::size_t>(n)]; };
    std::vector<Part> parts;
    std::set<int> taken; // wholes, which move themselves, and roots that have a place already
    for (const GroupSpec& group : p.groups) {
        const StepSpec& step = group.steps.front();
        if (step.op != "concatenate" || step.numbers != std::vector<std::int64_t>{0} || value(step.output).state >= 0) continue;
        if (!taken.insert(step.output).second) continue;
        std::ptrdiff_t offset = 0;
        for (const int n : step.inputs) {
            const ValueSpec &part = value(n), &root = value(part.root);
            const bool all = part.storage != Storage::view || (part.offset == 0 && elements(part.shape) == elements(root.shape) && contiguous(part));
            const bool own = root.storage == Storage::buffer && root.state < 0;
            if (all && own && part.dtype == value(step.output).dtype && taken.insert(part.root).second)
                parts.push_back({part.root, step.output, offset});
            offset += elements(part.shape) * static_cast<std::ptrdiff_t>(size_of(part.dtype));
        }
    }
    return parts;
}

std::unique_ptr<Task> task_of(const ProgramSpec& program, const GroupSpec& group) {
    if (auto task = elementwise_task(program, group)) return task;
    return group.steps.size() == 1 && group.registers.empty() ? other_task(program, group.steps.front()) : nullptr;
}

bool has_kernel(const ProgramSpec& program, const GroupSpec& group) { return task_of(program, group) != nullptr; }

Executor::Executor(ProgramSpec program, std::vector<char*> constants, std::vector<char*> states,
                   std::vector<Call> calls, int threads)
    : program_(std::move(program)), calls_(std::move(calls)), team_(threads) {
    check(program_);
    const ProgramSpec& p = program_;
    if (constants.size() != p.values.size() || states.size() != p.states.size() || calls_.size() != p.groups.size())
        throw PlanError("constants, states or calls do not match the plan");
    std::size_t bytes = whole_lines(static_cast<std::size_t>(p.arena)) + kLine;
    const std::vector<Part> parts = parts_in_place(p);
    std::map<int, char*> wholes;
    for (const Part& part : parts) wholes[part.whole] = nullptr;
    for (const auto& whole : wholes)
        bytes += whole_lines(static_cast<std::size_t>(span(p.values[static_cast<std::size_t>(whole.first)]).second));
    for (const int n : p.inputs)
        bytes += whole_lines(static_cast<std::size_t>(span(p.values[static_cast<std::size_t>(n)]).second));
    memory_.reset(static_cast<char*>(std::calloc(bytes, 1)), std::free);
    if (!memory_) throw std::bad_alloc();
    char* const arena = aligned(memory_.get());
    char* next = arena + whole_lines(static_cast<std::size_t>(p.arena));
    bases_.assign(p.values.size(), nullptr);
    for (const int n : p.inputs) {
        bases_[static_cast<std::size_t>(n)] = next;
        own_inputs_.push_back(next);
        next += whole_lines(static_cast<std::size_t>(span(p.values[static_cast<std::size_t>(n)]).second));
    }
    for (std::size_t i = 0; i < p.states.size(); ++i) bases_[static_cast<std::size_t>(p.states[i])] = states[i];
    for (std::size_t i = 0; i < p.values.size(); ++i) {
        const ValueSpec& v = p.values[i];
        if (v.storage == Storage::constant) {
            if (constants[i] == nullptr) throw PlanError("a constant has no content");
            bases_[i] = constants[i];
        }
        if (v.storage == Storage::buffer)
            bases_[i] = v.state >= 0 ? states[static_cast<std::size_t>(v.state)] : arena + v.offset;
        if ((v.storage == Storage::input || v.storage == Storage::state) && bases_[i] == nullptr)
            throw PlanError("an input or a state is not listed");
    }
    for (auto& [n, memory] : wholes) {
        bases_[static_cast<std::size_t>(n)] = memory = next;
        next += whole_lines(static_cast<std::size_t>(span(p.values[static_cast<std::size_t>(n)]).second));
    }
    for (const Part& part : parts) {
        const std::ptrdiff_t end = part.offset + span(p.values[static_cast<std::size_t>(part.root)]).second;
        if (end <= span(p.values[static_cast<std::size_t>(part.whole)]).second) // else the step is refused below
            bases_[static_cast<std::size_t>(part.root)] = wholes[part.whole] + part.offset;
    }
    for (std::size_t g = 0; g < p.groups.size(); ++g) {
        std::unique_ptr<Task> task = task_of(p, p.groups[g]);
        if (!task) {
            if (!calls_[g]) throw PlanError("no kernel for " + p.groups[g].steps.front().op + ", and no call given");
            task = std::make_unique<HostTask>(calls_[g]);
        }
        tasks_.push_back(std::move(task));
    }
    for (const auto& [state, n] : p.updates) {
        if (p.values[static_cast<std::size_t>(n)].state == state) continue;
        const int to = p.states[static_cast<std::size_t>(state)];
        if (n == to) continue;
        tasks_.push_back(update_task(p, n, to));
    }
    for (const auto& task : tasks_) workspace_each_ = std::max(workspace_each_, whole_lines(task->workspace()));
    resize(threads);
}

void Executor::resize(int threads) {
    if (team_.size() != threads) team_.resize(threads);
    workspace_memory_.reset(new char[workspace_each_ * static_cast<std::size_t>(team_.size()) + kLine]);
    workspace_ = aligned(workspace_memory_.get());
    bind();
}

void Executor::bind() {
    const Context now = context();
    for (const auto& task : tasks_) task->bind(now);
}

void Executor::set_input(int k, char* memory) {
    const auto i = static_cast<std::size_t>(k);
    char*& base = bases_[static_cast<std::size_t>(program_.inputs[i])];
    char* const wanted = memory != nullptr ? memory : own_inputs_[i];
    if (base == wanted) return;
    base = wanted;
    bind();
}

char* Executor::address(int n) const {
    const Place p = place_of(program_, n);
    return bases_[static_cast<std::size_t>(p.root)] + p.offset;
}

void Executor::run() {
    const Context now = context();
    for (const auto& task : tasks_) task->run(now);
}

} // namespace chainrule
