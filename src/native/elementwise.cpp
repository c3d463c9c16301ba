// Chains of elementwise operations as small register programs over tiles that stay in the cache.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "instruction.hpp"

namespace chainrule {
namespace {

constexpr std::ptrdiff_t kTile = 1024;          // elements: a register of doubles takes 8 KiB
constexpr double kThreadedElements = 60000;     // element operations from which a second thread pays
constexpr int kMostOperands = 96;               // operands and registers of one program

using Any = void (*)();

enum class Walk { whole, scalar, strided };

struct Operand {
    Place place;
    Walk walk;
    std::ptrdiff_t item;
    Extent strides; // bytes, over the collapsed axes; for strided walks
    int scratch = -1; // where a strided walk collects its elements
};

class Program final : public Task {
public:
    std::vector<Operand> operands;
    std::vector<Instruction> instructions;
    std::vector<std::ptrdiff_t> scratch; // offsets of registers and collected operands in the workspace
    std::size_t scratch_bytes = 0;
    Extent shape; // collapsed
    std::ptrdiff_t total = 0;
    std::ptrdiff_t tile = 0;

    std::size_t workspace() const override { return scratch_bytes; }

    void bind(const Context& c) override {
        if (total > tile) return;
        calls_.assign(instructions.begin(), instructions.end());
        place(c, 0, c.own(0), calls_.data());
    }

    void run(const Context& c) override {
        if (total <= tile) { // all in one go, and nothing to find out
            for (const Operand& o : operands)
                if (o.walk == Walk::strided) collect(o, c.at<char>(o.place), 0, total, c.own(0) + o.scratch);
            for (const Instruction& i : calls_) i.call(i, total);
            return;
        }
        const auto parts = static_cast<int>((total + tile - 1) / tile);
        if (c.team.size() > 1 && static_cast<double>(total) * static_cast<double>(instructions.size()) > kThreadedElements) {
            c.team.run(parts, [&](int part, int member) { run_tile(c, part * tile, c.own(member)); });
        } else {
            for (int part = 0; part < parts; ++part) run_tile(c, part * tile, c.own(0));
        }
    }

private:
    std::vector<Instruction> calls_; // of a single tile: its operands do not move from run to run

    void run_tile(const Context& c, std::ptrdiff_t first, char* own) const {
        const std::ptrdiff_t n = std::min(tile, total - first);
        for (const Operand& o : operands)
            if (o.walk == Walk::strided) collect(o, c.at<char>(o.place), first, n, own + o.scratch);
        std::array<char*, kMostOperands> at;
        addresses(c, first, own, at);
        for (Instruction i : instructions) {
            aim(i, at);
            i.call(i, n);
        }
    }

    // Where operands and registers lie for a tile.
    void addresses(const Context& c, std::ptrdiff_t first, char* own, std::array<char*, kMostOperands>& at) const {
        std::size_t k = 0;
        for (const Operand& o : operands) {
            char* const base = c.bases[o.place.root] + o.place.offset;
            at[k++] = o.walk == Walk::whole ? base + first * o.item : o.walk == Walk::scalar ? base : own + o.scratch;
        }
        for (const std::ptrdiff_t offset : scratch) at[k++] = own + offset;
    }

    static void aim(Instruction& i, const std::array<char*, kMostOperands>& at) {
        for (std::size_t k = 0; k < i.in.size(); ++k)
            if (i.in[k] >= 0) i.from[k] = at[static_cast<std::size_t>(i.in[k])];
        i.to = at[static_cast<std::size_t>(i.out)];
    }

    void place(const Context& c, std::ptrdiff_t first, char* own, Instruction* made) const {
        std::array<char*, kMostOperands> at;
        addresses(c, first, own, at);
        for (std::size_t i = 0; i < instructions.size(); ++i) aim(made[i], at);
    }

    // Copies elements first … first + n - 1 of a broadcast or strided operand side by side.
    void collect(const Operand& o, const char* base, std::ptrdiff_t first, std::ptrdiff_t n, char* to) const {
        const std::size_t axes = shape.size();
        if (axes == 2 && n == total) return collect_rows(o, base, to);
        std::array<std::ptrdiff_t, 32> index{};
        const char* from = base;
        std::ptrdiff_t rest = first;
        for (std::size_t a = axes; a-- > 0;) {
            index[a] = rest % shape[a];
            rest /= shape[a];
            from += index[a] * o.strides[a];
        }
        const std::ptrdiff_t inner = shape[axes - 1], by = o.strides[axes - 1];
        while (n > 0) {
            const std::ptrdiff_t run = std::min(n, inner - index[axes - 1]);
            copy_run(from, by, o.item, run, to);
            to += run * o.item;
            n -= run;
            from -= index[axes - 1] * by;
            index[axes - 1] = 0;
            for (std::size_t a = axes - 1; a-- > 0;) { // carry
                from += o.strides[a];
                if (++index[a] < shape[a]) break;
                from -= index[a] * o.strides[a];
                index[a] = 0;
            }
        }
    }

