// Convolutions without a matrix of patches: multiplies whose second operand is read through the taps of the windows.
//
// Images are packed in blocks: one in each lane of a vector ([channel][row][column][image]), or, where there are few,
// one after the other. Zeros around them are packed, too, and the columns and rows that a stride skips lie apart, in
// phases: then every tap of every window is a constant distance from the window's place.
#include <array>
#include <cstring>
#include <vector>

#include "kernels.hpp"
#include "tasks.hpp"

namespace chainrule {
namespace {

using Index = std::ptrdiff_t;

constexpr double kConvFlopsPerNanosecond = 60; // about what one thread reaches
constexpr Index kRowsBytes = 128 * 1024;       // of the planes that sums over positions read at a time
constexpr Index kMostSums = 16;                // parts of a sum over examples
constexpr Index kSumsBytes = 32 * 1024 * 1024; // that they may take together

template <class T>
const GemmKernels<T>& tile_kernels() {
    if constexpr (sizeof(T) == sizeof(float)) return kernels().gemm_f32;
    else return kernels().gemm_f64;
}

Index floor_div(Index a, Index b) { return a / b - (a % b < 0); }
Index ceil_div(Index a, Index b) { return -floor_div(-a, b); }

// One axis of a convolution.
struct Axis {
    Index in, size, stride, dilation, before, out;
    Index distance(Index tap) const { return tap * dilation; } // from the window's place to a tap
};

// One axis of what is packed: element q of a phase is element q stride + phase - before of the array, or zero.
struct Packed {
    Index in = 1, stride = 1, before = 0, length = 1;
    std::vector<Index> phases = {0};
    Index at(Index q, std::size_t phase) const { return q * stride + phases[phase] - before; }
};

// The four axes of an operand in memory: examples, channels, rows, columns; in elements.
struct Layout {
    Index examples, channels;
    std::array<Index, 4> strides;
};

// Where taps read, along one axis: the phase and the distance within it.
struct Tap {
    Index phase, shift;
};

template <class T>
class Packer {
public:
    Packer(const Layout& from, Packed rows, Packed columns, Index lanes)
        : from_(from), rows_(std::move(rows)), columns_(std::move(columns)), lanes_(lanes) {
        plane_ = rows_.length * columns_.length * lanes_;
    }
    Index pitch() const { return columns_.length * lanes_; }
    Index plane() const { return plane_; } // of one phase
    Index phases() const { return static_cast<Index>(rows_.phases.size() * columns_.phases.size()); }
    Index column_phases() const { return static_cast<Index>(columns_.phases.size()); }
    Index elements() const { return from_.channels * phases() * plane_; }

    void pack(const T* x, Index first, Index images, T* out) const {
        x += first * from_.strides[0];
        for (Index c = 0; c < from_.channels; ++c, x += from_.strides[1])
            for (std::size_t a = 0; a < rows_.phases.size(); ++a)
                for (std::size_t b = 0; b < columns_.phases.size(); ++b)
                    for (Index q = 0; q < rows_.length; ++q, out += pitch()) row(x, rows_.at(q, a), b, images, out);
    }

private:
    void row(const T* x, Index h, std::size_t phase, Index images, T* out) const {
        const Index n = columns_.length, step = columns_.stride, start = columns_.before - columns_.phases[phase];
        const bool inside = h >= 0 && h < rows_.in;
        const Index first = inside ? std::clamp<Index>(ceil_div(start, step), 0, n) : n;
        const Index last = inside ? std::clamp<Index>(ceil_div(columns_.in + start, step), first, n) : n;
        std::fill_n(out, first * lanes_, T(0));
        std::fill_n(out + last * lanes_, (n - last) * lanes_, T(0));
        if (first == last) return;
        x += h * from_.strides[2] + columns_.at(first, phase) * from_.strides[3];
        const Index by = step * from_.strides[3];
        out += first * lanes_;
        if (lanes_ == 1 && by == 1) std::copy_n(x, last - first, out);
        else if (by == 1)
            tile_kernels<T>().pack_columns(last - first, static_cast<int>(images), x, from_.strides[0], out, static_cast<int>(lanes_));
        else
            for (Index q = first; q < last; ++q, x += by, out += lanes_) {
                for (Index i = 0; i < images; ++i) out[i] = x[i * from_.strides[0]];
                std::fill_n(out + images, lanes_ - images, T(0));
            }
    }

