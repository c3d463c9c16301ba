// Chains of elementwise operations as small register programs over tiles that stay in the cache.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "instruction.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

constexpr std::ptrdiff_t kTile = 1024;          // elements: a register of doubles takes 8 KiB
// Nanoseconds an element of 4 bytes, about: for steps of passes, plain operations, and functions.
constexpr double kPassStep = 0.03, kPlain = 0.06, kFunction = 0.5;
constexpr std::ptrdiff_t kLongRow = 128;        // elements from which a row is computed by itself, where rows have numbers of their own
constexpr int kMostOperands = 96;               // operands and registers of one program

enum class Walk { whole, scalar, row, strided }; // row: one number for each row, the last axis

bool steps_by_zero(Walk walk) { return walk == Walk::scalar || walk == Walk::row; }

struct Operand {
    Place place;
    Walk walk;
    std::ptrdiff_t item;
    Extent strides; // bytes, over the collapsed axes; for strided walks
    int scratch = -1; // where a strided walk collects its elements
    bool rows_alike = false; // a strided walk along one row, the same for all rows
};

class Program final : public Chain {
public:
    std::vector<Operand> operands;
    std::vector<Instruction> instructions;
    std::deque<std::vector<PassStep>> steps; // of the passes among them
    std::vector<std::ptrdiff_t> scratch; // offsets of registers and collected operands in the workspace
    std::size_t scratch_bytes = 0;
    Extent shape; // collapsed
    std::ptrdiff_t total = 0;
    std::ptrdiff_t tile = 0;
    std::ptrdiff_t examples = 0; // the first axis
    bool by_rows = false;        // some operands are one number for each row

    std::size_t workspace() const override { return scratch_bytes; }

    void bind(const Context& c) override {
        if (total > tile || left_out_) return;
        calls_.assign(instructions.begin(), instructions.end());
        addresses(c, 0, c.own(0), at_);
        for (Instruction& i : calls_) aim(i, at_);
    }

    void run(const Context& c) override {
        if (left_out_ || total == 0) return;
        if (total <= tile) { // all in one go, and nothing to find out
            for (const Operand& o : operands)
                if (o.walk == Walk::strided) collect(o, c.at<char>(o.place), 0, total, c.own(0) + o.scratch);
            for (const Instruction& i : calls_) i.call(i, total);
            return;
        }
        const auto parts = static_cast<int>((total + tile - 1) / tile);
        if (c.team.worth(nanoseconds(total))) {
            c.team.run(parts, [&](int part, int member) { run_tile(c, part * tile, tile, c.own(member)); });
        } else {
            for (int part = 0; part < parts; ++part) run_tile(c, part * tile, tile, c.own(0), part > 0);
        }
    }

    double nanoseconds(std::ptrdiff_t n) const override {
        double each = 0;
        for (const Instruction& i : instructions)
            each += (i.form == Form::pass ? kPassStep * i.count : i.form == Form::unary ? kFunction : kPlain) * (i.dtype == DType::float32 ? 1 : 2);
        return each * static_cast<double>(n);
    }

    int operand_at(Place place) const override {
        for (std::size_t k = 0; k < operands.size(); ++k)
            if (operands[k].walk == Walk::whole && operands[k].place.root == place.root && operands[k].place.offset == place.offset)
                return static_cast<int>(k);
        return -1;
    }

    void run_part(const Context& c, std::ptrdiff_t first, std::ptrdiff_t n, int operand, const char* memory, char* own) const override {
        const std::ptrdiff_t item = operands[static_cast<std::size_t>(operand)].item;
        for (std::ptrdiff_t at = 0; at < n; at += tile, memory += tile * item)
            run_tile(c, first + at, std::min(tile, n - at), own, at > 0, operand, memory);
    }

    void leave_out() override { left_out_ = true; }

