// Runs a plan: memory once, then steps without a decision left to make.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "program.hpp"
#include "team.hpp"

namespace chainrule {

// Where an operand lies: bases[root] + offset. Roots may move from run to run (inputs), offsets never do.
struct Place {
    int root = -1;
    std::ptrdiff_t offset = 0;
};

struct Context {
    char* const* bases;
    Team& team;
    char* workspace;           // `workspace_each` bytes for every member of the team
    std::size_t workspace_each;

    template <class T>
    T* at(Place p) const {
        return reinterpret_cast<T*>(bases[p.root] + p.offset);
    }
    char* own(int member) const { return workspace + static_cast<std::size_t>(member) * workspace_each; }
};

// A prepared step. `run` allocates nothing; it may throw std::runtime_error for values that it cannot use.
class Task {
public:
    virtual ~Task() = default;
    virtual void run(const Context& context) = 0;
    // Called before the first run and whenever a root or the workspace has moved.
    virtual void bind(const Context&) {}
    virtual std::size_t workspace() const { return 0; } // bytes, for each member
};

// Each returns nullptr for what it does not do, and throws PlanError for shapes that don't go together.
std::unique_ptr<Task> elementwise_task(const ProgramSpec& program, const GroupSpec& group);
std::unique_ptr<Task> other_task(const ProgramSpec& program, const StepSpec& step);
std::unique_ptr<Task> update_task(const ProgramSpec& program, int from, int to); // copies a value into a state

Place place_of(const ProgramSpec& program, int value);

// Whether the executor has a kernel of its own for this step (of a plan that passes `check`).
bool has_kernel(const ProgramSpec& program, const GroupSpec& group);

class Executor {
public:
    using Call = std::function<void()>;

    // `constants` and `states` by value number and by state; their memory must outlive the executor. `calls`: for the
    // groups without a kernel here, what to do instead.
    Executor(ProgramSpec program, std::vector<char*> constants, std::vector<char*> states,
             std::vector<Call> calls, int threads);

    void run();
    // Where value n lies now.
    char* address(int n) const;
    const ProgramSpec& program() const { return program_; }
    char* input(int k) const { return own_inputs_[static_cast<std::size_t>(k)]; }
    // Read input k at `memory` from now on; nullptr: in the executor's own.
    void set_input(int k, char* memory);
    void resize(int threads);
    // What all buffers and the executor's own inputs lie in.
    std::shared_ptr<char> memory() const { return memory_; }

private:
    Context context() { return {bases_.data(), team_, workspace_, workspace_each_}; }
    void bind();

    ProgramSpec program_;
    std::shared_ptr<char> memory_;
    std::unique_ptr<char[]> workspace_memory_;
    std::vector<char*> bases_, own_inputs_;
    std::vector<std::unique_ptr<Task>> tasks_;
    std::vector<Call> calls_;
    char* workspace_ = nullptr;
    std::size_t workspace_each_ = 0;
    Team team_;
};

} // namespace chainrule
