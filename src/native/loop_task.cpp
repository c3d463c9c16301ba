// Loops: a program of one step that runs many times over slices of arrays, without a decision left to the host.
#include <cstring>

#include "loop_rows.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

constexpr std::size_t kLine = 64;

// numbers: how many steps, whether the last slice comes first, how many inputs are stacked; then for each part of the
// result: whether it is stacked, which output or state of the body it is, and where it begins in the result, in bytes.
class LoopTask final : public Task {
public:
    LoopTask(const ProgramSpec& p, const StepSpec& step) : out_(place_of(p, step.output)), body_(step.body) {
        const ProgramSpec& q = step.body->program;
        const auto& numbers = step.numbers;
        require(numbers.size() >= 3 && (numbers.size() - 3) % 3 == 0, "scan: the attributes have the wrong length");
        length_ = numbers[0], reverse_ = numbers[1] != 0;
        const std::int64_t stacked = numbers[2];
        require(length_ >= 0 && stacked >= 0 && static_cast<std::size_t>(stacked) <= q.inputs.size(), "scan: attributes out of range");
        require(step.inputs.size() == q.states.size() + q.inputs.size(), "scan: the body takes other inputs");
        for (std::size_t k = 0; k < step.inputs.size(); ++k) {
            const ValueSpec& given = value(p, step.inputs[k]);
            const bool carried = k < q.states.size(), sliced = !carried && k - q.states.size() < static_cast<std::size_t>(stacked);
            const ValueSpec& taken = value(q, carried ? q.states[k] : q.inputs[k - q.states.size()]);
            Extent shape = taken.shape;
            if (sliced) shape.insert(shape.begin(), length_);
            require(given.shape == shape && given.dtype == taken.dtype, "scan: an input does not fit the body");
            require(contiguous(given) || elements(shape) == 0, "scan: an input is not contiguous");
            const Slices one = {place_of(p, step.inputs[k]), carried ? q.states[k] : q.inputs[k - q.states.size()], bytes_of(taken), 0};
            (carried ? starts_ : sliced ? slices_ : constants_).push_back(one);
        }
        parts_of(p, step, q);
        for (const int n : q.states) {
            memory_.emplace_back(new char[static_cast<std::size_t>(bytes_of(value(q, n))) + kLine]);
            const auto at = reinterpret_cast<std::uintptr_t>(memory_.back().get());
            carries_.push_back(memory_.back().get() + (kLine - at % kLine) % kLine);
        }
        inner_ = std::make_unique<Executor>(q, step.body->constants, carries_, std::vector<Executor::Call>(q.groups.size()), 1);
        workspace_ = inner_->workspace();
    }

    std::size_t workspace() const override { return workspace_; }

    // Where a step computes each row from the same row of everything, each thread takes some rows through all steps, and
    // nobody waits for anybody in between.
    void share(int threads) override {
        const ProgramSpec& q = body_->program;
        const Rows rows = rows_of(q);
        // a product with one row is computed in another order
        if (rows.units < 2 * threads || results_.size() != q.outputs.size()) return;
        nanoseconds_ = static_cast<double>(length_) * rows.nanoseconds;
        for (auto* const some : {&slices_, &constants_})
            for (Slices& one : *some) one.unit = unit_bytes(q, rows, one.number);
        for (Part& part : results_) part.unit = unit_bytes(q, rows, part.number);
        for (int i = 0; i < threads; ++i) {
            const std::ptrdiff_t first = rows.units * i / threads, count = rows.units * (i + 1) / threads - first;
            std::vector<char*> carries = carries_, constants = body_->constants;
            for (std::size_t k = 0; k < carries.size(); ++k) carries[k] += first * unit_bytes(q, rows, q.states[k]);
            for (std::size_t n = 0; n < constants.size(); ++n)
                if (constants[n] != nullptr) constants[n] += first * unit_bytes(q, rows, static_cast<int>(n));
            shares_.push_back({first, std::make_unique<Executor>(some_rows(q, rows, count), constants, carries, std::vector<Executor::Call>(q.groups.size()), 1)});
            workspace_ = std::max(workspace_, shares_.back().executor->workspace());
        }
    }