    Layout from_;
    Packed rows_, columns_;
    Index lanes_, plane_ = 0;
};

// What the windows of an axis read: the packed axis, and where its taps are.
Packed read_by_windows(const Axis& axis, std::vector<Tap>& taps) {
    Packed packed = {axis.in, axis.stride, axis.before, axis.out + axis.distance(axis.size - 1) / axis.stride, {}};
    for (Index k = 0; k < axis.size; ++k) {
        const Index phase = axis.distance(k) % axis.stride;
        const auto found = std::find(packed.phases.begin(), packed.phases.end(), phase);
        taps.push_back({found - packed.phases.begin(), axis.distance(k) / axis.stride});
        if (found == packed.phases.end()) packed.phases.push_back(phase);
    }
    return packed;
}

// Positions along an axis that are computed together: `count` of them, every `step`-th of the result from `first`. They
// read from `start` of the packed axis; a tap `shift` elements further on.
struct Positions {
    Index first, count, step, start;
    std::vector<std::pair<Index, Index>> taps; // (tap, shift)
};

// The same for the adjoint, for each phase of the result: those taps that reach it.
std::vector<Positions> reached_by_windows(const Axis& axis, Packed& packed) {
    const Index most = axis.distance(axis.size - 1) / axis.stride, base = ceil_div(axis.before - axis.stride + 1, axis.stride) - most;
    std::vector<Positions> all;
    packed = {axis.out, 1, -base, 1, {0}};
    for (Index phase = 0; phase < axis.stride; ++phase) {
        const Index low = ceil_div(axis.before - phase, axis.stride), high = floor_div(axis.before + axis.in - 1 - phase, axis.stride);
        if (high < low) continue;
        Positions p = {low * axis.stride + phase - axis.before, high - low + 1, axis.stride, low - base, {}};
        for (Index k = 0; k < axis.size; ++k)
            if (axis.distance(k) % axis.stride == phase) p.taps.push_back({k, -(axis.distance(k) / axis.stride)});
        packed.length = std::max(packed.length, high - base + 1);
        all.push_back(p);
    }
    return all;
}

// The operands of a step, whichever of the three it is.
struct Shapes {
    std::array<Axis, 2> axes;
    Layout x, y, w; // of w: its strides for channels, rows, columns and filters
    Index examples, channels, filters, groups;

