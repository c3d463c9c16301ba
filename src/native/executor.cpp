#include "executor.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <new>
#include <set>

namespace chainrule {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::ptrdiff_t kReadInPlace = 16 * 1024;   // bytes of a batch from which moving the input is cheaper than a copy
constexpr double kBytesPerNanosecond = 10;           // copied by one thread, from memory that is not in the cache

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
    std::set<int> read;
    for (const GroupSpec& group : p.groups)
        for (const StepSpec& step : group.steps)
            for (const int n : step.inputs) read.insert(value(n).root);
    // A whole in the memory of a state may be written before its step only if no step reads the old state.
    const auto free_before = [&](const ValueSpec& v) { return v.state < 0 || !read.contains(p.states[static_cast<std::size_t>(v.state)]); };
    std::vector<Part> parts;
    std::set<int> taken; // wholes, which move themselves, and roots that have a place already
    for (const GroupSpec& group : p.groups) {
        const StepSpec& step = group.steps.front();
        if (step.op != "concatenate" || step.numbers != std::vector<std::int64_t>{0} || !free_before(value(step.output))) continue;
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
                   std::vector<Call> calls, int threads, const std::vector<int>& kept)
    : program_(std::move(program)), calls_(std::move(calls)), threads_(threads) {
    check(program_);
    const ProgramSpec& p = program_;
    if (constants.size() != p.values.size() || states.size() != p.states.size() || calls_.size() != p.groups.size())
        throw PlanError("constants, states or calls do not match the plan");
    for (const int n : kept)
        if (n < 0 || static_cast<std::size_t>(n) >= p.values.size()) throw PlanError("a value to keep is not a value of the program");
    std::size_t bytes = whole_lines(static_cast<std::size_t>(p.arena)) + kLine;
    const std::vector<Part> parts = parts_in_place(p);
    std::map<int, char*> wholes;
    for (const Part& part : parts)
        if (p.values[static_cast<std::size_t>(part.whole)].state < 0) wholes[part.whole] = nullptr;
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
            if (constants[i] == nullptr) throw PlanError("a constant has no memory");
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
            bases_[static_cast<std::size_t>(part.root)] = bases_[static_cast<std::size_t>(part.whole)] + part.offset;
    }
    for (std::size_t g = 0; g < p.groups.size(); ++g) {
        std::unique_ptr<Task> task = task_of(p, p.groups[g]);
        if (!task) {
            if (!calls_[g]) throw PlanError("no kernel for " + p.groups[g].steps.front().op + ", and no call given");
            task = std::make_unique<HostTask>(calls_[g]);
        }
        if (threads_ > 1) task->share(threads_);
        tasks_.push_back(std::move(task));
    }
    for (const auto& [state, n] : p.updates) {
        if (p.values[static_cast<std::size_t>(n)].state == state) continue;
        const int to = p.states[static_cast<std::size_t>(state)];
        if (n == to) continue;
        tasks_.push_back(update_task(p, n, to));
    }
    end_multiplies(kept);
    for (const auto& task : tasks_) of_tasks_ = std::max(of_tasks_, whole_lines(task->workspace()));
    std::vector<char*> addresses(p.values.size(), nullptr);
    for (std::size_t n = 0; n < p.values.size(); ++n)
        if (p.values[n].storage != Storage::passed) addresses[n] = address(static_cast<int>(n));
    pipelines_ = find_pipelines(p, tasks_, addresses, kept, [&](int n) {
        const auto size = whole_lines(static_cast<std::size_t>(span(p.values[static_cast<std::size_t>(n)]).second));
        apart_.push_back(std::make_unique<char[]>(size + kLine));
        return bases_[static_cast<std::size_t>(n)] = aligned(apart_.back().get());
    });
    workspace_each_ = of_tasks_;
    for (const Pipeline& s : pipelines_) workspace_each_ = std::max(workspace_each_, of_tasks_ + static_cast<std::size_t>(s.bytes));
    workspace_memory_.reset(new char[workspace_each_ * static_cast<std::size_t>(threads_) + kLine]);
    workspace_ = aligned(workspace_memory_.get());
    bind();
}

Executor::Bytes Executor::bytes_of(int n) const {
    const auto [low, high] = span(program_.values[static_cast<std::size_t>(n)]);
    return {address(n) + low, address(n) + high};
}

