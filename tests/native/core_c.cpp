// The core library under C names, for tests and measurements through ctypes.
#include <chrono>
#include <cstdlib>
#include <memory>
#include <vector>

#include "blocking.hpp"
#include "gemm.hpp"
#include "kernels.hpp"
#include "philox.hpp"
#include "teams.hpp"

using namespace chainrule;

namespace {

struct Free {
    void operator()(void* p) const { std::free(p); }
};
using Workspace = std::unique_ptr<void, Free>;

Workspace workspace(std::size_t bytes) { return Workspace(std::aligned_alloc(64, bytes < 64 ? 64 : bytes)); }

// What the tests get of an epilogue.
using Seen = void (*)(void* context, std::ptrdiff_t row, std::ptrdiff_t rows, std::ptrdiff_t column, std::ptrdiff_t columns);

struct Watched {
    Seen seen;
    void* context;
};

void watch(void* context, const Block& block, const void*, std::ptrdiff_t, char*) {
    const Watched& w = *static_cast<const Watched*>(context);
    w.seen(w.context, block.row, block.rows, block.column, block.columns);
}

template <class T>
void gemm(std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, const T* a, std::ptrdiff_t a_row,
          std::ptrdiff_t a_column, const T* b, std::ptrdiff_t b_row, std::ptrdiff_t b_column, T* c,
          std::ptrdiff_t c_row, int add, Seen end, void* context, Team* team, int repeat,
          double* seconds) {
    const Gemm<T> plan(m, n, k, {a_row, a_column}, {b_row, b_column}, c_row);
    const Workspace space = workspace(plan.workspace() * static_cast<std::size_t>(team ? team->size() : 1));
    Watched watched = {end, context};
    const Epilogue epilogue = {end ? watch : nullptr, &watched};
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < repeat; ++i) {
        if (team) plan.run(a, b, c, add != 0, epilogue, space.get(), *team);
        else plan.run(a, b, c, add != 0, epilogue, space.get());
    }
    if (seconds) *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeat;
}

} // namespace

extern "C" {

int core_select(const char* name) { return select(name) ? 1 : 0; }
const char* core_name() { return kernels().name; }
void core_blocking(std::ptrdiff_t* out) {
    const Blocking b = blocking();
    out[0] = b.strip, out[1] = b.panels, out[2] = b.reuse;
}
void core_set_blocking(std::ptrdiff_t strip, std::ptrdiff_t panels, std::ptrdiff_t reuse) {
    set_blocking({strip, panels, reuse});
}

Team* core_team(int threads) { return new Team(threads); }
void core_team_free(Team* team) { delete team; }
int core_team_size(const Team* team) { return team->size(); }
void core_team_run(Team* team, int parts, Team::Function function, void* context) {
    team->run(parts, function, context);
}
Lent* core_lent(int threads) { return new Lent(threads); }
void core_lent_free(Lent* lent) { delete lent; }
Team* core_lent_team(Lent* lent) { return &lent->team(); }
int core_default_threads() { return default_threads(); }

#define CORE_GEMM(name, T)                                                                                          \
    void name(std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, const T* a, std::ptrdiff_t a_row,               \
              std::ptrdiff_t a_column, const T* b, std::ptrdiff_t b_row, std::ptrdiff_t b_column, T* c,             \
              std::ptrdiff_t c_row, int add, Seen end, void* context, Team* team, int repeat,         \
              double* seconds) {                                                                                    \
        gemm<T>(m, n, k, a, a_row, a_column, b, b_row, b_column, c, c_row, add, end, context, team, repeat, seconds); \
    }
// Of matrices whose rows are adjacent, one after the other.
void core_batch_f64(std::ptrdiff_t count, std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, const double* a,
                    const double* b, std::ptrdiff_t b_step, double* c, Seen end, Team* team) {
    const Gemm<double> plan(m, n, k, {k, 1}, {n, 1}, n);
    const Workspace space = workspace(plan.workspace() * static_cast<std::size_t>(team->size()));
    Watched watched = {end, nullptr};
    plan.run_batch(count, a, m * k, b, b_step, c, m * n, false, {end ? watch : nullptr, &watched}, space.get(), *team);
}

CORE_GEMM(core_gemm_f32, float)
CORE_GEMM(core_gemm_f64, double)

} // extern "C"

