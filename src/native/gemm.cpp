#include "gemm.hpp"

#include <algorithm>
#include <utility>

namespace chainrule {
namespace {

// The panels of B that the rows of A are taken against stay in the second-level cache; so this much is taken for
// granted there. What a tile of A uses is small beside it.
constexpr std::ptrdiff_t kPanelsBytes = 512 * 1024;
constexpr std::ptrdiff_t kDepth = 800;
// A tile reads a part of each line of A's columns; of a long k, no more of them than stay in the first-level cache.
constexpr std::ptrdiff_t kDepthOfColumns = 256;
constexpr std::ptrdiff_t kColumns = 256;
// Rows this far apart fall into the same few places of a first-level cache and evict each other.
constexpr std::ptrdiff_t kCollision = 4096;
constexpr std::ptrdiff_t kWorthCopy = 256;
constexpr std::ptrdiff_t kTilesGathered = 8;
// A block of C should be in the first-level cache when its epilogue runs, and big enough to be worth a call.
constexpr std::ptrdiff_t kBlockBytes = 16 * 1024;
// Multiply-adds that are worth a block of their own, which another thread may take.
constexpr double kBlockWork = 64.0 * 1024;
constexpr std::ptrdiff_t kBlocksWanted = 16;
// Parts that each member of a team gets: what is left of a late member's share is taken by the others.
constexpr int kShares = 4;
constexpr std::size_t kHeader = 64;
// A small C with a long k gives work to several threads only if k is cut. The cuts are fixed and so is the order in
// which the parts are added, so that results still don't depend on the number of threads.
constexpr std::ptrdiff_t kPartDepth = 512;
constexpr std::ptrdiff_t kPartSize = 8192;
constexpr std::ptrdiff_t kMostParts = 16;

std::ptrdiff_t ceil_div(std::ptrdiff_t a, std::ptrdiff_t b) { return (a + b - 1) / b; }

template <class T>
std::size_t padded(std::ptrdiff_t elements) {
    return (static_cast<std::size_t>(elements) * sizeof(T) + 63) / 64 * 64;
}

template <class T>
bool collides(std::ptrdiff_t stride) {
    return stride * static_cast<std::ptrdiff_t>(sizeof(T)) % kCollision == 0;
}

template <class T>
const GemmKernels<T>& gemm_kernels() {
    if constexpr (sizeof(T) == sizeof(float)) return kernels().gemm_f32;
    else return kernels().gemm_f64;
}

} // namespace

template <class T>
Gemm<T>::Gemm(std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, Strides a, Strides b, std::ptrdiff_t c_row,
              const Room& room)
    : m_(m), n_(n), k_(k), a_(a), b_(b), c_row_(c_row), kernels_(&gemm_kernels<T>()) {
    const std::ptrdiff_t width = kernels_->width;
    // Along an axis of length 1 any stride will do: one that is read without a copy.
    if (m == 1) a_.row = 1;
    if (n == 1) b_.column = 1;
    if (k == 1) a_.column = 1, b_.row = 1;

    // A narrow C leaves lanes of the vectors idle; its transpose doesn't. Where the columns of A aren't adjacent, that
    // costs a transposing copy of A.
    const bool by_columns = a_.row == 1 && m > 1;
    const std::ptrdiff_t lanes = ceil_div(n, width) * width;
    const bool narrow = m >= width && (by_columns ? 5 * n <= 4 * lanes && n <= 3 * width : 4 * n <= width);
    const bool dots = n == 1 && a_.column == 1 && k >= width;
    const bool row_of_dots = m == 1 && n > 1 && b_.row == 1 && b_.column != 1 && k >= width;
    if ((narrow && !dots) || row_of_dots) {
        exchanged_ = true;
        std::swap(m_, n_);
        std::swap(a_, b_);
        std::swap(a_.row, a_.column);
        std::swap(b_.row, b_.column);
        transposed_ = !row_of_dots && !(n == 1 && c_row == 1);
        if (row_of_dots) c_row_ = 1;
    }
    dots_ = dots || row_of_dots;
    if (m == 0 || n == 0) return;
    if (k >= 4 * kPartDepth && m * n <= kPartSize && !dots_) {
        const std::ptrdiff_t parts = std::min(k / kPartDepth, kMostParts);
        part_depth_ = ceil_div(k, parts);
        k_parts_ = static_cast<int>(ceil_div(k, part_depth_));
        part_ = std::make_shared<const Gemm>(m, n, part_depth_, a, b, n);
        last_part_ = std::make_shared<const Gemm>(m, n, k - (k_parts_ - 1) * part_depth_, a, b, n);
        inner_ = std::max(part_->workspace(), last_part_->workspace());
        workspace_ = inner_ + padded<T>(m * n * k_parts_);
        a_ = a, b_ = b, m_ = m, n_ = n, c_row_ = c_row, exchanged_ = false;
        row_blocks_ = column_blocks_ = 1;
        column_block_ = n;
        make_room(room);
        return;
    }
    if (dots_) {
        column_blocks_ = 1;
        column_block_ = 1;
        panels_ = padded<T>(b_.row == 1 ? 0 : k_);
        plan_rows(1, 8);
    } else {
        plan_tiles(room.bytes > 0);
    }
    workspace_ = kHeader + panels_ + rows_of_a_;
    if (transposed_) workspace_ += padded<T>(kTileRowsMax * 2 * width);
    make_room(room);
}

template <class T>
void Gemm<T>::make_room(const Room& room) {
    apart_ = !room.whole && k_parts_ == 1 && !dots_ && k_ <= k_block_;
    block_at_ = workspace_;
    if (apart_) {
        std::ptrdiff_t most = 0;
        for (int i = 0; i < blocks(); ++i) most = std::max(most, block(i).rows * block(i).columns);
        workspace_ += padded<T>(most);
    }
    own_at_ = workspace_;
    workspace_ += (room.bytes + 63) / 64 * 64;
}

template <class T>
void Gemm<T>::plan_tiles(bool ended) {
    const std::ptrdiff_t width = kernels_->width, panel = 2 * width;
    read_a_ = a_.column == 1 ? ReadA::kRows : a_.row == 1 ? ReadA::kColumns : ReadA::kAny;
    read_b_ = b_.column == 1 ? ReadB::kInPlace : b_.row == 1 ? ReadB::kColumns : ReadB::kAny;

    // Many rows of A are worth a copy of B whose rows would evict each other.
    if (read_b_ == ReadB::kInPlace && m_ >= kWorthCopy && collides<T>(b_.row)) read_b_ = ReadB::kRows;

    const std::ptrdiff_t depth = read_a_ == ReadA::kColumns && k_ > kDepth ? kDepthOfColumns : kDepth;
    k_block_ = k_ == 0 ? 1 : ceil_div(k_, ceil_div(k_, depth));
    const std::ptrdiff_t fitting = kPanelsBytes / static_cast<std::ptrdiff_t>(sizeof(T)) / k_block_ / panel * panel;
    std::ptrdiff_t across = ceil_div(n_, std::clamp(fitting, panel, kColumns));
    // Two threads that share panels to be packed would both pack them; but an epilogue wants long rows.
    const bool packed = read_b_ != ReadB::kInPlace || n_ % width != 0;
    if (across == 1 && n_ >= 2 * panel && flops() > 16 * kBlockWork && packed && !ended) across = 2;
    column_block_ = ceil_div(ceil_div(n_, panel), across) * panel;
    column_blocks_ = static_cast<int>(ceil_div(n_, column_block_));
    const std::ptrdiff_t a_stride = read_a_ == ReadA::kRows ? a_.row : a_.column;
    const bool gathered = read_a_ == ReadA::kAny || (collides<T>(a_stride) && m_ > 1 && k_ > width && n_ >= 3 * panel);
    // Few columns of A at a time would fetch each line of it several times over.
    const std::ptrdiff_t tiles = gathered && read_a_ == ReadA::kColumns ? kTilesGathered : 1;
    plan_rows(column_blocks_, tiles * kernels_->rows);

    panels_ = padded<T>(std::min(column_block_, ceil_div(n_, width) * width) * k_block_);
    if (gathered) {
        const std::ptrdiff_t rows = read_a_ == ReadA::kColumns ? ceil_div(m_, row_blocks_) : kernels_->rows;
        rows_of_a_ = padded<T>((k_block_ + width) * gathered_stride(rows));
    }
}

// Elements from one column of gathered rows to the next: whole vectors that don't collide.
template <class T>
std::ptrdiff_t Gemm<T>::gathered_stride(std::ptrdiff_t rows) const {
    const std::ptrdiff_t stride = ceil_div(rows, kernels_->width) * kernels_->width;
    return collides<T>(4 * stride) ? stride + kernels_->width : stride;
}

// Cuts the rows so that blocks fit the cache and are enough for some threads; an even number, for two.
template <class T>
void Gemm<T>::plan_rows(std::ptrdiff_t across, std::ptrdiff_t least) {
    const std::ptrdiff_t row_bytes = std::min(column_block_, n_) * static_cast<std::ptrdiff_t>(sizeof(T));
    std::ptrdiff_t cuts = ceil_div(m_, std::max(least, kBlockBytes / row_bytes));
    const auto worth = static_cast<std::ptrdiff_t>(flops() / 2 / kBlockWork);
    cuts = std::max(cuts, std::min(ceil_div(std::min(worth, kBlocksWanted), across), ceil_div(m_, least)));
    if (cuts > 1 && across % 2 == 1) cuts += cuts % 2;
    row_blocks_ = static_cast<int>(std::clamp<std::ptrdiff_t>(cuts, 1, m_));
}

template <class T>
Block Gemm<T>::inner_block(int i) const {
    const int across = i / row_blocks_, down = i % row_blocks_;
    const std::ptrdiff_t row = m_ * down / row_blocks_, column = across * column_block_;
    return {row, m_ * (down + 1) / row_blocks_ - row, column, std::min(column_block_, n_ - column)};
}

template <class T>
Block Gemm<T>::block(int i) const {
    const Block b = inner_block(i);
    return exchanged_ ? Block{b.column, b.columns, b.row, b.rows} : b;
}

template <class T>
void Gemm<T>::finish(const Epilogue& end, int i, const T* c, std::ptrdiff_t c_row, char* space) const {
    if (end.run == nullptr) return;
    const Block b = block(i);
    end.run(end.context, b, c + b.row * c_row + b.column, c_row, space + own_at_);
}

template <class T>
void Gemm<T>::run_blocks(int first, int last, const T* a, const T* b, T* c, bool add, const Epilogue& end,
                         void* workspace) const {
    if (first >= last) return;
    if (k_parts_ > 1) {
        char* space = static_cast<char*>(workspace);
        for (int i = 0; i < k_parts_; ++i) run_part(i, a, b, reinterpret_cast<T*>(space + inner_), space);
        return add_parts(reinterpret_cast<T*>(space + inner_), c, add, end, space);
    }
    static_cast<Header*>(workspace)->packed = -1;
    run_some(first, last, a, b, c, add, end, static_cast<char*>(workspace));
}

template <class T>
void Gemm<T>::run(const T* a, const T* b, T* c, bool add, const Epilogue& end, void* workspace, Team& team) const {
    if (k_parts_ > 1) {
        char* space = static_cast<char*>(workspace);
        T* partial = reinterpret_cast<T*>(space + inner_);
        team.run(k_parts_, [&](int part, int member) {
            run_part(part, a, b, partial, space + static_cast<std::size_t>(member) * workspace_);
        });
        return add_parts(partial, c, add, end, space);
    }
    const int parts = std::min(team.size() == 1 ? 1 : kShares * team.size(), blocks());
    char* space = static_cast<char*>(workspace);
    for (int i = 0; i < team.size() && parts > 0; ++i)
        reinterpret_cast<Header*>(space + static_cast<std::size_t>(i) * workspace_)->packed = -1;
    team.run(parts, [&](int part, int member) {
        const auto bound = [&](int i) { return static_cast<int>(static_cast<std::int64_t>(blocks()) * i / parts); };
        char* own = space + static_cast<std::size_t>(member) * workspace_;
        run_some(bound(part), bound(part + 1), a, b, c, add, end, own);
    });
}

template <class T>
void Gemm<T>::run_batch(std::ptrdiff_t count, const T* a, std::ptrdiff_t a_step, const T* b, std::ptrdiff_t b_step,
                        T* c, std::ptrdiff_t c_step, bool add, const Epilogue& end, void* workspace, Team& team) const {
    struct Shifted {
        const Epilogue& end;
        std::ptrdiff_t rows;
    };
    const std::ptrdiff_t m = exchanged_ ? n_ : m_;
    const auto one = [&](std::ptrdiff_t i, Team* members, char* space) {
        Shifted shifted = {end, i * m};
        const Epilogue moved = {[](void* context, const Block& block, const void* part, std::ptrdiff_t row, char* own) {
                                    const Shifted& s = *static_cast<Shifted*>(context);
                                    s.end.run(s.end.context, {s.rows + block.row, block.rows, block.column, block.columns}, part, row, own);
                                },
                                &shifted};
        const Epilogue& used = end.run == nullptr ? end : moved;
        if (members != nullptr) run(a + i * a_step, b + i * b_step, c + i * c_step, add, used, space, *members);
        else run(a + i * a_step, b + i * b_step, c + i * c_step, add, used, space);
    };
    char* space = static_cast<char*>(workspace);
    if (count < team.size()) {
        for (std::ptrdiff_t i = 0; i < count; ++i) one(i, &team, space);
        return;
    }
    const auto parts = static_cast<int>(std::min<std::ptrdiff_t>(count, kShares * team.size()));
    team.run(parts, [&](int part, int member) {
        for (std::ptrdiff_t i = count * part / parts; i < count * (part + 1) / parts; ++i)
            one(i, nullptr, space + static_cast<std::size_t>(member) * workspace_);
    });
}

template <class T>
void Gemm<T>::run_part(int i, const T* a, const T* b, T* partial, char* space) const {
    const std::ptrdiff_t start = i * part_depth_;
    const Gemm& part = i + 1 < k_parts_ ? *part_ : *last_part_;
    part.run(a + start * a_.column, b + start * b_.row, partial + i * m_ * n_, false, {}, space);
}

template <class T>
void Gemm<T>::add_parts(const T* partial, T* c, bool add, const Epilogue& end, char* space) const {
    T* const first = c;
    for (std::ptrdiff_t i = 0; i < m_; ++i, c += c_row_, partial += n_) {
        for (std::ptrdiff_t j = 0; j < n_; ++j) {
            T sum = partial[j];
            for (int part = 1; part < k_parts_; ++part) sum += partial[part * m_ * n_ + j];
            c[j] = add ? c[j] + sum : sum;
        }
    }
    finish(end, 0, first, c_row_, space);
}

template <class T>
void Gemm<T>::run_some(int first, int last, const T* a, const T* b, T* c, bool add, const Epilogue& end,
                       char* space) const {
    if (exchanged_) std::swap(a, b);
    if (dots_) return run_dots(first, last, a, b, c, add, end, space);
    Header& header = *reinterpret_cast<Header*>(space);
    T* panels = reinterpret_cast<T*>(space + kHeader);
    const int width = kernels_->width;
    while (first < last) {
        const int across = first / row_blocks_;
        const int until = std::min(last, (across + 1) * row_blocks_);
        const Block head = inner_block(first);
        std::ptrdiff_t done = 0;
        do { // at least once, so that C is set and finished for k = 0 too
            const std::ptrdiff_t k = std::min(k_block_, k_ - done);
            const T* b_part = b + done * b_.row;
            T* to = panels;
            for (std::ptrdiff_t j = 0; j < head.columns && header.packed != across; j += 2 * width) {
                const int columns = static_cast<int>(std::min<std::ptrdiff_t>(2 * width, head.columns - j));
                const int stride = (columns + width - 1) / width * width;
                if (read_b_ != ReadB::kInPlace || columns % width != 0)
                    pack_b(b_part, k, head.column + j, columns, to, stride);
                to += k * stride;
            }
            header.packed = k == k_ ? across : -1;
            for (int i = first; i < until; ++i) {
                T* to_c = c;
                std::ptrdiff_t c_row = c_row_;
                if (apart_) {
                    const Block b = block(i);
                    c_row = b.columns;
                    to_c = reinterpret_cast<T*>(space + block_at_) - (b.row * c_row + b.column);
                }
                run_tiles(inner_block(i), k, a + done * a_.column, b_part, panels, space, to_c, c_row, add || done > 0);
                if (done + k >= k_) finish(end, i, to_c, c_row, space);
            }
            done += k;
        } while (done < k_);
        first = until;
    }
}

template <class T>
void Gemm<T>::run_dots(int first, int last, const T* a, const T* b, T* c, bool add, const Epilogue& end,
                       char* space) const {
    if (b_.row != 1) {
        T* to = reinterpret_cast<T*>(space + kHeader);
        Header& header = *reinterpret_cast<Header*>(space);
        for (std::ptrdiff_t p = 0; p < k_ && header.packed != 0; ++p) to[p] = b[p * b_.row];
        header.packed = 0;
        b = to;
    }
    for (int i = first; i < last; ++i) {
        const Block part = inner_block(i);
        kernels_->dot(part.rows, k_, a + part.row * a_.row, a_.row, b, c + part.row * c_row_, c_row_, add);
        finish(end, i, c, c_row_, space);
    }
}

template <class T>
void Gemm<T>::pack_b(const T* b, std::ptrdiff_t k, std::ptrdiff_t column, int columns, T* out, int stride) const {
    const T* from = b + column * b_.column;
    if (read_b_ == ReadB::kColumns) {
        kernels_->pack_columns(k, columns, from, b_.column, out, stride);
    } else if (read_b_ != ReadB::kAny) {
        kernels_->pack_rows(k, columns, from, b_.row, out, stride);
    } else {
        for (std::ptrdiff_t p = 0; p < k; ++p, out += stride)
            for (int j = 0; j < stride; ++j) out[j] = j < columns ? from[p * b_.row + j * b_.column] : T(0);
    }
}

// Copies some rows of A to where they lie well, and returns the stride there.
template <class T>
std::ptrdiff_t Gemm<T>::gather_a(const T* a, std::ptrdiff_t rows, std::ptrdiff_t k, T* out) const {
    if (read_a_ == ReadA::kRows) {
        const std::ptrdiff_t stride = k + kernels_->width;
        for (std::ptrdiff_t i = 0; i < rows; ++i) std::copy_n(a + i * a_.row, k, out + i * stride);
        return stride;
    }
    const std::ptrdiff_t stride = gathered_stride(rows);
    for (std::ptrdiff_t p = 0; p < k; ++p, out += stride) {
        const T* from = a + p * a_.column;
        if (read_a_ == ReadA::kColumns) std::copy_n(from, rows, out);
        else
            for (std::ptrdiff_t i = 0; i < rows; ++i) out[i] = from[i * a_.row];
    }
    return stride;
}

template <class T>
void Gemm<T>::run_tiles(const Block& part, std::ptrdiff_t k, const T* a, const T* b, const T* packed, char* space,
                        T* c, std::ptrdiff_t c_row, bool add) const {
    const std::ptrdiff_t tiles = ceil_div(part.rows, kernels_->rows);
    const int width = kernels_->width;
    const bool by_rows = read_a_ == ReadA::kRows;
    T* gathered = reinterpret_cast<T*>(space + kHeader + panels_);
    T* turned = reinterpret_cast<T*>(space + kHeader + panels_ + rows_of_a_);
    const bool whole_block = read_a_ == ReadA::kColumns;
    std::ptrdiff_t block_stride = 0;
    for (std::ptrdiff_t t = 0; t < tiles; ++t) {
        const std::ptrdiff_t row = part.row + part.rows * t / tiles;
        const auto rows = static_cast<int>(part.row + part.rows * (t + 1) / tiles - row);
        Tile<T> tile = {k, a + row * a_.row, by_rows ? a_.row : a_.column, nullptr, 0, nullptr, c_row, 0, add};
        if (rows_of_a_ != 0) {
            if (whole_block && t == 0) block_stride = gather_a(a + part.row * a_.row, part.rows, k, gathered);
            tile.a_stride = whole_block ? block_stride : gather_a(tile.a, rows, k, gathered);
            tile.a = whole_block ? gathered + (row - part.row) : gathered;
        }
        const T* panel = packed;
        for (std::ptrdiff_t j = 0; j < part.columns; j += 2 * width) {
            if (rows == 1 && !transposed_ && read_b_ == ReadB::kInPlace && part.columns - j >= 8 * width) {
                tile.b = b + part.column + j;
                tile.b_stride = b_.row;
                tile.last = width;
                tile.c = c + row * c_row + part.column + j;
                kernels_->wide_row[by_rows ? 0 : 1](tile);
                panel += k * 8 * width;
                j += 6 * width;
                continue;
            }
            const int columns = static_cast<int>(std::min<std::ptrdiff_t>(2 * width, part.columns - j));
            const int across = (columns + width - 1) / width;
            const bool in_place = read_b_ == ReadB::kInPlace && columns % width == 0;
            tile.b = in_place ? b + part.column + j : panel;
            tile.b_stride = in_place ? b_.row : across * width;
            tile.last = columns - (across - 1) * width;
            const auto run = (by_rows ? kernels_->by_rows : kernels_->by_columns)[across - 1][rows];
            if (!transposed_) {
                tile.c = c + row * c_row + part.column + j;
                run(tile);
            } else {
                tile.c = turned;
                tile.c_stride = 2 * width;
                tile.add = false;
                run(tile);
                T* to = c + (part.column + j) * c_row + row;
                kernels_->store_transposed(rows, columns, turned, 2 * width, to, c_row, add);
            }
            panel += k * across * width;
        }
    }
}

template class Gemm<float>;
template class Gemm<double>;

} // namespace chainrule