// Lets multiplies end with the chains that read their results, block by block, where nothing in between minds. The
// product then never reaches memory if only its chain wants it.
void Executor::end_multiplies(const std::vector<int>& kept) {
    const ProgramSpec& p = program_;
    std::map<int, std::size_t> maker;             // product -> the multiply that makes it, of those before group j
    std::map<int, std::vector<Reading>> readings; // root -> who reads it
    for (std::size_t g = 0; g < p.groups.size(); ++g)
        for (const StepSpec& step : p.groups[g].steps)
            for (const int n : step.inputs) readings[p.values[static_cast<std::size_t>(n)].root].push_back({g, n});
    for (std::size_t j = 0; j < p.groups.size(); ++j) {
        const StepSpec& first = p.groups[j].steps.front();
        if (first.op == "matmul" && dynamic_cast<HostTask*>(tasks_[j].get()) == nullptr) maker[first.output] = j;
        auto* const chain = dynamic_cast<Chain*>(tasks_[j].get());
        if (chain == nullptr) continue;
        const std::ptrdiff_t total = elements(p.values[static_cast<std::size_t>(first.output)].shape);
        std::set<std::size_t, std::greater<>> multiplies; // whose products the chain reads, the latest first
        for (const StepSpec& step : p.groups[j].steps)
            for (const int n : step.inputs)
                if (const auto made = maker.find(p.values[static_cast<std::size_t>(n)].root); made != maker.end())
                    multiplies.insert(made->second);
        for (const std::size_t i : multiplies) {
            const int output = p.groups[i].steps.front().output;
            const ValueSpec& product = p.values[static_cast<std::size_t>(output)];
            if (product.root != output || product.state >= 0 || elements(product.shape) != total) continue;
            const Ending end = {chain, chain->operand_at({output, 0}), read_elsewhere(readings[output], j, output, kept), chain->nanoseconds(total)};
            if (end.operand < 0 || !may_run_at(i, j, output) || !tasks_[i]->end_with(end)) continue;
            chain->leave_out();
            break;
        }
    }
}

// Whether the chain of group j may run while group i makes its product: what lies between must not make what the chain
// reads, nor read or make what lies where it writes; and it must read the product only in its own order.
bool Executor::may_run_at(std::size_t i, std::size_t j, int product) const {
    const ProgramSpec& p = program_;
    const GroupSpec& group = p.groups[j];
    const std::ptrdiff_t total = elements(p.values[static_cast<std::size_t>(product)].shape);
    const auto apart = [](const Bytes& a, const Bytes& b) { return a.last <= b.first || b.last <= a.first; };
    std::vector<Bytes> reads, writes;
    for (const StepSpec& step : group.steps) {
        // updates of states stay where they are: long arrays go through the cache faster in one piece, and a later step
        // that refuses its input must find the states as they were
        if (p.values[static_cast<std::size_t>(step.output)].state >= 0) return false;
        for (const int n : step.inputs) {
            if (group.registers.count(n) > 0) continue;
            const ValueSpec& v = p.values[static_cast<std::size_t>(n)];
            if (v.root != product) reads.push_back(bytes_of(n));
            else if (!contiguous(v) || elements(v.shape) != total) return false;
        }
        if (group.registers.count(step.output) == 0) writes.push_back(bytes_of(step.output));
    }
    for (std::size_t t = i; t < j; ++t) {
        for (const StepSpec& step : p.groups[t].steps) {
            const auto in_memory = [&](int n) { return p.groups[t].registers.count(n) == 0; };
            for (const int n : step.inputs)
                for (const Bytes& w : writes)
                    if (in_memory(n) && !apart(bytes_of(n), w)) return false;
            if (!in_memory(step.output) || step.output == product) continue;
            const Bytes made = bytes_of(step.output);
            for (const Bytes& w : writes)
                if (!apart(made, w)) return false;
            for (const Bytes& r : reads)
                if (!apart(made, r)) return false;
        }
    }
    return true;
}

// Whether a product is read by anything but group j, or there through two values: a chain finds only one of its operands
// in a block.
bool Executor::read_elsewhere(const std::vector<Reading>& readings, std::size_t j, int product, const std::vector<int>& kept) const {
    const ProgramSpec& p = program_;
    const auto is = [&](int n) { return p.values[static_cast<std::size_t>(n)].root == product; };
    for (const Reading& reading : readings)
        if (reading.group != j || reading.value != readings.front().value) return true;
    const auto updated = [&](const std::pair<int, int>& u) { return is(u.second); };
    return std::any_of(p.outputs.begin(), p.outputs.end(), is) || std::any_of(kept.begin(), kept.end(), is) ||
           std::any_of(p.updates.begin(), p.updates.end(), updated);
}