    Index taps() const { return axes[0].size * axes[1].size; }
    double flops() const {
        const double each = static_cast<double>(channels / groups * taps()) * static_cast<double>(filters);
        return 2 * each * static_cast<double>(examples * axes[0].out * axes[1].out);
    }
};

constexpr Index kVectorLanes = 2;      // a block of images fills at least half of the lanes
constexpr Index kTileVectors = 2;      // of a tile, side by side
constexpr double kWorthLeaving = 1.08; // times less to compute where columns are done apart

template <class T>
Index lanes_for(Index examples) {
    const Index width = tile_kernels<T>().width;
    return kVectorLanes * examples >= width ? width : 1;
}

// Calls f(block, first image, images, own memory) for all blocks.
template <class F>
void for_blocks(const Context& c, Index examples, Index lanes, double flops, F f) {
    const Index blocks = ceil_div(examples, lanes);
    const auto one = [&](int block, int member) { f(block, block * lanes, std::min(lanes, examples - block * lanes), c.own(member)); };
    if (blocks > 1 && c.team.worth(flops / kConvFlopsPerNanosecond)) c.team.run(static_cast<int>(blocks), one);
    else
        for (Index b = 0; b < blocks; ++b) one(static_cast<int>(b), 0);
}

// A convolution, or its adjoint in x: for each position, weights times what its taps read.
template <class T>
class TapTask final : public Task {
public:
    TapTask(const Shapes& s, bool adjoint, Place from, Place weight, Place to)
        : s_(s), adjoint_(adjoint), from_(from), weight_(weight), to_(to), lanes_(lanes_for<T>(s.examples)), packer_(plan()) {
        Index size = 0;
        for (Pass& p : passes_) {
            pitch(p);
            result_ = std::max(result_, rows() * p.rows.count * p.pitch);
            p.weights = size;
            size += s_.groups * p.depth * rows_each();
        }
        weights_.resize(static_cast<std::size_t>(size));
        const Index slack = 2 * tile_kernels<T>().width;
        source_ = packer_.elements() + slack;
        result_ += slack;
    }
    std::size_t workspace() const override { return static_cast<std::size_t>(source_ + result_) * sizeof(T) + 128; }
    void run(const Context& c) override {
        if (s_.examples == 0) return;
        start(c);
        for_blocks(c, s_.examples, lanes_, s_.flops(), [&](Index, Index first, Index images, char* own) { run_some(c, first, first + images, own); });
    }
    Division division() const override { return {s_.examples, lanes_, s_.flops() / kConvFlopsPerNanosecond, 1, false}; }
    void start(const Context& c) override { pack_weights(c.at<T>(weight_)); }
    void run_some(const Context& c, Index first, Index last, char* own) override {
        T* const source = reinterpret_cast<T*>(own);
        T* const result = source + ceil_div(source_, 16) * 16;
        for (; first < last; first += lanes_) {
            const Index images = std::min(lanes_, last - first);
            packer_.pack(c.at<T>(from_), first, images, source);
            for (const Pass& p : passes_) {
                compute(p, source, result + (p.columns.start - p.line.start) * lanes_);
                if (p.last) store(p, result, first, images, c.at<T>(to_));
            }
        }
    }

private:
    // What is computed with the same taps: for the adjoint one phase of the result.
    struct Pass {
        Positions rows, columns;
        Positions line;                              // the columns of all passes that fill one result
        bool last = true;                            // of those passes
        std::vector<Index> offsets;                  // of the rows of the second operand
        std::vector<std::pair<Index, Index>> within; // of each row, the range of them that lies in the array and not in zeros
        Index depth = 0, start = 0, pitch = 0, runs = 0, run = 0, weights = 0;
    };

    Index rows() const { return adjoint_ ? s_.channels : s_.filters; } // of the result
    Index rows_each() const { return rows() / s_.groups; }
    Index read_each() const { return (adjoint_ ? s_.filters : s_.channels) / s_.groups; }

    Packer<T> plan() {
        std::array<Packed, 2> packed;
        std::array<std::vector<Positions>, 2> positions;
        std::array<std::vector<Tap>, 2> taps;
        for (std::size_t a = 0; a < 2; ++a) {
            const Axis& axis = s_.axes[a];
            if (adjoint_) {
                positions[a] = reached_by_windows(axis, packed[a]);
                taps[a].resize(static_cast<std::size_t>(axis.size), {0, 0});
            } else {
                packed[a] = read_by_windows(axis, taps[a]);
                Positions all = {0, axis.out, 1, 0, {}};
                for (Index k = 0; k < axis.size; ++k) all.taps.push_back({k, taps[a][static_cast<std::size_t>(k)].shift});
                positions[a] = {all};
            }
        }
        Packer<T> packer(adjoint_ ? s_.y : s_.x, packed[0], packed[1], lanes_);
        for (const Positions& rows : positions[0])
            for (const auto& [columns, line, last] : parts(positions[1], packed[1], taps[1])) {
                Pass p = {rows, columns, line, last, {}, {}};
                p.start = rows.start * packer.pitch() + columns.start * lanes_;
                for (const auto& [k, down] : rows.taps)
                    for (Index c = 0; c < read_each(); ++c)
                        for (const auto& [l, across] : columns.taps) {
                            const Index phase = taps[0][static_cast<std::size_t>(k)].phase * packer.column_phases() +
                                                taps[1][static_cast<std::size_t>(l)].phase;
                            const Index plane = c * packer.phases() + phase;
                            p.offsets.push_back(plane * packer.plane() + down * packer.pitch() + across * lanes_);
                        }
                p.depth = static_cast<Index>(p.offsets.size());
                p.within = within(p, packed[0], taps[0]);
                passes_.push_back(p);
            }
        return packer;
    }