    void collect_rows(const Operand& o, const char* from, char* to) const {
        const std::ptrdiff_t rows = shape[0], columns = shape[1], down = o.strides[0], across = o.strides[1];
        const std::ptrdiff_t bytes = columns * o.item;
        if (down == 0) { // one row, copied twice as far each time
            copy_run(from, across, o.item, columns, to);
            for (std::ptrdiff_t done = 1; done < rows; done *= 2)
                std::memcpy(to + done * bytes, to, static_cast<std::size_t>(std::min(done, rows - done) * bytes));
        } else if (across == 0 && o.item == 4 && columns >= 4) {
            for (std::ptrdiff_t r = 0; r < rows; ++r, from += down, to += bytes) fill_row<std::uint32_t>(from, columns, to);
        } else if (across == 0 && o.item == 8 && columns >= 2) {
            for (std::ptrdiff_t r = 0; r < rows; ++r, from += down, to += bytes) fill_row<std::uint64_t>(from, columns, to);
        } else {
            for (std::ptrdiff_t r = 0; r < rows; ++r, from += down, to += bytes) copy_run(from, across, o.item, columns, to);
        }
    }

    // By 16 bytes, the last of them over what is written already.
    template <class T>
    static void fill_row(const char* from, std::ptrdiff_t n, char* to) {
        constexpr std::ptrdiff_t each = 16 / sizeof(T);
        std::array<T, static_cast<std::size_t>(each)> block;
        block.fill(*reinterpret_cast<const T*>(from));
        for (std::ptrdiff_t i = 0; i + each <= n; i += each) std::memcpy(to + i * static_cast<std::ptrdiff_t>(sizeof(T)), &block, 16);
        std::memcpy(to + n * static_cast<std::ptrdiff_t>(sizeof(T)) - 16, &block, 16);
    }

    template <class T>
    static void copy_items(const char* from, std::ptrdiff_t by, std::ptrdiff_t n, char* to) {
        T* out = reinterpret_cast<T*>(to);
        if (by == 0) {
            std::fill_n(out, n, *reinterpret_cast<const T*>(from));
            return;
        }
        for (std::ptrdiff_t i = 0; i < n; ++i, from += by) out[i] = *reinterpret_cast<const T*>(from);
    }