void Executor::bind() {
    const Context now = context(calling_thread());
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

template <class T>
void gather_items(const char* from, const std::int64_t* ids, std::ptrdiff_t n, char* to) {
    constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(T)); // known here, so that this is a load and a store
    for (std::ptrdiff_t i = 0; i < n; ++i) std::memcpy(to + i * size, from + ids[i] * size, sizeof(T));
}

void gather(const char* from, std::ptrdiff_t bytes, const std::int64_t* ids, std::ptrdiff_t n, char* to) {
    if (bytes == 8) return gather_items<std::uint64_t>(from, ids, n, to);
    if (bytes == 4) return gather_items<std::uint32_t>(from, ids, n, to);
    if (bytes % 64 == 0 && bytes <= 1024) { // a call for each row would take longer than its copy
        for (std::ptrdiff_t i = 0; i < n; ++i, to += bytes)
            for (std::ptrdiff_t at = 0; at < bytes; at += 64) std::memcpy(to + at, from + ids[i] * bytes + at, 64);
        return;
    }
    for (std::ptrdiff_t i = 0; i < n; ++i, to += bytes) std::memcpy(to, from + ids[i] * bytes, static_cast<std::size_t>(bytes));
}

void Executor::read_rows(int k, char* rows, std::ptrdiff_t row_bytes, const std::int64_t* ids, std::ptrdiff_t n, Team& team) {
    const std::ptrdiff_t bytes = n * row_bytes;
    // calls of the host know the executor's own inputs only
    const bool called = std::any_of(calls_.begin(), calls_.end(), [](const Call& call) { return call != nullptr; });
    const auto item = size_of(program_.values[static_cast<std::size_t>(program_.inputs[static_cast<std::size_t>(k)])].dtype);
    if (bytes >= kReadInPlace && !called && reinterpret_cast<std::uintptr_t>(rows) % item == 0) {
        std::ptrdiff_t i = 1;
        while (i < n && ids[i] == ids[i - 1] + 1) ++i;
        if (i == n) return set_input(k, rows + ids[0] * row_bytes);
    }
    set_input(k, nullptr);
    char* const to = input(k);
    if (!team.worth(static_cast<double>(bytes) / kBytesPerNanosecond)) return gather(rows, row_bytes, ids, n, to);
    const int parts = static_cast<int>(std::min<std::ptrdiff_t>(n, 4 * team.size()));
    team.run(parts, [&](int part, int) {
        const std::ptrdiff_t first = n * part / parts, last = n * (part + 1) / parts;
        gather(rows, row_bytes, ids + first, last - first, to + first * row_bytes);
    });
}

char* Executor::address(int n) const {
    const Place p = place_of(program_, n);
    return bases_[static_cast<std::size_t>(p.root)] + p.offset;
}

void Executor::run(Team& team) {
    run_steps(context(team));
}

void Executor::run_steps(const Context& now) {
    auto pipeline = pipelines_.begin();
    for (std::size_t t = 0; t < tasks_.size();) {
        if (pipeline != pipelines_.end() && pipeline->first == t) {
            run_pipeline(*pipeline, tasks_, bases_.size(), of_tasks_, now);
            t = pipeline++->last;
        } else {
            tasks_[t++]->run(now);
        }
    }
}

void Executor::run_within(const Context& outer) {
    const Context now = {bases_.data(), outer.team, outer.workspace, outer.workspace_each};
    for (const auto& task : tasks_) {
        task->bind(now);
        task->run(now);
    }
}

void Executor::run_timed(int times, std::vector<double>& spent, Team& team) {
    using Clock = std::chrono::steady_clock;
    spent.resize(tasks_.size());
    const Context now = context(team);
    for (int i = 0; i < times; ++i) {
        auto last = Clock::now();
        auto pipeline = pipelines_.begin();
        for (std::size_t t = 0; t < tasks_.size(); ++t) {
            const std::size_t first = t;
            if (pipeline != pipelines_.end() && pipeline->first == t) { // its time counts as that of its first step
                run_pipeline(*pipeline, tasks_, bases_.size(), of_tasks_, now);
                t = pipeline++->last - 1;
            } else {
                tasks_[t]->run(now);
            }
            const auto next = Clock::now();
            spent[first] += std::chrono::duration<double, std::nano>(next - last).count();
            last = next;
        }
    }
}

} // namespace chainrule