    Division division() const override {
        if (left_out_ || examples == 0 || total == 0) return {};
        return {examples, 1, nanoseconds(total), 0, false};
    }
    void run_some(const Context& c, std::ptrdiff_t first, std::ptrdiff_t last, char* own) override {
        const std::ptrdiff_t each = total / examples, start = first * each, end = last * each;
        for (std::ptrdiff_t at = start; at < end; at += tile) run_tile(c, at, std::min(tile, end - at), own, at > start);
    }

private:
    std::array<char*, kMostOperands> at_{};
    std::vector<Instruction> calls_; // of a single tile: its operands do not move from run to run
    bool left_out_ = false;          // something else runs it

    // `again`: after the tile before, with the same memory `own`.
    void run_tile(const Context& c, std::ptrdiff_t first, std::ptrdiff_t most, char* own, bool again = false, int operand = -1,
                  const char* memory = nullptr) const {
        const std::ptrdiff_t n = std::min(most, total - first);
        std::array<char*, kMostOperands> at;
        addresses(c, first, own, at);
        for (std::size_t k = 0; k < operands.size(); ++k) {
            const Operand& o = operands[k];
            char* const base = c.at<char>(o.place);
            if (o.walk != Walk::strided) continue;
            const std::ptrdiff_t column = first % shape.back();
            if (o.rows_alike && column + n <= shape.back()) at[k] = base + column * o.item; // as it lies
            else if (!again || !o.rows_alike || tile % shape.back() != 0) collect(o, base, first, n, at[k]); // else it is there
        }
        if (operand >= 0) at[static_cast<std::size_t>(operand)] = const_cast<char*>(memory); // which is only read
        if (by_rows) run_rows(first, n, at);
        else run_all(n, at);
    }

    void run_all(std::ptrdiff_t n, const std::array<char*, kMostOperands>& at) const {
        for (Instruction i : instructions) {
            aim(i, at);
            i.call(i, n);
        }
    }

    // Row by row, each with numbers of its own.
    void run_rows(std::ptrdiff_t first, std::ptrdiff_t n, std::array<char*, kMostOperands>& at) const {
        const std::size_t outer = shape.size() - 1;
        std::array<std::ptrdiff_t, 32> index{};
        std::ptrdiff_t column = first % shape[outer], row = first / shape[outer];
        for (std::size_t a = outer; a-- > 0; row /= shape[a]) {
            index[a] = row % shape[a];
            for (std::size_t k = 0; k < operands.size(); ++k)
                if (operands[k].walk == Walk::row) at[k] += index[a] * operands[k].strides[a];
        }
        for (std::ptrdiff_t some = 0;; column = 0) {
            some = std::min(shape[outer] - column, n);
            run_all(some, at);
            if ((n -= some) == 0) return;
            std::size_t carried = outer - 1; // the axes after it begin anew
            for (; ++index[carried] == shape[carried]; --carried) index[carried] = 0;
            for (std::size_t k = 0; k < operands.size(); ++k) {
                const Operand& o = operands[k];
                if (o.walk == Walk::whole || o.walk == Walk::strided) at[k] += some * o.item;
                if (o.walk != Walk::row) continue;
                for (std::size_t a = carried + 1; a < outer; ++a) at[k] -= (shape[a] - 1) * o.strides[a];
                at[k] += o.strides[carried];
            }
        }
    }

    // Where operands and registers lie for a tile.
    void addresses(const Context& c, std::ptrdiff_t first, char* own, std::array<char*, kMostOperands>& at) const {
        std::size_t k = 0;
        for (const Operand& o : operands) {
            char* const base = c.bases[o.place.root] + o.place.offset;
            at[k++] = o.walk == Walk::whole ? base + first * o.item : steps_by_zero(o.walk) ? base : own + o.scratch;
        }
        for (const std::ptrdiff_t offset : scratch) at[k++] = own + offset;
    }

    static void aim(Instruction& i, const std::array<char*, kMostOperands>& at) {
        for (std::size_t k = 0; k < i.in.size(); ++k)
            if (i.in[k] >= 0) i.from[k] = at[static_cast<std::size_t>(i.in[k])];
        i.to = at[static_cast<std::size_t>(i.out)];
        i.at = at.data();
    }

