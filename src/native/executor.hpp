// Runs a plan: memory once, then steps without a decision left to make.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "program.hpp"
#include "teams.hpp"

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

class Chain;

// A chain that ends a multiply: each block is worked on while it is in the cache. The chain reads the product, all of
// it, as operand `operand`. `whole`: others read the product, too.
struct Ending {
    Chain* chain = nullptr;
    int operand = 0;
    bool whole = true;
    double nanoseconds = 0; // that the chain will take on one thread
};

// How a step can be done for some of its examples, the first axis of what it reads and makes.
struct Division {
    std::ptrdiff_t examples = 0;  // 0: it cannot
    std::ptrdiff_t together = 1;  // ranges of examples begin at multiples of that
    double nanoseconds = 0;       // that all of them take on one thread, about
    std::size_t inputs = 0;       // so many of the inputs have the examples in front; the others are read whole
    bool gathers = false;         // the result is not by example, and there after `finish`
};

// A prepared step. `run` allocates nothing; it may throw std::runtime_error for values that it cannot use.
class Task {
public:
    virtual ~Task() = default;
    virtual void run(const Context& context) = 0;
    // Called before the first run and whenever a root has moved.
    virtual void bind(const Context&) {}
    virtual std::size_t workspace() const { return 0; } // bytes, for each member
    // Makes ready for sharing its work out to so many threads in a way of its own.
    virtual void share(int) {}
    // Ends with a chain from now on; false where that is not possible or not worth it.
    virtual bool end_with(const Ending&) { return false; }
    // What `run` does, in parts: `start`, `run_some` for ranges of examples in any order, with memory `own`, and `finish`.
    // It gives the same bits.
    virtual Division division() const { return {}; }
    virtual void start(const Context&) {}
    virtual void run_some(const Context&, std::ptrdiff_t, std::ptrdiff_t, char*) {}
    virtual void finish(const Context&) {}
};

// Elementwise steps, which can be run on a part of their elements.
class Chain : public Task {
public:
    // The number of the operand that is this place and is read in the order of the results, or -1.
    virtual int operand_at(Place place) const = 0;
    // Elements first … first + n - 1, with operand number `operand` read at `memory` and bytes `own` for registers.
    virtual void run_part(const Context& context, std::ptrdiff_t first, std::ptrdiff_t n, int operand, const char* memory,
                          char* own) const = 0;
    // About how long so many elements take on one thread.
    virtual double nanoseconds(std::ptrdiff_t n) const = 0;
    // Leaves everything to run_part.
    virtual void leave_out() = 0;
};

// Each returns nullptr for what it does not do, and throws PlanError for shapes that don't go together.
std::unique_ptr<Chain> elementwise_task(const ProgramSpec& program, const GroupSpec& group);
std::unique_ptr<Task> other_task(const ProgramSpec& program, const StepSpec& step);
std::unique_ptr<Task> update_task(const ProgramSpec& program, int from, int to); // copies a value into a state

Place place_of(const ProgramSpec& program, int value);

// Whether the executor has a kernel of its own for this step (of a plan that passes `check`).
bool has_kernel(const ProgramSpec& program, const GroupSpec& group);

// Steps that follow each other, done one after the other for some examples at a time, so that what they pass on stays in
// the cache. What only they read has memory for so many examples only, in the workspace of each thread.
struct Pipeline {
    struct Inside {
        int root;
        std::ptrdiff_t each, offset; // bytes of an example; where it begins
    };
    std::size_t first, last; // steps first … last - 1
    std::ptrdiff_t examples, together;
    std::ptrdiff_t each; // bytes of an example that the steps read and make
    double nanoseconds;
    std::vector<Inside> inside;
    std::ptrdiff_t bytes; // of the workspace, after what the steps need themselves
    std::ptrdiff_t chunk = 1, bases = 0; // examples at a time; where the bases of its values are
};

// Lets a buffer lie in memory of its own, and returns that.
using Elsewhere = std::function<char*(int)>;

// The pipelines of a program. `addresses`: where each value lies; `kept`: values that are read after a run. What would
// overwrite, for some examples, what others still need is put elsewhere.
std::vector<Pipeline> find_pipelines(const ProgramSpec& program, const std::vector<std::unique_ptr<Task>>& tasks,
                                     const std::vector<char*>& addresses, const std::vector<int>& kept, const Elsewhere& elsewhere);
// `after`: bytes of the workspace that the steps need themselves.
void run_pipeline(const Pipeline& pipeline, const std::vector<std::unique_ptr<Task>>& tasks, std::size_t values, std::size_t after,
                  const Context& context);

class Executor {
public:
    using Call = std::function<void()>;

    // `constants` and `states` by value number and by state; their memory must outlive the executor. `calls`: for the
    // groups without a kernel here, what to do instead. `kept`: values that are read after a run, besides the outputs.
    Executor(ProgramSpec program, std::vector<char*> constants, std::vector<char*> states,
             std::vector<Call> calls, int threads, const std::vector<int>& kept = {});

    // The most members that a team of this executor may have.
    int threads() const { return threads_; }
    void run(Team& team);
    // Runs as a part of another program, on its team and workspace, which has room for `workspace()`.
    void run_within(const Context& outer);
    std::size_t workspace() const { return workspace_each_; }
    // Lets value n, an input or a buffer, lie at `memory` in the runs within another program.
    void move(int n, char* memory) { bases_[static_cast<std::size_t>(n)] = memory; }
    // Runs `times` times; adds the nanoseconds of each group, and of copies into states at the end, to `spent`.
    void run_timed(int times, std::vector<double>& spent, Team& team);
    // Where value n lies now.
    char* address(int n) const;
    const ProgramSpec& program() const { return program_; }
    char* input(int k) const { return own_inputs_[static_cast<std::size_t>(k)]; }
    // Read input k at `memory` from now on; nullptr: in the executor's own.
    void set_input(int k, char* memory);
    // Puts rows ids[0 … n - 1] of `rows` into input k: copies of them, or, where they stand one after the other and are
    // large, the rows themselves, which then have to stay until the next run is over.
    void read_rows(int k, char* rows, std::ptrdiff_t row_bytes, const std::int64_t* ids, std::ptrdiff_t n, Team& team);
    // What all buffers and the executor's own inputs lie in.
    std::shared_ptr<char> memory() const { return memory_; }

private:
    struct Bytes {
        const char *first, *last;
    };
    struct Reading {
        std::size_t group;
        int value;
    };

    void run_steps(const Context& now);
    void end_multiplies(const std::vector<int>& kept);
    bool may_run_at(std::size_t i, std::size_t j, int product) const;
    bool read_elsewhere(const std::vector<Reading>& readings, std::size_t j, int product, const std::vector<int>& kept) const;
    Bytes bytes_of(int n) const;
    Context context(Team& team) { return {bases_.data(), team, workspace_, workspace_each_}; }
    void bind();

    ProgramSpec program_;
    std::shared_ptr<char> memory_;
    std::unique_ptr<char[]> workspace_memory_;
    std::vector<std::unique_ptr<char[]>> apart_; // buffers that are not in `memory_`
    std::vector<char*> bases_, own_inputs_;
    std::vector<std::unique_ptr<Task>> tasks_;
    std::vector<Pipeline> pipelines_; // in order
    std::vector<Call> calls_;
    char* workspace_ = nullptr;
    std::size_t workspace_each_ = 0, of_tasks_ = 0; // of_tasks_: the part of it that tasks use themselves
    int threads_;
};

} // namespace chainrule
