// What each instruction set provides: tables of functions, chosen once at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vecmath.hpp"

namespace chainrule {

// One register tile of C = A B (+ C): rows × columns of C over the whole of k.
template <class T>
struct Tile {
    std::ptrdiff_t k;
    const T* a;              // the tile's first element of A
    std::ptrdiff_t a_stride; // from row to row (kernels of `by_rows`) or column to column (`by_columns`) of A
    const T* b;
    std::ptrdiff_t b_stride; // from row to row of B; its columns are adjacent
    T* c;
    std::ptrdiff_t c_stride;
    int last; // valid columns of the tile's last vector, 1 … width
    bool add; // the sums start from C, else from zero
    const std::ptrdiff_t* b_rows = nullptr; // of kernels `taps`: where each row of B begins, in place of b_stride
};

// Sums over positions, for some filters (rows of A) and taps: c[tap c_tap + filter] += Σ a · b. The positions are `rows`
// rows of `run` adjacent elements.
template <class T>
struct Dots {
    std::ptrdiff_t rows, run;
    const T* a;
    std::ptrdiff_t a_row, a_next; // from row to row of positions, from filter to filter
    const T* b;
    std::ptrdiff_t b_row;
    const std::ptrdiff_t* taps; // where each tap's elements begin
    T* c;
    std::ptrdiff_t c_tap;
};

constexpr int kDotFiltersMax = 4;
constexpr int kDotTapsMax = 6;

// One register tile of C = A B (+ C), whose A is read through offsets: row i, column p is a[rows[i] + depth[p]]. B is a
// panel: its rows of whole vectors lie one after the other.
template <class T>
struct Gather {
    std::ptrdiff_t k;
    const T* a;
    const std::ptrdiff_t* rows;
    const std::ptrdiff_t* depth;
    const T* b;
    T* c;
    std::ptrdiff_t c_stride;
    int last; // valid columns of the tile's last vector, 1 … width
    bool add; // the sums start from C, else from zero
};

constexpr int kGatherAcross = 3; // most vectors across
constexpr int kGatherRowsMax = 10;

template <class T>
struct ConvKernels {
    int gather_rows[kGatherAcross]; // most rows of a tile, by vectors across - 1
    void (*gather[kGatherAcross][kGatherRowsMax + 1])(const Gather<T>&);
    int dot_filters, dot_taps; // most of each that `dots` takes
    void (*dots[kDotFiltersMax + 1][kDotTapsMax + 1])(const Dots<T>&);
};

constexpr int kTileRowsMax = 16;

template <class T>
struct GemmKernels {
    using Run = void (*)(const Tile<T>&);
    int width; // elements of a vector
    int rows;  // most rows of a tile
    // [vectors across - 1][rows]
    Run by_rows[2][kTileRowsMax + 1];    // A's elements of one row are adjacent
    Run by_columns[2][kTileRowsMax + 1]; // A's elements of one column are adjacent
    Run wide_row[2]; // one row, eight vectors across: A's elements adjacent, or not
    Run taps[2][kTileRowsMax + 1]; // as by_columns, with rows of B anywhere
    // c[j c_stride + i] = tile[i tile_stride + j], and the reverse; the tile has whole vectors.
    void (*store_transposed)(int rows, int columns, const T* tile, int tile_stride, T* c, std::ptrdiff_t c_stride);
    void (*load_transposed)(int rows, int columns, const T* c, std::ptrdiff_t c_stride, T* tile, int tile_stride);
    // c[i c_stride] (+)= row i of A · b, for some rows of adjacent elements; b adjacent too.
    void (*dot)(std::ptrdiff_t rows, std::ptrdiff_t k, const T* a, std::ptrdiff_t a_row, const T* b, T* c,
                std::ptrdiff_t c_stride, bool add);
    // k × n of B into panels, two vectors wide or at last one, each k rows of adjacent elements; zeros beyond n.
    void (*pack_rows)(std::ptrdiff_t k, std::ptrdiff_t n, const T* b, std::ptrdiff_t row, T* out);
    // The same for one panel of at most `stride` columns, with a stride of `stride` elements.
    void (*pack_columns)(std::ptrdiff_t k, int n, const T* b, std::ptrdiff_t column, T* out, int stride);
    // [rows]: k columns of so many adjacent elements, one after the other; a vector beyond the last is overwritten.
    void (*pack_strip[kTileRowsMax + 1])(std::ptrdiff_t k, const T* a, std::ptrdiff_t column, T* out);
};

struct Kernels {
    const char* name;
    GemmKernels<float> gemm_f32;
    GemmKernels<double> gemm_f64;
    ConvKernels<float> conv_f32;
    ConvKernels<double> conv_f64;
    VecKernels<float> vec_f32;
    VecKernels<double> vec_f64;
    CommonKernels common;
};

namespace avx512 {
const Kernels& kernels();
}
namespace avx2 {
const Kernels& kernels();
}
namespace neon {
const Kernels& kernels();
}
namespace portable {
const Kernels& kernels();
}

// What select() chose, or else the environment by CHAINRULE_ISA, or else the best that this processor has. Throws
// std::invalid_argument for a name in the environment that is unknown or that this processor does not have.
const Kernels& kernels();

// Choose by name ("avx512", "avx2", "neon", "portable"); false where it is unknown, not built or not supported here.
// For tests and measurements: not while anything else runs, and not between planning a multiply and running it.
bool select(const char* name);

} // namespace chainrule
