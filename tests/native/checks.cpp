// Checks the multiply of one instruction set without Python, for processors that are emulated: CHAINRULE_ISA=neon checks.
//
// Every product is compared with sums in double precision, and must be the same bits however it is blocked and for two
// threads. Prints what is wrong; the exit code is the number of wrong products, at most 100.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "blocking.hpp"
#include "gemm.hpp"
#include "kernels.hpp"
#include "philox.hpp"

using namespace chainrule;

namespace {

struct Free {
    void operator()(void* p) const { std::free(p); }
};

struct Sizes {
    std::ptrdiff_t m, k, n;
};

template <class T>
struct Problem {
    Sizes size;
    Strides a, b;
    std::vector<T> left, right, start;

    Problem(Sizes s, bool a_turned, bool b_turned)
        : size(s), a(a_turned ? Strides{1, s.m} : Strides{s.k, 1}), b(b_turned ? Strides{1, s.k} : Strides{s.n, 1}),
          left(static_cast<std::size_t>(s.m * s.k)), right(static_cast<std::size_t>(s.k * s.n)),
          start(static_cast<std::size_t>(s.m * s.n)) {
        uniform(1, 1, 0, 0, s.m * s.k, left.data());
        uniform(1, 2, 0, 0, s.k * s.n, right.data());
        uniform(1, 3, 0, 0, s.m * s.n, start.data());
    }

    std::vector<T> product(bool add, Team& team) const {
        const Gemm<T> gemm(size.m, size.n, size.k, a, b, size.n);
        const std::size_t bytes = std::max<std::size_t>(gemm.workspace() * static_cast<std::size_t>(team.size()), 64);
        const std::unique_ptr<void, Free> space(std::aligned_alloc(64, bytes));
        std::vector<T> c = start;
        gemm.run(left.data(), right.data(), c.data(), add, {}, space.get(), team);
        return c;
    }

    // Whether each element is within the bound of a sum of k products.
    bool near(const std::vector<T>& c, bool add) const {
        for (std::ptrdiff_t i = 0; i < size.m; ++i) {
            for (std::ptrdiff_t j = 0; j < size.n; ++j) {
                const auto at = static_cast<std::size_t>(i * size.n + j);
                double sum = add ? start[at] : 0, most = std::abs(sum);
                for (std::ptrdiff_t p = 0; p < size.k; ++p) {
                    const double x = left[static_cast<std::size_t>(i * a.row + p * a.column)];
                    const double y = right[static_cast<std::size_t>(p * b.row + j * b.column)];
                    sum += x * y, most += std::abs(x * y);
                }
                const double bound = most * static_cast<double>(std::numeric_limits<T>::epsilon()) *
                                     (2 + std::sqrt(static_cast<double>(size.k)));
                if (!(std::abs(static_cast<double>(c[at]) - sum) <= bound)) return false;
            }
        }
        return true;
    }
};

template <class T>
int wrong_products(const char* type) {
    const Sizes sizes[] = {{1, 40, 70}, {70, 40, 1},   {13, 17, 29},  {33, 64, 100},
                           {50, 80, 10}, {10, 300, 50}, {40, 500, 48}, {16, 2100, 5}};
    const Blocking usual = blocking(), others[] = {{1, 1, 1}, {1 << 20, 1 << 20, 1 << 20}};
    Team one(1), two(2);
    int wrong = 0;
    const auto report = [&](bool right, const Sizes& s, const char* what) {
        if (right) return;
        ++wrong;
        std::printf("%s %s %tdx%tdx%td: %s\n", kernels().name, type, s.m, s.k, s.n, what);
    };
    for (const Sizes& s : sizes) {
        for (int layout = 0; layout < 8; ++layout) {
            const bool add = (layout & 4) != 0;
            const Problem<T> problem(s, (layout & 1) != 0, (layout & 2) != 0);
            const std::vector<T> c = problem.product(add, one);
            report(problem.near(c, add), s, "is wrong");
            report(problem.product(add, two) == c, s, "depends on the number of threads");
            for (const Blocking& other : others) {
                set_blocking(other);
                report(problem.product(add, one) == c, s, "depends on its blocks");
                set_blocking(usual);
            }
        }
    }
    return wrong;
}

} // namespace

int main() {
    const int wrong = wrong_products<float>("float") + wrong_products<double>("double");
    std::printf("%s: %d wrong\n", kernels().name, wrong);
    return std::min(wrong, 100);
}
