// Matrix multiply C = A B or C += A B for any strides of A and B.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

#include "kernels.hpp"
#include "team.hpp"

namespace chainrule {

// Elements (not bytes) from one row, and from one column, to the next. Swapped, they transpose.
struct Strides {
    std::ptrdiff_t row;
    std::ptrdiff_t column;
};

struct Block {
    std::ptrdiff_t row, rows, column, columns;
};

// Called with a block of C when it is final and still in the cache: `c` is the block's first element, `c_row` its row
// stride in elements, `own` the bytes asked for with Room, for the calling thread alone.
//
// The blocks of one multiply cut C into rectangles: each element is in exactly one call. They are those of
// Gemm::block(i), the same for every number of threads and every machine with the same instruction set. Calls for
// different blocks may come at the same time from different threads; the rest of C may be unfinished.
struct Epilogue {
    using Function = void (*)(void* context, const Block& block, const void* c, std::ptrdiff_t c_row, char* own);
    Function run = nullptr;
    void* context = nullptr;
};

// What an epilogue wants of the workspace.
struct Room {
    std::size_t bytes = 0;
    bool ended = false; // there is one
    bool whole = true;  // C is wanted itself; if not, blocks may live in the workspace, where the epilogue sees them
};

// How one multiply of given sizes and strides is done: made once, run many times. T is float or double.
//
// C (m × n) has adjacent columns. It must not overlap A or B. Each element's sum over k is taken in one fixed order, so
// results are bitwise the same for every number of threads and every way to run the blocks. Nothing is allocated.
template <class T>
class Gemm {
public:
    Gemm() = default;
    Gemm(std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, Strides a, Strides b, std::ptrdiff_t c_row,
         const Room& room = {});

    // Bytes of workspace that each thread needs, a multiple of 64. The workspace has to be aligned to 64.
    std::size_t workspace() const { return workspace_; }

    int blocks() const { return row_blocks_ * column_blocks_; }
    Block block(int i) const;
    double flops() const { return 2.0 * static_cast<double>(m_) * static_cast<double>(n_) * static_cast<double>(k_); }

    // On the calling thread.
    void run(const T* a, const T* b, T* c, bool add, const Epilogue& end, void* workspace) const {
        run_blocks(0, blocks(), a, b, c, add, end, workspace);
    }

    // On a team; the workspace is team.size() times as large.
    void run(const T* a, const T* b, T* c, bool add, const Epilogue& end, void* workspace, Team& team) const;

    // Blocks first … last - 1 on the calling thread, for callers that share out the work themselves.
    void run_blocks(int first, int last, const T* a, const T* b, T* c, bool add, const Epilogue& end,
                    void* workspace) const;

    // `count` multiplies, each so many elements further in A, B and C (0: the same again). Rows of C are numbered on
    // from one to the next in the calls of the epilogue.
    void run_batch(std::ptrdiff_t count, const T* a, std::ptrdiff_t a_step, const T* b, std::ptrdiff_t b_step, T* c,
                   std::ptrdiff_t c_step, bool add, const Epilogue& end, void* workspace, Team& team) const;

private:
    enum class ReadA { kRows, kColumns, kAny };
    enum class ReadB { kInPlace, kRows, kColumns, kAny };
    struct Tiles { // first … last - 1
        std::ptrdiff_t first, last;
    };
    struct Header { // at the start of a thread's workspace
        int packed;  // the column block whose panels follow, or -1
    };

    void plan_tiles(bool ended);
    bool near(std::ptrdiff_t vector) const;
    void plan_rows(std::ptrdiff_t across, std::ptrdiff_t least);
    Block inner_block(int i) const;
    Block blocks_together(int first, int last) const; // of the same columns
    void run_some(int first, int last, const T* a, const T* b, T* c, bool add, const Epilogue& end, char* space) const;
    void run_depths(int first, int last, const T* a, const T* b, T* c, bool add, const Epilogue& end, char* space) const;
    void run_dots(int first, int last, const T* a, const T* b, T* c, bool add, const Epilogue& end, char* space) const;
    std::ptrdiff_t row_at(std::ptrdiff_t tile) const { return tile * tile_rows_ + std::min(tile, longer_); }
    void pack_panels(const T* b, std::ptrdiff_t k, std::ptrdiff_t column, std::ptrdiff_t columns, T* out) const;
    void gather_rows(const T* a, std::ptrdiff_t rows, std::ptrdiff_t k, T* out) const;
    void gather_strips(const T* a, const Tiles& tiles, std::ptrdiff_t k, char* space) const;
    void run_tiles(const Tiles& tiles, const Block& part, std::ptrdiff_t k, const T* a, const T* b, char* space, T* c,
                   std::ptrdiff_t c_row, bool add) const;
    void run_panels(const Tiles& tiles, const Block& part, const Tile<T>& all, char* space) const;
    void run_turned(Tile<T> tile, typename GemmKernels<T>::Run run, int rows, int columns, char* space) const;
    void run_part(int i, const T* a, const T* b, T* partial, char* space) const;
    void add_parts(const T* partial, T* c, bool add, const Epilogue& end, char* space) const;
    void finish(const Epilogue& end, int block, const T* c, std::ptrdiff_t c_row, char* space) const;
    void make_room(const Room& room);

    // Sizes and strides as the tiles see them: with A and B exchanged, of C transposed.
    std::ptrdiff_t m_ = 0, n_ = 0, k_ = 0;
    Strides a_{}, b_{};
    std::ptrdiff_t c_row_ = 0;
    bool exchanged_ = false;  // C = (Bᵀ Aᵀ)ᵀ
    bool transposed_ = false; // and C has to be transposed when it is stored
    bool dots_ = false;       // one column, rows of A adjacent: dot products
    ReadA read_a_ = ReadA::kRows;
    ReadB read_b_ = ReadB::kInPlace;
    std::ptrdiff_t k_block_ = 1;
    std::ptrdiff_t column_block_ = 1; // columns of a block, whole panels
    std::ptrdiff_t tiles_ = 1; // into which the rows are cut: all of so many rows, the first `longer_` of one more
    std::ptrdiff_t tile_rows_ = 0, longer_ = 0;
    int row_blocks_ = 0, column_blocks_ = 0;
    bool strips_ = false; // the tiles of A are copied
    int together_ = 1;    // so many row blocks of them at a time
    std::size_t panels_ = 0, rows_of_a_ = 0; // bytes in the workspace, after the header
    std::size_t workspace_ = 0;
    std::size_t block_at_ = 0, own_at_ = 0; // in the workspace: a block of C, and the epilogue's bytes
    bool apart_ = false;                    // blocks of C live in the workspace
    const GemmKernels<T>* kernels_ = nullptr;

    // A long k, cut: multiplies over parts of it, whose results are added.
    int k_parts_ = 1;
    std::ptrdiff_t part_depth_ = 0;
    std::shared_ptr<const Gemm> part_, last_part_;
    std::size_t inner_ = 0; // the parts' own workspace
};

extern template class Gemm<float>;
extern template class Gemm<double>;

} // namespace chainrule