    static void copy_run(const char* from, std::ptrdiff_t by, std::ptrdiff_t item, std::ptrdiff_t n, char* to) {
        if (by == item) {
            std::memcpy(to, from, static_cast<std::size_t>(n * item));
        } else if (item == 4) {
            copy_items<std::uint32_t>(from, by, n, to);
        } else if (item == 8) {
            copy_items<std::uint64_t>(from, by, n, to);
        } else if (item == 1) {
            copy_items<std::uint8_t>(from, by, n, to);
        } else {
            copy_items<std::uint16_t>(from, by, n, to);
        }
    }
};

// Strides of a value against a broadcast shape: 0 along axes where it has one element.
Extent broadcast_strides(const ValueSpec& v, const Extent& shape) {
    if (v.shape.size() > shape.size()) throw PlanError("an operand has more axes than its step");
    Extent out(shape.size(), 0);
    const std::size_t lead = shape.size() - v.shape.size();
    for (std::size_t i = 0; i < v.shape.size(); ++i) {
        if (v.shape[i] != shape[lead + i] && v.shape[i] != 1) throw PlanError("an operand does not broadcast to its step");
        out[lead + i] = v.shape[i] == 1 ? 0 : v.strides[i];
    }
    return out;
}

// Joins neighbouring axes that every operand walks as one.
Extent collapse(const Extent& shape, std::vector<Extent>& strides) {
    Extent axes;
    std::vector<Extent> out(strides.size());
    for (std::size_t a = 0; a < shape.size(); ++a) {
        if (shape[a] == 1) continue;
        bool joins = !axes.empty();
        for (std::size_t k = 0; joins && k < strides.size(); ++k) joins = out[k].back() == strides[k][a] * shape[a];
        if (joins) {
            axes.back() *= shape[a];
            for (std::size_t k = 0; k < strides.size(); ++k) out[k].back() = strides[k][a];
        } else {
            axes.push_back(shape[a]);
            for (std::size_t k = 0; k < strides.size(); ++k) out[k].push_back(strides[k][a]);
        }
    }
    if (axes.empty()) {
        axes.push_back(1);
        for (Extent& s : out) s.push_back(0);
    }
    strides = out;
    return axes;
}

} // namespace

std::unique_ptr<Task> elementwise_task(const ProgramSpec& p, const GroupSpec& group) {
    std::vector<Instruction> instructions;
    for (const StepSpec& step : group.steps) {
        Instruction made = instruction_of(p, step);
        if (made.form == Form::fill) return nullptr;
        instructions.push_back(made);
    }
    const auto value = [&](int n) -> const ValueSpec& { return p.values[static_cast<std::size_t>(n)]; };
    const Extent& shape = value(group.steps.front().output).shape;
    auto program = std::make_unique<Program>();
    program->total = elements(shape);

    // operands in memory, in the order of their first use; then registers
    std::vector<int> numbers;
    std::map<int, int> slot;
    std::vector<bool> whole_only;
    for (std::size_t s = 0; s < group.steps.size(); ++s) {
        const StepSpec& step = group.steps[s];
        if (value(step.output).shape != shape) throw PlanError("a fused step has another shape than its group");
        std::vector<int> all = step.inputs;
        all.push_back(step.output);
        for (const int n : all) {
            if (group.registers.count(n) > 0) {
                if (value(n).shape != shape) throw PlanError("a register has another shape than its group");
                continue;
            }
            if (slot.emplace(n, static_cast<int>(numbers.size())).second) {
                numbers.push_back(n);
                whole_only.push_back(false);
            }
        }
        if (!takes_scalars(instructions[s].form))
            for (const int n : step.inputs)
                if (slot.count(n) > 0) whole_only[static_cast<std::size_t>(slot[n])] = true;
    }
    // tiles run in any order: what is written may be read only at the same place
    for (const StepSpec& step : group.steps) {
        if (group.registers.count(step.output) > 0) continue;
        for (const int n : numbers)
            if (n != step.output && overlap(p, n, step.output) && !same_places(p, n, step.output))
                throw PlanError("a fused step writes over what it reads elsewhere");
    }
    std::vector<Extent> strides;
    for (const int n : numbers) strides.push_back(broadcast_strides(value(n), shape));
    strides.push_back(Extent()); // the shape's own order: results lie in it
    {
        std::ptrdiff_t step = 1;
        Extent own(shape.size());
        for (std::size_t a = shape.size(); a-- > 0;) {
            own[a] = step;
            step *= shape[a];
        }
        strides.back() = own;
    }
    program->shape = collapse(shape, strides);
    const Extent order = strides.back();

    std::size_t bytes = 0;
    // a little more than a tile goes in one, too
    const std::ptrdiff_t most = program->total <= 3 * kTile ? 3 * kTile : kTile;
    const std::ptrdiff_t tile = std::min(most, std::max<std::ptrdiff_t>(program->total, 1));
    const auto reserve = [&](std::ptrdiff_t item) {
        const std::size_t at = bytes;
        bytes += (static_cast<std::size_t>(tile * item) + 63) / 64 * 64;
        return at;
    };
    for (std::size_t k = 0; k < numbers.size(); ++k) {
        const ValueSpec& v = value(numbers[k]);
        Operand o;
        o.place = place_of(p, numbers[k]);
        o.item = static_cast<std::ptrdiff_t>(size_of(v.dtype));
        o.strides = strides[k];
        bool whole = true, fixed = true;
        for (std::size_t a = 0; a < order.size(); ++a) {
            whole = whole && (o.strides[a] == order[a] * o.item || program->shape[a] == 1);
            fixed = fixed && o.strides[a] == 0;
        }
        o.walk = whole || program->total <= 1 ? Walk::whole : fixed && !whole_only[k] ? Walk::scalar : Walk::strided;
        if (o.walk == Walk::strided) o.scratch = static_cast<int>(reserve(o.item));
        program->operands.push_back(o);
    }
    for (const DType d : group.register_types)
        program->scratch.push_back(static_cast<std::ptrdiff_t>(reserve(static_cast<std::ptrdiff_t>(size_of(d)))));
    program->scratch_bytes = bytes;
    program->tile = tile;
    if (numbers.size() + group.register_types.size() > static_cast<std::size_t>(kMostOperands) || program->shape.size() > 32)
        return nullptr;
    for (std::size_t s = 0; s < group.steps.size(); ++s) {
        const StepSpec& step = group.steps[s];
        const auto index = [&](int n) {
            const auto r = group.registers.find(n);
            return r != group.registers.end() ? static_cast<int>(numbers.size()) + r->second : slot.at(n);
        };
        for (std::size_t i = 0; i < step.inputs.size(); ++i) {
            const int k = instructions[s].in[i] = index(step.inputs[i]);
            const auto o = static_cast<std::size_t>(k);
            instructions[s].by[i] = o < numbers.size() && program->operands[o].walk == Walk::scalar ? 0 : 1;
        }
        instructions[s].out = index(step.output);
        set_call(instructions[s]);
        const auto o = static_cast<std::size_t>(instructions[s].out);
        if (o < program->operands.size() && program->operands[o].walk != Walk::whole)
            throw PlanError("a result is not contiguous");
    }
    program->instructions = joined(instructions, static_cast<int>(numbers.size()));
    return program;
}

} // namespace chainrule
