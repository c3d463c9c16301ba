// Matrix multiplies as steps of a program.
#include <cstring>

#include "gemm.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

constexpr double kFlopsPerNanosecond = 60; // about what one thread reaches on small multiplies
constexpr double kEndingFlops = 0.5e6;     // a multiply from which a chain at its end pays
constexpr std::ptrdiff_t kMostParts = 64;  // into which a stack of multiplies is cut for threads
constexpr std::ptrdiff_t kTinyProduct = 128; // multiplications up to which plain loops are faster than tiles

template <class T>
class MatmulTask final : public Task {
public:
    MatmulTask(const ProgramSpec& p, const StepSpec& step)
        : a_(place_of(p, step.inputs[0])), b_(place_of(p, step.inputs[1])), c_(place_of(p, step.output)),
          walk_(Extent(), {&kNone, &kNone, &kNone}) {
        const ValueSpec &a = value(p, step.inputs[0]), &b = value(p, step.inputs[1]), &c = value(p, step.output);
        const std::size_t na = a.shape.size(), nb = b.shape.size(), nc = c.shape.size();
        require(na >= 2 && nb >= 2 && nc == std::max(na, nb), "matmul: expected two matrices, or stacks of them");
        const std::ptrdiff_t k = a.shape[na - 1], n = b.shape[nb - 1];
        std::ptrdiff_t m = a.shape[na - 2];
        require(b.shape[nb - 2] == k && c.shape[nc - 2] == m && c.shape[nc - 1] == n, "matmul: the shapes do not match");
        Extent batch(c.shape.begin(), c.shape.end() - 2), sa(batch.size(), 0), sb(batch.size(), 0), sc(batch.size(), 0);
        for (std::size_t i = 0; i < batch.size(); ++i) {
            sc[i] = c.strides[i];
            const auto along = [&](const ValueSpec& x, std::size_t nx) {
                const std::size_t lead = nc - nx;
                if (i < lead) return std::ptrdiff_t{0};
                require(x.shape[i - lead] == batch[i] || x.shape[i - lead] == 1, "matmul: leading axes do not broadcast");
                return x.shape[i - lead] == 1 ? std::ptrdiff_t{0} : x.strides[i - lead];
            };
            sa[i] = along(a, na);
            sb[i] = along(b, nb);
        }
        const auto size = static_cast<std::ptrdiff_t>(sizeof(T));
        const auto strides = [&](const ValueSpec& x, std::size_t nx) {
            return Strides{x.strides[nx - 2] / size, x.strides[nx - 1] / size};
        };
        a_strides_ = strides(a, na), b_strides_ = strides(b, nb);
        if (!batch.empty() && na == nc && a.shape[0] == batch[0]) {
            examples_ = batch[0];
            by_example_ = nb == nc && b.shape[0] == batch[0] ? 2 : 1;
        }
        join_stack(batch, sa, sb, sc, m, n * size);
        count_ = elements(c.shape);
        batches_ = elements(batch);
        m_ = m, n_ = n, k_ = k;
        tiny_ = batches_ == 1 && count_ > 0 && count_ <= kTinyProduct && k <= kTinyProduct / count_;
        walk_ = Odometer<3>(batch, {&sa, &sb, &sc});
        empty_ = k == 0;
        if (count_ > 0 && !empty_) gemm_ = Gemm<T>(m, n, k, a_strides_, b_strides_, n);
        flops_ = 2.0 * static_cast<double>(count_) * static_cast<double>(k);
    }
    std::size_t workspace() const override { return count_ > 0 && !empty_ ? gemm_.workspace() : 0; }
    void run(const Context& c) override {
        if (count_ == 0) return;
        if (empty_) {
            std::memset(c.at<char>(c_), 0, static_cast<std::size_t>(count_) * sizeof(T));
            return;
        }
        if (tiny_) return multiply(c.at<T>(a_), c.at<T>(b_), c.at<T>(c_));
        if (batches_ == 1) {
            Working working = {&c, this};
            const Epilogue end = {ending_.chain != nullptr ? run_ending : nullptr, &working};
            if (c.team.worth(flops_ / kFlopsPerNanosecond + ending_.nanoseconds))
                gemm_.run(c.at<T>(a_), c.at<T>(b_), c.at<T>(c_), false, end, c.workspace, c.team);
            else
                gemm_.run(c.at<T>(a_), c.at<T>(b_), c.at<T>(c_), false, end, c.workspace);
            return;
        }
        if (!c.team.worth(flops_ / kFlopsPerNanosecond)) return some(c, 0, batches_, c.workspace);
        const auto parts = static_cast<int>(std::min(batches_, kMostParts));
        c.team.run(parts, [&](int part, int member) { some(c, batches_ * part / parts, batches_ * (part + 1) / parts, c.own(member)); });
    }