    struct Part {
        Positions columns, line;
        bool last;
    };

    // Columns whose windows reach zeros beyond the array apart from others, if that leaves out enough of their taps.
    std::vector<Part> parts(const std::vector<Positions>& lines, const Packed& packed, const std::vector<Tap>& taps) const {
        std::vector<Part> all;
        for (const Positions& line : lines) {
            std::vector<Part> found;
            Index left = 0;
            for (Index i = 0; i < line.count; i += kTileVectors) {
                Positions some = {line.first + i * line.step, std::min(kTileVectors, line.count - i), line.step, line.start + i, {}};
                for (const auto& tap : line.taps) {
                    const Tap& t = taps[static_cast<std::size_t>(tap.first)];
                    const Index at = packed.at(some.start + tap.second, static_cast<std::size_t>(t.phase)), end = at + (some.count - 1) * packed.stride;
                    if (end >= 0 && at < packed.in) some.taps.push_back(tap);
                }
                left += some.count * static_cast<Index>(some.taps.size());
                if (!found.empty() && found.back().columns.taps == some.taps) found.back().columns.count += some.count;
                else found.push_back({some, line, false});
            }
            const bool worth = lanes_ > 1 && kWorthLeaving * static_cast<double>(left) < static_cast<double>(line.count) * static_cast<double>(line.taps.size());
            if (!worth) found = {{line, line, false}};
            found.back().last = true;
            all.insert(all.end(), found.begin(), found.end());
        }
        return all;
    }

    // For each row, from which of the second operand's rows to which it reads: those of taps within the array.
    std::vector<std::pair<Index, Index>> within(const Pass& p, const Packed& packed, const std::vector<Tap>& taps) const {
        std::vector<std::pair<Index, Index>> found;
        const auto count = static_cast<Index>(p.rows.taps.size()), each = count > 0 ? p.depth / count : 0;
        for (Index r = 0; r < p.rows.count; ++r) {
            const auto inside = [&](Index t) {
                const auto& [k, down] = p.rows.taps[static_cast<std::size_t>(t)];
                const Index at = packed.at(p.rows.start + r + down, static_cast<std::size_t>(taps[static_cast<std::size_t>(k)].phase));
                return at >= 0 && at < packed.in;
            };
            Index first = 0, last = count;
            while (first < last && !inside(first)) ++first;
            while (last > first && !inside(last - 1)) --last;
            found.push_back({first * each, last * each});
        }
        return found;
    }

    // Images in lanes: row by row. One image: all rows at once, and what lies between them is computed for nothing.
    void pitch(Pass& p) const {
        const bool flat = lanes_ == 1;
        p.pitch = flat ? packer_.pitch() : p.line.count * lanes_;
        p.runs = flat ? 1 : p.rows.count;
        p.run = flat ? (p.rows.count - 1) * p.pitch + p.columns.count : p.columns.count * lanes_;
    }

    void pack_weights(const T* w) {
        const auto& by = s_.w.strides; // channel, row, column, filter
        const Index result_by = adjoint_ ? by[0] : by[3], read_by = adjoint_ ? by[3] : by[0];
        const Index group_by = s_.filters / s_.groups * by[3];
        for (const Pass& p : passes_) {
            T* out = weights_.data() + p.weights;
            for (Index g = 0; g < s_.groups; ++g)
                for (const auto& tap : p.rows.taps)
                    for (Index c = 0; c < read_each(); ++c)
                        for (const auto& other : p.columns.taps) {
                            const T* at = w + g * group_by + c * read_by + tap.first * by[1] + other.first * by[2];
                            for (Index i = 0; i < rows_each(); ++i, at += result_by) *out++ = *at;
                        }
        }
    }