    void run(const Context& c) override {
        for (std::size_t k = 0; k < starts_.size(); ++k)
            std::memcpy(carries_[k], c.at<char>(starts_[k].place), static_cast<std::size_t>(starts_[k].bytes));
        char* const out = c.at<char>(out_);
        if (static_cast<std::size_t>(c.team.size()) == shares_.size() && c.team.worth(nanoseconds_)) {
            c.team.run(static_cast<int>(shares_.size()), [&](int part, int member) {
                const Share& share = shares_[static_cast<std::size_t>(part)];
                run_steps({c.bases, alone_, c.own(member), c.workspace_each}, *share.executor, share.first);
            });
        } else {
            run_steps(c, *inner_, 0);
        }
        for (const Part& part : finals_)
            std::memcpy(out + part.offset, carries_[static_cast<std::size_t>(part.number)], static_cast<std::size_t>(part.bytes));
    }

private:
    struct Slices {
        Place place;
        int number; // of the body's value
        std::ptrdiff_t bytes, unit; // of a step, and from one row to the next if threads share rows
    };
    struct Part {
        int number; // of the body's value; of its state for what the carry is in the end
        std::ptrdiff_t offset, bytes, unit;
    };
    struct Share {
        std::ptrdiff_t first; // row
        std::unique_ptr<Executor> executor;
    };

    // All steps for the rows from `first` on that a body computes.
    void run_steps(const Context& c, Executor& body, std::ptrdiff_t first) {
        char* const out = c.at<char>(out_);
        for (const Slices& one : constants_) body.move(one.number, c.at<char>(one.place) + first * one.unit);
        for (std::int64_t i = 0; i < length_; ++i) {
            const std::ptrdiff_t t = reverse_ ? length_ - 1 - i : i;
            for (const Slices& one : slices_) body.move(one.number, c.at<char>(one.place) + t * one.bytes + first * one.unit);
            for (const Part& part : results_) body.move(part.number, out + part.offset + t * part.bytes + first * part.unit);
            body.run_within(c);
        }
    }

    static std::ptrdiff_t bytes_of(const ValueSpec& v) { return elements(v.shape) * item(v); }

    void parts_of(const ProgramSpec& p, const StepSpec& step, const ProgramSpec& q) {
        const ValueSpec& out = value(p, step.output);
        std::vector<bool> moved(q.values.size(), false);
        for (std::size_t at = 3; at < step.numbers.size(); at += 3) {
            const bool each = step.numbers[at] != 0;
            const std::int64_t which = step.numbers[at + 1], offset = step.numbers[at + 2];
            require(which >= 0 && static_cast<std::size_t>(which) < (each ? q.outputs.size() : q.states.size()), "scan: no such part");
            const int n = each ? q.outputs[static_cast<std::size_t>(which)] : q.states[static_cast<std::size_t>(which)];
            const ValueSpec& v = value(q, n);
            const std::ptrdiff_t bytes = bytes_of(v), all = each ? length_ : 1;
            require(v.dtype == out.dtype && offset >= 0 && offset % item(v) == 0 && (bytes == 0 || all <= bytes_of(out) / bytes) &&
                    offset <= bytes_of(out) - all * bytes, "scan: a part lies outside the result");
            if (!each) {
                finals_.push_back({static_cast<int>(which), offset, bytes, 0});
                continue;
            }
            require(v.storage == Storage::buffer && v.state < 0 && !moved[static_cast<std::size_t>(n)], "scan: an output is no buffer of its own");
            moved[static_cast<std::size_t>(n)] = true;
            results_.push_back({n, offset, bytes, 0});
        }
    }

    Place out_;
    std::shared_ptr<const Body> body_;
    std::vector<Share> shares_; // one for each thread, or none
    Team alone_{1};
    double nanoseconds_ = 0;
    std::size_t workspace_ = 0;
    std::int64_t length_ = 0;
    bool reverse_ = false;
    std::vector<Slices> starts_, slices_, constants_;
    std::vector<Part> results_, finals_;
    std::vector<std::unique_ptr<char[]>> memory_;
    std::vector<char*> carries_;
    std::unique_ptr<Executor> inner_;
};

} // namespace

std::unique_ptr<Task> loop_task(const ProgramSpec& p, const StepSpec& step) {
    if (!step.body) return nullptr;
    const ProgramSpec& q = step.body->program;
    for (const GroupSpec& group : q.groups)
        if (!has_kernel(q, group)) return nullptr;
    return std::make_unique<LoopTask>(p, step);
}

} // namespace chainrule
