#include "loop_rows.hpp"

#include <algorithm>

#include "tasks.hpp"

namespace chainrule {
namespace {

constexpr std::ptrdiff_t kInOnePiece = 512; // a multiply's k, up to which its sums are never cut
constexpr double kFlopsPerNanosecond = 60;

enum class Use { unknown, cut, whole };

bool has_units(const ValueSpec& v, std::ptrdiff_t units) { return !v.shape.empty() && v.shape[0] > 0 && v.shape[0] % units == 0; }

std::ptrdiff_t step_of(const ValueSpec& v, std::ptrdiff_t units) { return v.shape[0] / units * v.strides[0]; }

// How a step needs an operand for some rows of its result; unknown where it needs other rows as well.
Use use_of(const ProgramSpec& p, const StepSpec& step, std::size_t k, bool chain) {
    const ValueSpec &x = value(p, step.inputs[k]), &out = value(p, step.output);
    if (out.shape.empty()) return Use::unknown;
    const bool along = x.shape.size() == out.shape.size() && x.shape[0] == out.shape[0];
    if (chain) return along ? Use::cut : Use::whole;
    if (step.op == "matmul") {
        // rows are the same for any number of them, from two, where the sum over k goes in one piece
        if (x.shape.size() != 2 || out.shape.size() != 2 || value(p, step.inputs[0]).shape[1] > kInOnePiece || out.shape[1] < 2) return Use::unknown;
        return k == 0 ? Use::cut : Use::whole;
    }
    const bool other_axes = std::count(step.numbers.begin(), step.numbers.end(), 0) == 0;
    if (step.op == "concatenate") return other_axes && along ? Use::cut : Use::unknown;
    if (step.op == "sum" || step.op == "max" || step.op == "min") return other_axes && !x.shape.empty() && x.shape[0] == out.shape[0] ? Use::cut : Use::unknown;
    return Use::unknown;
}

class Cutter {
public:
    Cutter(const ProgramSpec& p, std::ptrdiff_t units) : p_(p), units_(units), uses_(p.values.size(), Use::unknown) {}

    bool all() {
        for (const int n : p_.states)
            if (!make(n)) return false;
        for (const GroupSpec& group : p_.groups)
            for (const StepSpec& step : group.steps)
                if (!make(step.output)) return false;
        for (const GroupSpec& group : p_.groups) {
            const bool chain = elementwise_task(p_, group) != nullptr;
            for (const StepSpec& step : group.steps)
                for (std::size_t k = 0; k < step.inputs.size(); ++k)
                    if (!read(step.inputs[k], use_of(p_, step, k, chain))) return false;
        }
        return std::all_of(p_.updates.begin(), p_.updates.end(), [&](const auto& update) { return read(update.second, Use::cut); });
    }
    bool cut(int n) const { return uses_[static_cast<std::size_t>(value(p_, n).root)] == Use::cut; }

private:
    bool make(int n) {
        uses_[static_cast<std::size_t>(n)] = Use::cut;
        return has_units(value(p_, n), units_);
    }

    // All of a root is cut, or nothing.
    bool read(int n, Use use) {
        Use& known = uses_[static_cast<std::size_t>(value(p_, n).root)];
        if (use == Use::unknown || (known != Use::unknown && known != use)) return false;
        known = use;
        return use == Use::whole || within_its_unit(n);
    }

    bool within_its_unit(int n) const {
        const ValueSpec &v = value(p_, n), &root = value(p_, v.root);
        if (!has_units(v, units_) || !has_units(root, units_)) return false;
        if (v.root == n) return true;
        const std::ptrdiff_t step = step_of(root, units_), rest = (units_ - 1) * step;
        const auto [low, high] = span(v);
        return step_of(v, units_) == step && v.offset + low >= 0 && v.offset + high - rest <= step;
    }

    const ProgramSpec& p_;
    std::ptrdiff_t units_;
    std::vector<Use> uses_;
};

} // namespace

Rows rows_of(const ProgramSpec& p) {
    Rows rows;
    std::ptrdiff_t units = 0;
    for (const int n : p.states) {
        if (value(p, n).shape.empty()) return {};
        units = units == 0 ? value(p, n).shape[0] : std::min(units, value(p, n).shape[0]);
    }
    Cutter cutter(p, units);
    if (units < 2 || !cutter.all()) return {};
    rows.units = units;
    for (std::size_t n = 0; n < p.values.size(); ++n) rows.cut.push_back(cutter.cut(static_cast<int>(n)));
    for (const GroupSpec& group : p.groups)
        for (const StepSpec& step : group.steps) {
            const auto count = static_cast<double>(elements(value(p, step.output).shape));
            rows.nanoseconds += kElement * count;
            if (step.op == "matmul") rows.nanoseconds += 2 * count * static_cast<double>(value(p, step.inputs[0]).shape.back()) / kFlopsPerNanosecond;
        }
    return rows;
}

std::ptrdiff_t unit_bytes(const ProgramSpec& p, const Rows& rows, int n) {
    return rows.cut[static_cast<std::size_t>(n)] ? step_of(value(p, n), rows.units) : 0;
}

ProgramSpec some_rows(const ProgramSpec& p, const Rows& rows, std::ptrdiff_t count) {
    ProgramSpec some = p;
    for (std::size_t n = 0; n < some.values.size(); ++n)
        if (rows.cut[n]) some.values[n].shape[0] = some.values[n].shape[0] / rows.units * count;
    return some;
}

} // namespace chainrule
