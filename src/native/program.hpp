// A plan as the executor takes it: plain numbers, checked before anything runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace chainrule {

enum class DType : int { boolean, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, count };
enum class Storage : int { input, constant, state, buffer, view, passed, count };

std::size_t size_of(DType type);

using Extent = std::vector<std::ptrdiff_t>;

struct ValueSpec {
    Storage storage;
    DType dtype;
    int root;              // the value whose memory this one uses
    std::ptrdiff_t offset; // bytes: from the root's first element (views), or into the arena (buffers)
    Extent shape, strides; // strides in bytes
    int state;             // the state that a buffer is written into, or -1
};

struct Body;

struct StepSpec {
    std::string op;
    std::vector<int> inputs;
    int output;
    std::vector<std::int64_t> numbers;  // the operation's attributes, in an order of its own
    std::shared_ptr<const Body> body{}; // of a loop
};

// One step, or a chain of elementwise steps of one shape that runs tile by tile.
struct GroupSpec {
    bool fused;
    std::vector<StepSpec> steps;
    std::map<int, int> registers; // value -> register, for values that exist only inside
    std::vector<DType> register_types;
};

struct ProgramSpec {
    std::vector<ValueSpec> values;
    std::vector<GroupSpec> groups;
    std::vector<int> inputs, states, outputs;
    std::vector<std::pair<int, int>> updates; // (state, value): copied at the end unless written in place
    std::ptrdiff_t arena;
};

// What a loop runs in each step: a program whose states are the carry.
struct Body {
    ProgramSpec program;
    std::vector<char*> constants; // by value number
};

// What is wrong with a plan; nothing of it was run.
struct PlanError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

std::ptrdiff_t elements(const Extent& shape);
bool contiguous(const ValueSpec& value); // C-ordered, without gaps
// First and one past the last byte of a value's elements, from its first element.
std::pair<std::ptrdiff_t, std::ptrdiff_t> span(const ValueSpec& value);

// Throws PlanError unless every value lies within its memory and every step names values that are there.
void check(const ProgramSpec& program);

// Whether bytes of one value may be bytes of another; neither is in a register. Inputs and constants overlap nothing.
bool overlap(const ProgramSpec& program, int one, int other);
// Whether both have each element at the same place.
bool same_places(const ProgramSpec& program, int one, int other);

} // namespace chainrule