    // Copies elements first … first + n - 1 of a broadcast or strided operand side by side.
    void collect(const Operand& o, const char* base, std::ptrdiff_t first, std::ptrdiff_t n, char* to) const {
        const std::size_t axes = shape.size();
        if (axes == 2 && first % shape[1] == 0) {
            const std::ptrdiff_t rows = n / shape[1];
            const char* const at = base + first / shape[1] * o.strides[0];
            collect_rows(o, at, rows, to);
            if (n > rows * shape[1]) copy_run(at + rows * o.strides[0], o.strides[1], o.item, n - rows * shape[1], to + rows * shape[1] * o.item);
            return;
        }
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

    void collect_rows(const Operand& o, const char* from, std::ptrdiff_t rows, char* to) const {
        const std::ptrdiff_t columns = shape[1], down = o.strides[0], across = o.strides[1];
        const std::ptrdiff_t bytes = columns * o.item;
        if (rows == 0) return;
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

} // namespace

std::unique_ptr<Chain> elementwise_task(const ProgramSpec& p, const GroupSpec& group) {
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
    program->examples = shape.size() > 1 ? shape[0] : 0;

    // operands in memory, in the order of their first use; then registers
    std::vector<int> numbers;
    std::map<int, int> slot;
    std::vector<bool> whole_only;
    for (std::size_t s = 0; s < group.steps.size(); ++s) {
        const StepSpec& step = group.steps[s];
        if (value(step.output).shape != shape) throw PlanError("a fused step does not have its group's shape");
        std::vector<int> all = step.inputs;
        all.push_back(step.output);
        for (const int n : all) {
            if (group.registers.count(n) > 0) {
                if (value(n).shape != shape) throw PlanError("a register does not have its group's shape");
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
                throw PlanError("a fused step overwrites memory that it reads at another place");
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
    program->shape = shape;
    std::vector<Extent*> walks;
    for (Extent& s : strides) walks.push_back(&s);
    join_axes(program->shape, walks);
    if (program->shape.empty()) { // one element: an axis of length 1
        program->shape = {1};
        for (Extent& s : strides) s = {0};
    }
    const Extent order = strides.back();

    std::size_t bytes = 0;
    // a little more than a tile goes in one, too
    std::ptrdiff_t most = program->total <= 3 * kTile ? 3 * kTile : kTile;
    // whole rows, which are easier to collect
    const bool rows = program->shape.size() > 1 && program->shape.back() <= kTile && program->total > 0, long_rows = rows && program->shape.back() >= kLongRow;
    if (rows) most = most / program->shape.back() * program->shape.back();
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
        const bool by_row = !whole_only[k] && long_rows && program->total > tile && o.strides.back() == 0;
        o.walk = whole || program->total <= 1 ? Walk::whole : fixed && !whole_only[k] ? Walk::scalar : by_row ? Walk::row : Walk::strided;
        program->by_rows = program->by_rows || o.walk == Walk::row;
        if (o.walk == Walk::strided) {
            o.scratch = static_cast<int>(reserve(o.item));
            const bool along = o.strides.back() == o.item;
            o.rows_alike = along && std::all_of(o.strides.begin(), o.strides.end() - 1, [](std::ptrdiff_t by) { return by == 0; });
        }
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
            instructions[s].by[i] = o < numbers.size() && steps_by_zero(program->operands[o].walk) ? 0 : 1;
        }
        instructions[s].out = index(step.output);
        set_call(instructions[s]);
        const auto o = static_cast<std::size_t>(instructions[s].out);
        if (o < program->operands.size() && program->operands[o].walk != Walk::whole)
            throw PlanError("a result is not contiguous");
    }
    program->instructions = in_passes(instructions, static_cast<int>(numbers.size()), program->steps);
    return program;
}

} // namespace chainrule
