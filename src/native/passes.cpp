// Which instructions become passes.
#include <algorithm>
#include <optional>
#include <type_traits>

#include "instruction.hpp"

namespace chainrule {
namespace {

template <class T>
void call_pass(const Instruction& i, std::ptrdiff_t n) {
    vec<T>().pass(n, i.steps, i.count, i.at);
}

PassCode number(PassCode code) { return static_cast<PassCode>(static_cast<int>(code) + 1); }

// An operation as a step: with the running value on the left, and on the right, of its operand.
struct Step {
    PassCode left, right;
    bool alone; // no operand
};

template <class T>
std::optional<Step> step_of(const Instruction& i) {
    const VecKernels<T>& k = vec<T>();
    const auto is_unary = [&](Unary u) { return i.function == reinterpret_cast<Any>(k.unary[static_cast<int>(u)]); };
    const auto is_binary = [&](Binary b) { return i.function == reinterpret_cast<Any>(k.binary[static_cast<int>(b)]); };
    if (i.form == Form::unary) {
#define CHAINRULE_ALONE(name) \
    if (is_unary(Unary::name)) return Step{PassCode::name, PassCode::name, true};
        CHAINRULE_ALONE(negative)
        CHAINRULE_ALONE(square)
        CHAINRULE_ALONE(sqrt)
        CHAINRULE_ALONE(absolute)
        CHAINRULE_ALONE(reciprocal)
        CHAINRULE_ALONE(relu)
#undef CHAINRULE_ALONE
    }
    if (i.form == Form::binary) {
        if (is_binary(Binary::add)) return Step{PassCode::add, PassCode::add, false};
        if (is_binary(Binary::subtract)) return Step{PassCode::subtract, PassCode::subtract_from, false};
        if (is_binary(Binary::multiply)) return Step{PassCode::multiply, PassCode::multiply, false};
        if (is_binary(Binary::divide)) return Step{PassCode::divide, PassCode::divide_into, false};
    }
    if (i.form == Form::compare) { // and its cast: see `masks`
        const auto is = [&](Compare c) { return i.function == reinterpret_cast<Any>(k.compare[static_cast<int>(c)]); };
        if (is(Compare::greater)) return Step{PassCode::greater, PassCode::less, false};
        if (is(Compare::less)) return Step{PassCode::less, PassCode::greater, false};
    }
    return std::nullopt;
}

std::optional<Step> step_of(const Instruction& i) {
    if (i.dtype == DType::float32) return step_of<float>(i);
    if (i.dtype == DType::float64) return step_of<double>(i);
    return std::nullopt;
}

bool reads(const Instruction& i, int operand) { return std::find(i.in.begin(), i.in.end(), operand) != i.in.end(); }

// Whether an operand's content after instruction k is read by one after `from`, before it is written anew.
bool read_after(const std::vector<Instruction>& all, int operand, std::size_t from) {
    for (std::size_t t = from; t < all.size(); ++t) {
        if (reads(all[t], operand)) return true;
        if (all[t].out == operand) return false;
    }
    return false;
}

// A comparison whose result is only cast to the type of what was compared, as one instruction: 1 or 0.
std::vector<Instruction> masks(const std::vector<Instruction>& all, int registers) {
    std::vector<Instruction> out;
    for (std::size_t k = 0; k < all.size(); ++k) {
        const Instruction& i = all[k];
        const bool followed = i.form == Form::compare && i.out >= registers && k + 1 < all.size() && step_of(i).has_value() &&
                              all[k + 1].form == Form::cast && all[k + 1].dtype == i.dtype && all[k + 1].in[0] == i.out &&
                              (all[k + 1].out == i.out || !read_after(all, i.out, k + 2));
        out.push_back(i);
        if (!followed) continue;
        out.back().out = all[k + 1].out;
        out.back().count = 1; // not a plain comparison any more
        ++k;
    }
    return out;
}

bool takes(const Instruction& i) { return step_of(i).has_value() && (i.form != Form::compare || i.count > 0); }

// The steps of instructions first … last - 1.
Instruction pass_of(const std::vector<Instruction>& all, std::size_t first, std::size_t last, int registers,
                    std::vector<PassStep>& steps) {
    Instruction made = all[last - 1];
    made.form = Form::pass;
    made.function = nullptr;
    made.in = {-1, -1, -1};
    made.call = made.dtype == DType::float32 ? call_pass<float> : call_pass<double>;
    int running = -1; // which operand x holds
    for (std::size_t k = first; k < last; ++k) {
        const Instruction& i = all[k];
        const Step step = *step_of(i);
        const auto with = [&](PassCode code, std::size_t operand) {
            steps.push_back({i.by[operand] == 0 ? number(code) : code, i.in[operand]});
        };
        if (step.alone) {
            if (running != i.in[0]) with(PassCode::load, 0);
            steps.push_back({step.left, 0});
        } else if (running == i.in[0] && running == i.in[1] && step.left == PassCode::multiply) {
            steps.push_back({PassCode::square, 0});
        } else if (running == i.in[0]) {
            with(step.left, 1);
        } else if (running == i.in[1]) {
            with(step.right, 0);
        } else if (i.by[0] == 0) {
            with(PassCode::load, 1);
            with(step.right, 0);
        } else {
            with(PassCode::load, 0);
            with(step.left, 1);
        }
        running = i.out;
        // the next one takes the running value; whoever else reads it needs it in memory
        bool handed_on = false;
        if (k + 1 < last) {
            const Instruction& next = all[k + 1];
            const bool twice = next.in[0] == i.out && next.in[1] == i.out && step_of(next)->left != PassCode::multiply;
            handed_on = reads(next, i.out) && !twice;
        }
        const bool later = handed_on ? all[k + 1].out != i.out && read_after(all, i.out, k + 2) : read_after(all, i.out, k + 1);
        if (i.out < registers || later) steps.push_back({PassCode::store, i.out});
    }
    made.steps = steps.data();
    made.count = static_cast<int>(steps.size());
    return made;
}

} // namespace

std::vector<Instruction> in_passes(const std::vector<Instruction>& all, int registers, std::deque<std::vector<PassStep>>& steps) {
    const std::vector<Instruction> given = masks(all, registers);
    std::vector<Instruction> out;
    for (std::size_t first = 0; first < given.size();) {
        std::size_t last = first;
        while (last < given.size() && takes(given[last]) && given[last].dtype == given[first].dtype) ++last;
        const bool worth = last - first >= 2 || (last > first && given[first].form == Form::compare);
        if (worth) {
            out.push_back(pass_of(given, first, last, registers, steps.emplace_back()));
            first = last;
        } else {
            out.push_back(given[first++]);
        }
    }
    return out;
}

} // namespace chainrule
