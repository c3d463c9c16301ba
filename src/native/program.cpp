#include "program.hpp"

#include <limits>
#include <set>

namespace chainrule {
namespace {

void require(bool condition, const std::string& message) {
    if (!condition) throw PlanError(message);
}

std::string name(std::size_t value) { return "value " + std::to_string(value); }

constexpr std::ptrdiff_t kMostBytes = std::ptrdiff_t{1} << 40;
constexpr std::size_t kMostAxes = 32;

// Sizes in this range multiply and add without overflow.
void check_extent(const ValueSpec& v, const std::string& who) {
    require(v.shape.size() == v.strides.size() && v.shape.size() <= kMostAxes, who + " does not have one stride per axis");
    std::ptrdiff_t count = 1;
    for (std::size_t i = 0; i < v.shape.size(); ++i) {
        require(v.shape[i] >= 0 && v.shape[i] <= kMostBytes, who + " has a length out of range");
        require(v.strides[i] >= -kMostBytes && v.strides[i] <= kMostBytes, who + " has a stride out of range");
        const std::ptrdiff_t d = v.shape[i] > 1 ? v.shape[i] : 1;
        require(count <= kMostBytes / d, who + " is too large");
        count *= d;
        const std::ptrdiff_t s = v.strides[i] < 0 ? -v.strides[i] : v.strides[i];
        require(s == 0 || d <= kMostBytes / s, who + " spans too many bytes");
    }
    require(v.offset >= -kMostBytes && v.offset <= kMostBytes, who + " has an offset out of range");
}

void check_value(const ProgramSpec& p, std::size_t number) {
    const ValueSpec& v = p.values[number];
    const std::string who = name(number);
    require(v.storage >= Storage::input && v.storage < Storage::count, who + " has an unknown storage");
    require(v.dtype >= DType::boolean && v.dtype < DType::count, who + " has an unknown dtype");
    check_extent(v, who);
    require(v.root >= 0 && static_cast<std::size_t>(v.root) < p.values.size(), who + " has no root");
    const auto item = static_cast<std::ptrdiff_t>(size_of(v.dtype));
    for (std::size_t i = 0; i < v.strides.size(); ++i)
        require(v.strides[i] % item == 0 || v.shape[i] <= 1, who + " has a stride that is not a multiple of the element size");
    if (v.storage == Storage::view) {
        const ValueSpec& root = p.values[static_cast<std::size_t>(v.root)];
        require(root.storage != Storage::view && root.storage != Storage::passed, who + " is a view of a value without memory");
        require(root.dtype == v.dtype, who + " is a view with another dtype than its root");
        require(v.offset % item == 0, who + " has an offset that is not a multiple of the element size");
        if (elements(v.shape) == 0) return;
        check_extent(root, name(static_cast<std::size_t>(v.root)));
        const auto [low, high] = span(v);
        const auto [start, end] = span(root);
        require(v.offset + low >= start && v.offset + high <= end, who + " extends beyond its root");
        return;
    }
    require(static_cast<std::size_t>(v.root) == number, who + " is not a view, but has another value as root");
    require(contiguous(v) || elements(v.shape) == 0 || v.storage == Storage::constant, who + " is not contiguous");
    require(span(v).first == 0, who + " has elements before its first byte");
    require(v.state < 0 || v.storage == Storage::buffer, who + " is written into a state, but is not a buffer");
    if (v.storage == Storage::buffer && v.state >= 0) {
        require(static_cast<std::size_t>(v.state) < p.states.size(), who + " is written into a state that does not exist");
        const int state = p.states[static_cast<std::size_t>(v.state)];
        require(state >= 0 && static_cast<std::size_t>(state) < p.values.size(), "a state is not a value of the program");
        const ValueSpec& old = p.values[static_cast<std::size_t>(state)];
        require(old.shape == v.shape && old.dtype == v.dtype, who + " is written into a state of another shape or dtype");
    } else if (v.storage == Storage::buffer) {
        require(v.offset >= 0 && v.offset % 64 == 0 && v.offset + span(v).second <= p.arena,
                who + " lies outside the arena");
    }
}

// Where a value lies: which memory (states and roots by their number, the arena as -1), from which byte to which.
struct Bytes {
    int memory;
    std::ptrdiff_t start, low, high;
};

Bytes bytes_of(const ProgramSpec& p, int n) {
    const ValueSpec& v = p.values[static_cast<std::size_t>(n)];
    const ValueSpec& root = p.values[static_cast<std::size_t>(v.root)];
    const auto [low, high] = span(v);
    std::ptrdiff_t start = v.storage == Storage::view ? v.offset : 0;
    int memory = v.root;
    if (root.storage == Storage::buffer && root.state >= 0) memory = p.states[static_cast<std::size_t>(root.state)];
    if (root.storage == Storage::buffer && root.state < 0) {
        memory = -1;
        start += root.offset;
    }
    return {memory, start, start + low, start + high};
}

void check_group(const ProgramSpec& p, const GroupSpec& group) {
    const auto is_value = [&](int n) { return n >= 0 && static_cast<std::size_t>(n) < p.values.size(); };
    const auto value = [&](int n) -> const ValueSpec& { return p.values[static_cast<std::size_t>(n)]; };
    require(!group.steps.empty() && (group.fused || group.steps.size() == 1), "a group has the wrong number of steps");
    require(group.fused || group.registers.empty(), "a single step has registers");
    for (const auto& [n, r] : group.registers) {
        require(is_value(n) && r >= 0 && static_cast<std::size_t>(r) < group.register_types.size(), "a register number is out of range");
        require(value(n).storage == Storage::passed, "a value in a register has memory as well");
        require(value(n).dtype == group.register_types[static_cast<std::size_t>(r)], "a register has the wrong dtype");
    }
    std::map<int, int> holds; // register -> value
    bool writes = false;
    for (const StepSpec& step : group.steps) {
        for (const int n : step.inputs) {
            require(is_value(n), step.op + " reads a value that does not exist");
            if (value(n).storage != Storage::passed) continue;
            const auto r = group.registers.find(n);
            require(r != group.registers.end(), step.op + " reads a value without memory");
            const auto held = holds.find(r->second);
            require(held != holds.end() && held->second == n, step.op + " reads a register that holds another value");
        }
        require(is_value(step.output), step.op + " writes a value that does not exist");
        if (const auto r = group.registers.find(step.output); r != group.registers.end()) {
            holds[r->second] = step.output;
        } else {
            require(value(step.output).storage == Storage::buffer, step.op + " writes a value that is not a buffer");
            writes = true;
        }
    }
    require(writes, "a group computes nothing");
}

} // namespace

bool overlap(const ProgramSpec& p, int one, int other) {
    const Bytes a = bytes_of(p, one), b = bytes_of(p, other);
    return a.memory == b.memory && a.low < b.high && b.low < a.high;
}

bool same_places(const ProgramSpec& p, int one, int other) {
    const ValueSpec &v = p.values[static_cast<std::size_t>(one)], &w = p.values[static_cast<std::size_t>(other)];
    const Bytes a = bytes_of(p, one), b = bytes_of(p, other);
    if (a.memory != b.memory || a.start != b.start || v.shape != w.shape || size_of(v.dtype) != size_of(w.dtype)) return false;
    for (std::size_t i = 0; i < v.shape.size(); ++i)
        if (v.shape[i] > 1 && v.strides[i] != w.strides[i]) return false;
    return true;
}

std::size_t size_of(DType type) {
    switch (type) {
    case DType::boolean:
    case DType::int8:
    case DType::uint8: return 1;
    case DType::int16:
    case DType::uint16: return 2;
    case DType::int32:
    case DType::uint32:
    case DType::float32: return 4;
    default: return 8;
    }
}

std::ptrdiff_t elements(const Extent& shape) {
    std::ptrdiff_t n = 1;
    for (const std::ptrdiff_t d : shape) n *= d;
    return n;
}

bool contiguous(const ValueSpec& v) {
    auto step = static_cast<std::ptrdiff_t>(size_of(v.dtype));
    for (std::size_t i = v.shape.size(); i-- > 0;) {
        if (v.shape[i] != 1 && v.strides[i] != step) return false;
        step *= v.shape[i];
    }
    return true;
}

std::pair<std::ptrdiff_t, std::ptrdiff_t> span(const ValueSpec& v) {
    if (elements(v.shape) == 0) return {0, 0};
    std::ptrdiff_t low = 0, high = static_cast<std::ptrdiff_t>(size_of(v.dtype));
    for (std::size_t i = 0; i < v.shape.size(); ++i) {
        const std::ptrdiff_t reach = (v.shape[i] - 1) * v.strides[i];
        (reach < 0 ? low : high) += reach;
    }
    return {low, high};
}

void check(const ProgramSpec& p) {
    require(p.arena >= 0 && p.arena <= kMostBytes, "the arena's size is out of range");
    require(p.values.size() < static_cast<std::size_t>(std::numeric_limits<int>::max()), "too many values");
    const auto is_value = [&](int n) { return n >= 0 && static_cast<std::size_t>(n) < p.values.size(); };
    require(std::set<int>(p.states.begin(), p.states.end()).size() == p.states.size(), "a state is listed twice");
    require(std::set<int>(p.inputs.begin(), p.inputs.end()).size() == p.inputs.size(), "an input is listed twice");
    for (const int n : p.states)
        require(is_value(n) && p.values[static_cast<std::size_t>(n)].storage == Storage::state, "a listed state is not a state");
    for (const int n : p.inputs)
        require(is_value(n) && p.values[static_cast<std::size_t>(n)].storage == Storage::input, "a listed input is not an input");
    for (std::size_t i = 0; i < p.values.size(); ++i) check_value(p, i);
    const auto has_memory = [&](int n) {
        return is_value(n) && p.values[static_cast<std::size_t>(n)].storage != Storage::passed;
    };
    for (const int n : p.outputs) require(has_memory(n), "an output is not a value with memory");
    for (const auto& [state, n] : p.updates) {
        require(state >= 0 && static_cast<std::size_t>(state) < p.states.size() && has_memory(n), "an update is of a state or from a value that does not exist");
        const ValueSpec& old = p.values[static_cast<std::size_t>(p.states[static_cast<std::size_t>(state)])];
        const ValueSpec& now = p.values[static_cast<std::size_t>(n)];
        require(old.shape == now.shape && old.dtype == now.dtype, "an update does not have its state's shape and dtype");
    }
    for (const GroupSpec& group : p.groups) check_group(p, group);
}

} // namespace chainrule