    void compute(const Pass& p, const T* source, T* result) const {
        const GemmKernels<T>& k = tile_kernels<T>();
        const Index width = k.width, each = rows_each(), tiles = ceil_div(each, k.rows), plane = p.rows.count * p.pitch;
        for (Index g = 0; g < s_.groups; ++g) {
            const T* const weights = weights_.data() + p.weights + g * p.depth * each;
            const T* const from = source + g * read_each() * packer_.phases() * packer_.plane() + p.start;
            T* const to = result + g * each * plane;
            for (Index r = 0; r < p.runs; ++r) {
                const auto [low, high] = p.runs == 1 ? std::pair{Index{0}, p.depth} : p.within[static_cast<std::size_t>(r)];
                for (Index q = 0; q < p.run; q += 2 * width) {
                    const Index columns = std::min(2 * width, p.run - q), across = ceil_div(columns, width);
                    const auto last = static_cast<int>(columns - (across - 1) * width);
                    for (Index t = 0; t < tiles; ++t) {
                        const Index first = each * t / tiles, count = each * (t + 1) / tiles - first;
                        T* const c = to + first * plane + r * p.pitch + q;
                        k.taps[across - 1][count]({high - low, weights + low * each + first, each, from + r * packer_.pitch() + q, 0, c,
                                                   plane, last, false, p.offsets.data() + low});
                    }
                }
            }
        }
    }

    void store(const Pass& p, const T* result, Index first, Index images, T* to) const {
        const auto& by = (adjoint_ ? s_.x : s_.y).strides;
        const Index plane = p.rows.count * p.pitch;
        const bool whole = lanes_ > 1 && p.line.step == 1 && p.rows.step == 1;
        to += first * by[0] + p.rows.first * by[2] + p.line.first;
        for (Index c = 0; c < rows(); ++c, to += by[1], result += plane) {
            if (whole) {
                const auto count = static_cast<int>(p.rows.count * p.line.count);
                tile_kernels<T>().store_transposed(count, static_cast<int>(images), result, static_cast<int>(lanes_), to, by[0]);
                continue;
            }
            for (Index h = 0; h < p.rows.count; ++h) {
                const T* from = result + h * p.pitch;
                T* row = to + h * p.rows.step * by[2];
                if (lanes_ == 1 && p.line.step == 1) std::copy_n(from, p.line.count, row);
                else
                    for (Index q = 0; q < p.line.count; ++q, from += lanes_, row += p.line.step)
                        for (Index i = 0; i < images; ++i) row[i * by[0]] = from[i];
            }
        }
    }

