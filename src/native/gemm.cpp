#include "gemm.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "blocking.hpp"

namespace chainrule {
namespace {

constexpr std::ptrdiff_t kColumns = 512;
// Rows this far apart fall into the same few places of a first-level cache and evict each other.
constexpr std::ptrdiff_t kCollision = 4096;
// Rows of A from which a copy of B pays that can't be read well in place, and panels of B from which one of A does.
constexpr std::ptrdiff_t kReuse = 24;
constexpr std::ptrdiff_t kPanelsOfReuse = 3;
// Pages whose addresses a core has at hand, and lines of a row's place in the first-level cache.
constexpr std::ptrdiff_t kPages = 64;
constexpr std::ptrdiff_t kLeastPlaces = 8;
constexpr std::ptrdiff_t kTilesGathered = 8;
// Depth from which, and panels of B between which, copies of A by tiles cost more than to store C transposed.
constexpr std::ptrdiff_t kTallDepth = 1024;
constexpr std::ptrdiff_t kTallPanels = 2, kTallPanelsMost = 8;
constexpr std::ptrdiff_t kColumnsGathered = 16;
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

// What the next tile adds to: it would wait for it.
template <class T>
void fetch_rows(const T* c, std::ptrdiff_t c_row, std::ptrdiff_t rows, std::ptrdiff_t columns) {
    for (; rows > 0; --rows, c += c_row)
        for (std::ptrdiff_t j = 0; j < columns; j += 64 / static_cast<std::ptrdiff_t>(sizeof(T))) __builtin_prefetch(c + j, 1);
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
    // Both operands lie by k, as in the gradient of weights: panels are copied faster than tiles, so they take the larger one.
    const bool some_panels = n >= kTallPanels * 2 * width && n < kTallPanelsMost * 2 * width;
    const bool tall = by_columns && b_.column == 1 && m >= 2 * n && k >= kTallDepth && some_panels;
    if (((narrow || tall) && !dots) || row_of_dots) {
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
        column_block_ = n, tile_rows_ = m;
        make_room(room);
        return;
    }
    if (dots_) {
        column_blocks_ = 1;
        column_block_ = 1;
        panels_ = padded<T>(b_.row == 1 ? 0 : k_);
        plan_rows(1, 8);
    } else {
        plan_tiles(room.ended);
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
        workspace_ += padded<T>(most * together_);
    }
    own_at_ = workspace_;
    workspace_ += (room.bytes + 63) / 64 * 64;
}

// Whether tiles may read B where it is: whole vectors that don't evict each other, on pages at hand.
template <class T>
bool Gemm<T>::near(std::ptrdiff_t vector) const {
    const std::ptrdiff_t row = std::abs(b_.row) * static_cast<std::ptrdiff_t>(sizeof(T));
    return row % vector == 0 && kCollision / std::gcd(row, kCollision) >= kLeastPlaces &&
           row * k_block_ <= kPages * kCollision;
}

template <class T>
void Gemm<T>::plan_tiles(bool ended) {
    const Blocking by = blocking();
    const auto size = static_cast<std::ptrdiff_t>(sizeof(T));
    const std::ptrdiff_t width = kernels_->width, panel = 2 * width;
    read_a_ = a_.column == 1 ? ReadA::kRows : a_.row == 1 ? ReadA::kColumns : ReadA::kAny;
    read_b_ = b_.column == 1 ? ReadB::kInPlace : b_.row == 1 ? ReadB::kColumns : ReadB::kAny;

    const bool reused = n_ >= kPanelsOfReuse * panel && m_ > 1;
    strips_ = read_a_ == ReadA::kAny || (read_a_ == ReadA::kColumns && reused);

    const std::ptrdiff_t in_first = strips_ ? 2 * by.strip / (kernels_->rows + panel) : by.strip / kernels_->rows;
    k_block_ = k_ == 0 ? 1 : ceil_div(k_, ceil_div(k_, std::max<std::ptrdiff_t>(in_first / size, 1)));
    if (read_b_ == ReadB::kInPlace && m_ >= (near(width * size) ? by.reuse : kReuse)) read_b_ = ReadB::kRows;
    const std::ptrdiff_t fitting = strips_ ? kColumns : by.panels / size / k_block_ / panel * panel;
    std::ptrdiff_t across = ceil_div(n_, std::clamp(fitting, panel, kColumns));
    // Two threads that share panels to be packed would both pack them; but an epilogue wants long rows.
    const bool packed = read_b_ != ReadB::kInPlace || n_ % width != 0;
    if (across == 1 && n_ >= 2 * panel && flops() > 16 * kBlockWork && packed && !ended) across = 2;
    column_block_ = ceil_div(ceil_div(n_, panel), across) * panel;
    column_blocks_ = static_cast<int>(ceil_div(n_, column_block_));
    // Few columns of A at a time would fetch each line of it several times over.
    plan_rows(column_blocks_, (strips_ ? kTilesGathered : 1) * kernels_->rows);

    panels_ = padded<T>(std::min(column_block_, ceil_div(n_, width) * width) * k_block_);
    const std::ptrdiff_t of_tile = kernels_->rows * (k_block_ + width);
    if (strips_) {
        const std::ptrdiff_t of_block = ceil_div(tiles_, row_blocks_) * of_tile;
        together_ = static_cast<int>(std::clamp<std::ptrdiff_t>(by.panels / 2 / size / of_block, 1, row_blocks_));
        rows_of_a_ = padded<T>(together_ * of_block);
    } else if (read_a_ == ReadA::kRows && reused && collides<T>(a_.row) && k_ > width) {
        rows_of_a_ = padded<T>(of_tile);
    }
}

// Cuts the rows so that blocks fit the cache and are enough for some threads; an even number, for two.
template <class T>
void Gemm<T>::plan_rows(std::ptrdiff_t across, std::ptrdiff_t least) {
    const std::ptrdiff_t row_bytes = std::min(column_block_, n_) * static_cast<std::ptrdiff_t>(sizeof(T));
    std::ptrdiff_t cuts = ceil_div(m_, std::max(least, kBlockBytes / row_bytes));
    const auto worth = static_cast<std::ptrdiff_t>(flops() / 2 / kBlockWork);
    cuts = std::max(cuts, std::min(ceil_div(std::min(worth, kBlocksWanted), across), ceil_div(m_, least)));
    if (cuts > 1 && across % 2 == 1) cuts += cuts % 2;
    tiles_ = ceil_div(m_, kernels_->rows);
    tile_rows_ = m_ / tiles_, longer_ = m_ % tiles_;
    row_blocks_ = static_cast<int>(std::clamp<std::ptrdiff_t>(cuts, 1, tiles_));
}

template <class T>
Block Gemm<T>::inner_block(int i) const {
    const int across = i / row_blocks_, down = i % row_blocks_;
    const std::ptrdiff_t row = row_at(tiles_ * down / row_blocks_), column = across * column_block_;
    return {row, row_at(tiles_ * (down + 1) / row_blocks_) - row, column, std::min(column_block_, n_ - column)};
}

template <class T>
Block Gemm<T>::blocks_together(int first, int last) const {
    Block b = inner_block(first);
    const Block end = inner_block(last - 1);
    b.rows = end.row + end.rows - b.row;
    return exchanged_ ? Block{b.column, b.columns, b.row, b.rows} : b;
}

template <class T>
Block Gemm<T>::block(int i) const {
    return blocks_together(i, i + 1);
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
    for (int until; first < last; first = until) { // copies of A serve all columns
        until = strips_ ? last : std::min(last, (first / row_blocks_ + 1) * row_blocks_);
        run_depths(first, until, a, b, c, add, end, space);
    }
}

// Some blocks, one block of k after the other.
template <class T>
void Gemm<T>::run_depths(int first, int last, const T* a, const T* b, T* c, bool add, const Epilogue& end,
                         char* space) const {
    Header& header = *reinterpret_cast<Header*>(space);
    std::ptrdiff_t done = 0;
    do { // at least once, so that C is set and finished for k = 0 too
        const std::ptrdiff_t k = std::min(k_block_, k_ - done);
        const T *a_part = a + done * a_.column, *b_part = b + done * b_.row;
        Tiles copied = {0, 0};
        for (int i = first, until; i < last; i = until) {
            const int across = i / row_blocks_, down = i % row_blocks_;
            until = std::min({last, (across + 1) * row_blocks_, i + together_});
            const Block head = inner_block(i);
            if (header.packed != across) pack_panels(b_part, k, head.column, head.columns, reinterpret_cast<T*>(space + kHeader));
            header.packed = across;
            const Tiles tiles = {tiles_ * down / row_blocks_, tiles_ * (down + until - i) / row_blocks_};
            if (strips_ && (tiles.first != copied.first || tiles.last != copied.last)) gather_strips(a_part, tiles, k, space);
            copied = tiles;
            T* to_c = c;
            std::ptrdiff_t c_row = c_row_;
            if (apart_) {
                const Block part = blocks_together(i, until);
                c_row = part.columns;
                to_c = reinterpret_cast<T*>(space + block_at_) - (part.row * c_row + part.column);
            }
            run_tiles(tiles, head, k, a_part, b_part, space, to_c, c_row, add || done > 0);
            for (int j = i; j < until && done + k >= k_; ++j) finish(end, j, to_c, c_row, space);
        }
        if (k < k_) header.packed = -1;
        done += k;
    } while (done < k_);
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

// Copies columns of B into panels; what is read in place has its place there too.
template <class T>
void Gemm<T>::pack_panels(const T* b, std::ptrdiff_t k, std::ptrdiff_t column, std::ptrdiff_t columns, T* out) const {
    const std::ptrdiff_t width = kernels_->width, panel = 2 * width;
    const T* from = b + column * b_.column;
    if (read_b_ == ReadB::kRows) return kernels_->pack_rows(k, columns, from, b_.row, out);
    for (std::ptrdiff_t j = 0; j < columns; j += panel, from += panel * b_.column, out += k * panel) {
        const std::ptrdiff_t some = std::min(panel, columns - j), stride = ceil_div(some, width) * width;
        if (read_b_ == ReadB::kColumns) {
            kernels_->pack_columns(k, static_cast<int>(some), from, b_.column, out, static_cast<int>(stride));
        } else if (read_b_ == ReadB::kInPlace) {
            if (some % width != 0) kernels_->pack_rows(k, some, from, b_.row, out);
        } else {
            for (std::ptrdiff_t p = 0; p < k; ++p)
                for (std::ptrdiff_t q = 0; q < stride; ++q)
                    out[p * stride + q] = q < some ? from[p * b_.row + q * b_.column] : T(0);
        }
    }
}

// Copies rows of A further apart.
template <class T>
void Gemm<T>::gather_rows(const T* a, std::ptrdiff_t rows, std::ptrdiff_t k, T* out) const {
    for (std::ptrdiff_t i = 0; i < rows; ++i) std::copy_n(a + i * a_.row, k, out + i * (k + kernels_->width));
}

// Copies tiles of A, whose columns are adjacent: tile by tile, its columns one after the other.
template <class T>
void Gemm<T>::gather_strips(const T* a, const Tiles& tiles, std::ptrdiff_t k, char* space) const {
    for (std::ptrdiff_t p = 0; p < k; p += kColumnsGathered) {
        const std::ptrdiff_t count = std::min(kColumnsGathered, k - p);
        T* strip = reinterpret_cast<T*>(space + kHeader + panels_);
        for (std::ptrdiff_t t = tiles.first; t < tiles.last; ++t) {
            const std::ptrdiff_t row = row_at(t), rows = row_at(t + 1) - row;
            const T* from = a + row * a_.row + p * a_.column;
            T* const to = strip + p * rows;
            if (read_a_ == ReadA::kColumns) {
                kernels_->pack_strip[rows](count, from, a_.column, to);
            } else {
                for (std::ptrdiff_t q = 0; q < count; ++q)
                    for (std::ptrdiff_t i = 0; i < rows; ++i) to[q * rows + i] = from[q * a_.column + i * a_.row];
            }
            strip += rows * k + kernels_->width;
        }
    }
}

// Where A is copied, one panel of B after the other stays in the first-level cache while it meets all tiles, which stay
// in the second; else it is the other way round, the rows of a tile in the first and the panels in the second.
template <class T>
void Gemm<T>::run_tiles(const Tiles& tiles, const Block& part, std::ptrdiff_t k, const T* a, const T* b, char* space, T* c,
                        std::ptrdiff_t c_row, bool add) const {
    if (strips_) return run_panels(tiles, part, {k, nullptr, 0, b, b_.row, c, c_row, 0, add}, space);
    const std::ptrdiff_t stride = read_a_ == ReadA::kRows ? a_.row : a_.column;
    for (std::ptrdiff_t t = tiles.first; t < tiles.last; ++t) {
        Tile<T> tile = {k, a + row_at(t) * a_.row, stride, b, b_.row, c, c_row, 0, add};
        if (rows_of_a_ != 0) {
            T* const gathered = reinterpret_cast<T*>(space + kHeader + panels_);
            gather_rows(tile.a, row_at(t + 1) - row_at(t), k, gathered);
            tile.a = gathered, tile.a_stride = k + kernels_->width;
        }
        run_panels({t, t + 1}, part, tile, space);
    }
}

// Some tiles with all panels. `all` has the first element of B and of C; of A, that of the tile or, copied, none.
template <class T>
void Gemm<T>::run_panels(const Tiles& tiles, const Block& part, const Tile<T>& all, char* space) const {
    const std::ptrdiff_t width = kernels_->width;
    const bool by_rows = read_a_ == ReadA::kRows;
    const auto& tiles_of_a = by_rows ? kernels_->by_rows : kernels_->by_columns;
    const T* panel = reinterpret_cast<const T*>(space + kHeader);
    std::ptrdiff_t columns = 0;
    for (std::ptrdiff_t j = 0; j < part.columns; j += columns) {
        const bool wide = m_ == 1 && !transposed_ && read_b_ == ReadB::kInPlace && part.columns - j >= 8 * width;
        columns = wide ? 8 * width : std::min(2 * width, part.columns - j);
        const std::ptrdiff_t across = (columns + width - 1) / width, column = part.column + j;
        const T* strip = reinterpret_cast<const T*>(space + kHeader + panels_);
        Tile<T> tile = all;
        const bool in_place = read_b_ == ReadB::kInPlace && columns % width == 0;
        if (in_place) tile.b += column;
        else tile.b = panel, tile.b_stride = across * width;
        tile.last = static_cast<int>(columns - (across - 1) * width);
        for (std::ptrdiff_t t = tiles.first; t < tiles.last; ++t) {
            const std::ptrdiff_t row = row_at(t), rows = row_at(t + 1) - row;
            if (strips_) tile.a = strip, tile.a_stride = rows, strip += rows * tile.k + width;
            const auto run = wide ? kernels_->wide_row[by_rows ? 0 : 1] : tiles_of_a[across - 1][rows];
            tile.c = all.c + (transposed_ ? column * all.c_stride + row : row * all.c_stride + column);
            if (tile.add && !transposed_) fetch_rows(tile.c + (strips_ ? rows * all.c_stride : columns), all.c_stride, rows, columns);
            if (transposed_) run_turned(tile, run, static_cast<int>(rows), static_cast<int>(columns), space);
            else run(tile);
        }
        panel += all.k * across * width;
    }
}

// A tile whose C is stored transposed.
template <class T>
void Gemm<T>::run_turned(Tile<T> tile, typename GemmKernels<T>::Run run, int rows, int columns, char* space) const {
    const int stride = 2 * kernels_->width;
    T* const turned = reinterpret_cast<T*>(space + kHeader + panels_ + rows_of_a_);
    T* const to = std::exchange(tile.c, turned);
    const std::ptrdiff_t c_row = std::exchange(tile.c_stride, stride);
    tile.last = kernels_->width;
    if (tile.add) kernels_->load_transposed(rows, columns, to, c_row, turned, stride);
    run(tile);
    kernels_->store_transposed(rows, columns, turned, stride, to, c_row);
}

template class Gemm<float>;
template class Gemm<double>;

} // namespace chainrule
