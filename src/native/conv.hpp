// What the convolutions share: the packing of images, and where the taps of windows read them.
#pragma once

#include <array>
#include <cstring>
#include <vector>

#include "kernels.hpp"
#include "tasks.hpp"

namespace chainrule::convolution {

using Index = std::ptrdiff_t;

constexpr double kConvFlopsPerNanosecond = 60; // about what one thread reaches
constexpr Index kTileVectors = 2;              // of a tile of images, side by side
constexpr double kWorthLeaving = 1.08;         // times less to compute where columns are done apart

template <class T>
const GemmKernels<T>& tile_kernels() {
    if constexpr (sizeof(T) == sizeof(float)) return kernels().gemm_f32;
    else return kernels().gemm_f64;
}

template <class T>
const ConvKernels<T>& conv_kernels() {
    if constexpr (sizeof(T) == sizeof(float)) return kernels().conv_f32;
    else return kernels().conv_f64;
}

inline Index floor_div(Index a, Index b) { return a / b - (a % b < 0); }
inline Index ceil_div(Index a, Index b) { return -floor_div(-a, b); }

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

// A short row: a call for each would take longer than its copy.
template <class T>
void copy_row(const T* x, Index n, T* out) {
    constexpr auto some = static_cast<Index>(16 / sizeof(T));
    if (n < some) {
        for (Index i = 0; i < n; ++i) out[i] = x[i];
        return;
    }
    for (Index i = 0; i + some <= n; i += some) std::memcpy(out + i, x + i, 16);
    std::memcpy(out + n - some, x + n - some, 16);
}

// Zeros, mostly very few.
template <class T>
void put_zeros(T* out, Index n) {
    if (n > 4) std::fill_n(out, n, T(0));
    else
        switch (n) {
        case 4: out[3] = T(0); [[fallthrough]];
        case 3: out[2] = T(0); [[fallthrough]];
        case 2: out[1] = T(0); [[fallthrough]];
        case 1: out[0] = T(0); [[fallthrough]];
        default: break;
        }
}

template <class T>
class Packer {
public:
    Packer(const Layout& from, Packed rows, Packed columns, Index lanes)
        : from_(from), rows_(std::move(rows)), columns_(std::move(columns)), lanes_(lanes) {
        plane_ = rows_.length * columns_.length * lanes_;
        for (const Index phase : columns_.phases) {
            const Index start = columns_.before - phase;
            const Index first = std::clamp<Index>(ceil_div(start, columns_.stride), 0, columns_.length);
            inside_.push_back({first, std::clamp<Index>(ceil_div(columns_.in + start, columns_.stride), first, columns_.length)});
        }
    }
    Index pitch() const { return columns_.length * lanes_; }
    Index plane() const { return plane_; } // of one phase
    Index phases() const { return static_cast<Index>(rows_.phases.size() * columns_.phases.size()); }
    Index column_phases() const { return static_cast<Index>(columns_.phases.size()); }
    Index elements() const { return from_.channels * phases() * plane_; }
    // An image where it is, if packing it would change nothing; else nullptr.
    const T* in_place(const T* x, Index image) const {
        const auto& by = from_.strides;
        const bool same = lanes_ == 1 && phases() == 1 && rows_.stride * columns_.stride == 1 && rows_.before + columns_.before == 0 &&
                          rows_.length == rows_.in && columns_.length == columns_.in && by[1] == plane_ && by[2] == pitch() && by[3] == 1;
        return same ? x + image * by[0] : nullptr;
    }