    Shapes s_;
    bool adjoint_;
    Place from_, weight_, to_;
    Index lanes_;
    std::vector<Pass> passes_;
    Packer<T> packer_;
    std::vector<T> weights_;
    Index source_ = 0, result_ = 0; // elements of a member's memory
};

// The adjoint in the weights: for each filter and tap, a sum over examples and positions. The examples are cut into
// parts, the same for any number of threads, whose sums are added in order.
template <class T>
class SumTask final : public Task {
public:
    SumTask(const Shapes& s, Place x, Place y, Place w)
        : s_(s), x_(x), y_(y), w_(w), lanes_(lanes_for<T>(s.examples)), windows_(plan()),
          places_(s.y, {s.axes[0].out, 1, 0, s.axes[0].out, {0}}, {s.axes[1].out, 1, 0, s.axes[1].out, {0}}, lanes_) {
        size_ = s_.channels / s_.groups * s_.taps() * s_.filters;
        blocks_ = ceil_div(s_.examples, lanes_);
        const Index most = std::max<Index>(1, kSumsBytes / (size_ * static_cast<Index>(sizeof(T))));
        parts_ = std::max<Index>(1, std::min({blocks_, most, kMostSums}));
        if (parts_ > 1) sums_.resize(static_cast<std::size_t>(parts_ * size_));
        const Index planes = (tile_kernels<T>().dot_filters * places_.pitch() + 2 * windows_.pitch()) * static_cast<Index>(sizeof(T));
        rows_ = std::clamp<Index>(kRowsBytes / planes, 1, s_.axes[0].out);
    }
    std::size_t workspace() const override { return static_cast<std::size_t>(windows_.elements() + places_.elements() + 16) * sizeof(T) + 128; }
    void run(const Context& c) override {
        for_blocks(c, parts_, 1, s_.flops(), [&](Index part, Index, Index, char* own) {
            sum(c, part, blocks_ * part / parts_, blocks_ * (part + 1) / parts_, own);
        });
        finish(c);
    }
    // Where each block has a sum of its own.
    Division division() const override {
        if (parts_ != blocks_) return {};
        return {s_.examples, lanes_, s_.flops() / kConvFlopsPerNanosecond, 2, true};
    }
    void run_some(const Context& c, Index first, Index last, char* own) override {
        for (Index b = first / lanes_; b * lanes_ < last; ++b) sum(c, b, b, b + 1, own);
    }
    void finish(const Context& c) override {
        if (parts_ == 1) return;
        T *const w = c.at<T>(w_), *const sums = sums_.data();
        in_ranges(c, size_, parts_, [&](Index first, Index last, int) {
            for (Index i = first; i < last; ++i) {
                T sum = sums[i];
                for (Index part = 1; part < parts_; ++part) sum += sums[part * size_ + i];
                w[i] = sum;
            }
        });
    }

private:
    // The sum over some blocks of examples.
    void sum(const Context& c, Index part, Index first_block, Index last_block, char* own) {
        T* const of_x = reinterpret_cast<T*>(own);
        T* const of_y = of_x + ceil_div(windows_.elements(), 16) * 16;
        T* const out = (parts_ > 1 ? sums_.data() : c.at<T>(w_)) + part * size_;
        std::fill_n(out, size_, T(0));
        for (Index b = first_block; b < last_block; ++b) {
            const Index first = b * lanes_, images = std::min(lanes_, s_.examples - first);
            windows_.pack(c.at<T>(x_), first, images, of_x);
            places_.pack(c.at<T>(y_), first, images, of_y);
            add(of_x, of_y, out);
        }
    }

    Packer<T> plan() {
        std::array<std::vector<Tap>, 2> taps;
        const Packed rows = read_by_windows(s_.axes[0], taps[0]), columns = read_by_windows(s_.axes[1], taps[1]);
        Packer<T> packer(s_.x, rows, columns, lanes_);
        for (Index c = 0; c < s_.channels / s_.groups; ++c)
            for (const Tap& down : taps[0])
                for (const Tap& across : taps[1]) {
                    const Index plane = c * packer.phases() + down.phase * packer.column_phases() + across.phase;
                    offsets_.push_back(plane * packer.plane() + down.shift * packer.pitch() + across.shift * lanes_);
                }
        return packer;
    }

    // Some rows at a time, so that they stay in the cache while all filters and taps read them.
    void add(const T* x, const T* y, T* out) const {
        const GemmKernels<T>& k = tile_kernels<T>();
        const Index filters = s_.filters / s_.groups, taps = static_cast<Index>(offsets_.size());
        const Index across = ceil_div(filters, k.dot_filters), down = ceil_div(taps, k.dot_taps);
        const Index run = s_.axes[1].out * lanes_;
        for (Index g = 0; g < s_.groups; ++g)
            for (Index row = 0; row < s_.axes[0].out; row += rows_) {
                const T* const from = x + g * (s_.channels / s_.groups) * windows_.phases() * windows_.plane() + row * windows_.pitch();
                const T* const places = y + g * filters * places_.plane() + row * places_.pitch();
                const Index rows = std::min(rows_, s_.axes[0].out - row);
                for (Index j = 0; j < down; ++j) {
                    const Index tap = taps * j / down, tap_count = taps * (j + 1) / down - tap;
                    for (Index i = 0; i < across; ++i) {
                        const Index filter = filters * i / across, count = filters * (i + 1) / across - filter;
                        k.dots[count][tap_count]({rows, run, places + filter * places_.plane(), places_.pitch(), places_.plane(), from,
                                                  windows_.pitch(), offsets_.data() + tap, out + tap * s_.filters + g * filters + filter,
                                                  s_.filters});
                    }
                }
            }
    }