extern "C" {

int core_find(int kind, const char* name) {
    int (*const finders[])(const char*) = {find_unary, find_binary, find_compare, find_test, find_logic};
    return finders[kind](name);
}

#define CORE_VECTOR(suffix, T, field)                                                                               \
    void core_unary_##suffix(int f, std::ptrdiff_t n, const T* x, T* out) { kernels().field.unary[f](n, x, out); }  \
    void core_binary_##suffix(int f, std::ptrdiff_t n, const T* a, int a_step, const T* b, int b_step, T* out) {    \
        kernels().field.binary[f](n, a, a_step, b, b_step, out);                                                    \
    }                                                                                                               \
    void core_compare_##suffix(int f, std::ptrdiff_t n, const T* a, int a_step, const T* b, int b_step, Bool* out) { \
        kernels().field.compare[f](n, a, a_step, b, b_step, out);                                                   \
    }                                                                                                               \
    void core_test_##suffix(int f, std::ptrdiff_t n, const T* x, Bool* out) { kernels().field.test[f](n, x, out); } \
    void core_pass_##suffix(std::ptrdiff_t n, int count, const int* codes, const int* operands, char* const* at) {  \
        std::vector<PassStep> steps;                                                                                \
        for (int i = 0; i < count; ++i) steps.push_back({static_cast<PassCode>(codes[i]), operands[i]});            \
        kernels().field.pass(n, steps.data(), count, at);                                                           \
    }                                                                                                               \
    void core_where_##suffix(std::ptrdiff_t n, const Bool* c, int c_step, const T* a, int a_step, const T* b,       \
                             int b_step, T* out) {                                                                  \
        kernels().field.where(n, c, c_step, a, a_step, b, b_step, out);                                             \
    }                                                                                                               \
    T core_sum_##suffix(std::ptrdiff_t n, const T* x) { return kernels().field.sum(n, x); }                         \
    T core_maximum_##suffix(std::ptrdiff_t n, const T* x) { return kernels().field.maximum(n, x); }                 \
    T core_minimum_##suffix(std::ptrdiff_t n, const T* x) { return kernels().field.minimum(n, x); }                 \
    void core_sum_rows_##suffix(std::ptrdiff_t rows, std::ptrdiff_t columns, const T* x, std::ptrdiff_t stride,     \
                                T* out) {                                                                           \
        kernels().field.sum_rows(rows, columns, x, stride, out);                                                    \
    }                                                                                                               \
    void core_sum_columns_##suffix(std::ptrdiff_t rows, std::ptrdiff_t columns, const T* x, std::ptrdiff_t stride,  \
                                   int add, T* out) {                                                               \
        kernels().field.sum_columns(rows, columns, x, stride, add != 0, out);                                       \
    }                                                                                                               \
    void core_uniform_##suffix(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter,                     \
                               std::ptrdiff_t first, std::ptrdiff_t n, T* out) {                                    \
        uniform(seed, stream, counter, first, n, out);                                                              \
    }
CORE_VECTOR(f32, float, vec_f32)
CORE_VECTOR(f64, double, vec_f64)

void core_cast(int from, int to, std::ptrdiff_t n, const void* x, void* out) {
    kernels().common.cast[from][to](n, x, out);
}
void core_logic(int f, std::ptrdiff_t n, const Bool* a, int a_step, const Bool* b, int b_step, Bool* out) {
    kernels().common.logic[f](n, a, a_step, b, b_step, out);
}
void core_logical_not(std::ptrdiff_t n, const Bool* x, Bool* out) { kernels().common.logical_not(n, x, out); }

} // extern "C"