    void pack(const T* x, Index first, Index images, T* out) const {
        x += first * from_.strides[0];
        for (Index c = 0; c < from_.channels; ++c, x += from_.strides[1])
            for (std::size_t a = 0; a < rows_.phases.size(); ++a)
                for (std::size_t b = 0; b < columns_.phases.size(); ++b)
                    for (Index q = 0; q < rows_.length; ++q, out += pitch()) row(x, rows_.at(q, a), b, images, out);
    }

private:
    void row(const T* x, Index h, std::size_t phase, Index images, T* out) const {
        const Index n = columns_.length;
        const bool inside = h >= 0 && h < rows_.in;
        const Index first = inside ? inside_[phase].first : n, last = inside ? inside_[phase].second : n;
        put_zeros(out, first * lanes_);
        put_zeros(out + last * lanes_, (n - last) * lanes_);
        if (first == last) return;
        x += h * from_.strides[2] + columns_.at(first, phase) * from_.strides[3];
        const Index by = columns_.stride * from_.strides[3];
        out += first * lanes_;
        if (lanes_ == 1 && by == 1) copy_row(x, last - first, out);
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
    std::vector<std::pair<Index, Index>> inside_; // of each phase, which columns lie in the array
};

// What the windows of an axis read: the packed axis, and where its taps are.
inline Packed read_by_windows(const Axis& axis, std::vector<Tap>& taps) {
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
inline std::vector<Positions> reached_by_windows(const Axis& axis, Packed& packed) {
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

// Calls f(block, first image, images, own memory) for all blocks.
template <class F>
void for_blocks(const Context& c, Index examples, Index lanes, double flops, F f) {
    const Index blocks = ceil_div(examples, lanes);
    const auto one = [&](int block, int member) { f(block, block * lanes, std::min(lanes, examples - block * lanes), c.own(member)); };
    if (blocks > 1 && c.team.worth(flops / kConvFlopsPerNanosecond)) c.team.run(static_cast<int>(blocks), one);
    else
        for (Index b = 0; b < blocks; ++b) one(static_cast<int>(b), 0);
}

// Channels of a group that are computed together.
struct Panel {
    Index first, columns; // of them
    Index stride;         // of a row of their weights: the columns, and zeros
    Index before;         // the strides of the panels before it
};

// A convolution, or its adjoint in x: for each position, weights times what its taps read.
template <class T>
class TapTask : public Task {
public:
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
        T* const memory = source + ceil_div(source_, 16) * 16;
        for (; first < last; first += lanes_) {
            const Index images = std::min(lanes_, last - first);
            packer_.pack(c.at<T>(from_), first, images, source);
            compute(source, memory, first, images, c.at<T>(to_));
        }
    }

protected:
    // What is computed with the same taps: for the adjoint one phase of the result.
    struct Pass {
        Positions rows, columns;
        Positions line;                              // the columns of all passes that fill one result
        bool last = true;                            // of those passes
        std::vector<Index> offsets;                  // of the rows of the second operand
        std::vector<std::pair<Index, Index>> within; // of each row, the range of them that lies in the array and not in zeros
        Index depth = 0, start = 0, weights = 0;
    };

    TapTask(const Shapes& s, bool adjoint, Place from, Place weight, Place to, Index lanes)
        : s_(s), adjoint_(adjoint), lanes_(lanes), packer_(plan()), from_(from), weight_(weight), to_(to) {
        source_ = packer_.elements() + 2 * tile_kernels<T>().width;
    }
    // Called once, before all else.
    void set_panels(std::vector<Panel> panels, Index result) {
        panels_ = std::move(panels), result_ = result;
        Index size = 0;
        for (Pass& p : passes_) {
            p.weights = size;
            size += s_.groups * p.depth * weight_row();
        }
        weights_.resize(static_cast<std::size_t>(size));
    }
    // Some images, of what was packed of them.
    virtual void compute(const T* source, T* memory, Index first, Index images, T* to) const = 0;

    Index rows() const { return adjoint_ ? s_.channels : s_.filters; } // of the result
    Index rows_each() const { return rows() / s_.groups; }
    Index read_each() const { return (adjoint_ ? s_.filters : s_.channels) / s_.groups; }
    const T* weights(const Pass& p, Index group, const Panel& panel) const {
        return weights_.data() + p.weights + (group * weight_row() + panel.before) * p.depth;
    }
    const T* source(const T* source, const Pass& p, Index group) const {
        return source + group * read_each() * packer_.phases() * packer_.plane() + p.start;
    }

    Shapes s_;
    bool adjoint_;
    Index lanes_;
    std::vector<Pass> passes_;
    std::vector<Panel> panels_; // of each group
    Packer<T> packer_;

private:
    Index weight_row() const { return panels_.back().before + panels_.back().stride; }

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

    void pack_weights(const T* w) {
        const auto& by = s_.w.strides; // channel, row, column, filter
        const Index result_by = adjoint_ ? by[0] : by[3], read_by = adjoint_ ? by[3] : by[0];
        const Index group_by = s_.filters / s_.groups * by[3];
        for (const Pass& p : passes_) {
            T* out = weights_.data() + p.weights;
            for (Index g = 0; g < s_.groups; ++g)
                for (const Panel& panel : panels_)
                    for (const auto& tap : p.rows.taps)
                        for (Index c = 0; c < read_each(); ++c)
                            for (const auto& other : p.columns.taps) {
                                const T* at = w + g * group_by + panel.first * result_by + c * read_by + tap.first * by[1] + other.first * by[2];
                                if (result_by == 1) copy_row(at, panel.columns, out);
                                else
                                    for (Index i = 0; i < panel.columns; ++i, at += result_by) out[i] = *at;
                                for (Index i = panel.columns; i < panel.stride; ++i) out[i] = T(0);
                                out += panel.stride;
                            }
        }
    }

    Place from_, weight_, to_;
    std::vector<T> weights_;
    Index source_ = 0, result_ = 0; // elements of a member's memory
};

// Each image in a lane of a vector, or one after the other.
template <class T>
std::unique_ptr<Task> taps_of_images(const Shapes& s, bool adjoint, Place from, Place weight, Place to);
template <class T>
std::unique_ptr<Task> sums_of_images(const Shapes& s, Place x, Place y, Place w);
// Each channel of the result in a lane.
template <class T>
std::unique_ptr<Task> taps_of_channels(const Shapes& s, bool adjoint, Place from, Place weight, Place to);
template <class T>
std::unique_ptr<Task> sums_of_channels(const Shapes& s, Place x, Place y, Place w);

} // namespace chainrule::convolution