    Shapes s_;
    Place x_, y_, w_;
    Index lanes_;
    std::vector<Index> offsets_;
    Packer<T> windows_, places_;
    std::vector<T> sums_;
    Index size_ = 0, blocks_ = 0, parts_ = 1, rows_ = 1;
};

// (examples, channels, rows, columns) of an array with one or two axes in space.
Layout layout_of(const ValueSpec& v, Index size) {
    Layout l = {v.shape[0], v.shape[1], {}};
    const std::size_t n = v.shape.size();
    l.strides = {v.strides[0] / size, v.strides[1] / size, n == 4 ? v.strides[2] / size : 0, v.strides[n - 1] / size};
    return l;
}

// numbers: strides, dilations and zeros before each axis in space; the number of groups.
Shapes shapes_of(const StepSpec& step, const ValueSpec& x, const ValueSpec& w, const ValueSpec& y) {
    const std::size_t axes = x.shape.size(), space = axes - 2;
    require((axes == 3 || axes == 4) && w.shape.size() == axes && y.shape.size() == axes, "conv: expected one or two axes in space");
    require(step.numbers.size() == 3 * space + 1, "conv: the wrong number of settings");
    Shapes s = {};
    s.groups = step.numbers.back();
    for (std::size_t a = 0; a < space; ++a) {
        const Index stride = step.numbers[a], dilation = step.numbers[space + a], before = step.numbers[2 * space + a];
        require(stride >= 1 && dilation >= 1 && before >= 0, "conv: a setting is out of range");
        s.axes[a + 2 - space] = {x.shape[2 + a], w.shape[1 + a], stride, dilation, before, y.shape[2 + a]};
    }
    if (space == 1) s.axes[0] = {1, 1, 1, 1, 0, 1};
    const Index size = item(x);
    s.x = layout_of(x, size), s.y = layout_of(y, size), s.w = {};
    s.w.strides = {w.strides[0] / size, space == 2 ? w.strides[1] / size : 0, w.strides[space] / size, w.strides[space + 1] / size};
    s.examples = x.shape[0], s.channels = x.shape[1], s.filters = w.shape[axes - 1];
    require(s.groups >= 1 && s.channels == s.groups * w.shape[0] && s.filters % s.groups == 0, "conv: the groups do not divide the channels");
    require(y.shape[0] == s.examples && y.shape[1] == s.filters, "conv: the shapes do not match");
    for (const Axis& a : s.axes) require(a.in >= 1 && a.size >= 1 && a.out >= 1, "conv: an axis is empty");
    return s;
}

template <class T>
std::unique_ptr<Task> task_of(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &a = value(p, step.inputs[0]), &b = value(p, step.inputs[1]), &out = value(p, step.output);
    const Place first = place_of(p, step.inputs[0]), second = place_of(p, step.inputs[1]), to = place_of(p, step.output);
    if (step.op == "conv") return std::make_unique<TapTask<T>>(shapes_of(step, a, b, out), false, first, second, to);
    if (step.op == "conv_input") return std::make_unique<TapTask<T>>(shapes_of(step, out, b, a), true, first, second, to);
    return std::make_unique<SumTask<T>>(shapes_of(step, a, out, b), first, second, to);
}

} // namespace

std::unique_ptr<Task> conv_task(const ProgramSpec& p, const StepSpec& step) {
    require(step.inputs.size() == 2, "conv: expected two operands");
    const DType d = value(p, step.output).dtype;
    require(value(p, step.inputs[0]).dtype == d && value(p, step.inputs[1]).dtype == d, "conv: the dtypes differ");
    const std::size_t axes = value(p, step.output).shape.size();
    if (!real(d) || axes < 3 || axes > 4) return nullptr;
    if (d == DType::float32) return task_of<float>(p, step);
    return task_of<double>(p, step);
}

} // namespace chainrule