    Division division() const override {
        if (batches_ == 1 || empty_ || count_ == 0 || examples_ == 0) return {};
        return {examples_, 1, flops_ / kFlopsPerNanosecond, by_example_, false};
    }
    void run_some(const Context& c, std::ptrdiff_t first, std::ptrdiff_t last, char* own) override {
        some(c, batches_ / examples_ * first, batches_ / examples_ * last, own);
    }

    bool end_with(const Ending& ending) override {
        if (ending_.chain != nullptr || batches_ != 1 || empty_ || flops_ <= kEndingFlops) return false;
        ending_ = ending;
        gemm_ = Gemm<T>(m_, n_, k_, a_strides_, b_strides_, n_, {ending.chain->workspace(), true, ending.whole});
        return true;
    }

private:
    // Multiplies first … last - 1 of the stack.
    void some(const Context& c, std::ptrdiff_t first, std::ptrdiff_t last, char* own) const {
        const char *a = c.at<char>(a_), *b = c.at<char>(b_);
        char* out = c.at<char>(c_);
        Odometer<3> walk = walk_;
        walk.start(first);
        for (std::ptrdiff_t i = first; i < last; ++i, walk.next())
            gemm_.run(reinterpret_cast<const T*>(a + walk.at[0]), reinterpret_cast<const T*>(b + walk.at[1]),
                      reinterpret_cast<T*>(out + walk.at[2]), false, Epilogue{}, own);
    }

    struct Working {
        const Context* context;
        const MatmulTask* task;
    };

    static void run_ending(void* working, const Block& block, const void* c, std::ptrdiff_t c_row, char* own) {
        const Working& w = *static_cast<const Working*>(working);
        const Ending& end = w.task->ending_;
        const auto* memory = static_cast<const char*>(c);
        std::ptrdiff_t first = block.row * w.task->n_ + block.column, rows = block.rows, columns = block.columns;
        if (columns == w.task->n_ && c_row == columns) columns *= rows, rows = 1; // in one piece
        for (; rows > 0; --rows, first += w.task->n_, memory += c_row * static_cast<std::ptrdiff_t>(sizeof(T)))
            end.chain->run_part(*w.context, first, columns, end.operand, memory, own);
    }

    // One second operand for all: where the rows of the first are evenly apart from stack to stack, they are one matrix.
    void join_stack(Extent& batch, Extent& sa, Extent& sb, Extent& sc, std::ptrdiff_t& m, std::ptrdiff_t row) {
        const auto size = static_cast<std::ptrdiff_t>(sizeof(T));
        if (elements(batch) * m == 0 || std::any_of(sb.begin(), sb.end(), [](std::ptrdiff_t by) { return by != 0; })) return;
        Extent shape = batch, of_a = sa, of_c = sc;
        shape.push_back(m), of_a.push_back(a_strides_.row * size), of_c.push_back(row);
        join_axes(shape, {&of_a, &of_c});
        if (shape.size() != 1 || of_c[0] != row) return;
        m = shape[0], a_strides_.row = of_a[0] / size;
        batch.clear(), sa.clear(), sb.clear(), sc.clear();
    }

    void multiply(const T* a, const T* b, T* out) const {
        for (std::ptrdiff_t i = 0; i < m_; ++i, a += a_strides_.row) {
            for (std::ptrdiff_t j = 0; j < n_; ++j) {
                const T *x = a, *y = b + j * b_strides_.column;
                T sum = *x * *y;
                for (std::ptrdiff_t p = 1; p < k_; ++p) sum += *(x += a_strides_.column) * *(y += b_strides_.row);
                *out++ = sum;
            }
        }
    }

    static inline const Extent kNone{};
    Place a_, b_, c_;
    Gemm<T> gemm_;
    Odometer<3> walk_;
    std::ptrdiff_t count_ = 0, batches_ = 1;
    std::ptrdiff_t examples_ = 0; // the first axis of the stack, if A has it
    std::size_t by_example_ = 0;  // operands that have it
    std::ptrdiff_t m_ = 0, n_ = 0, k_ = 0;
    Strides a_strides_{}, b_strides_{};
    Ending ending_;
    bool empty_ = false, tiny_ = false;
    double flops_ = 0;
};

} // namespace

std::unique_ptr<Task> matmul_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() == 2, "matmul: expected two operands");
    const DType d = value(p, step.output).dtype;
    require(value(p, step.inputs[0]).dtype == d && value(p, step.inputs[1]).dtype == d, "matmul: the dtypes differ");
    if (d == DType::float32) return std::make_unique<MatmulTask<float>>(p, step);
    if (d == DType::float64) return std::make_unique<MatmulTask<double>>(p, step);
    return nullptr;
}

} // namespace chainrule
