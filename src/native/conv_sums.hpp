// Sums of a convolution over examples and places: the gradient of its filters.
#pragma once

#include <vector>

#include "conv.hpp"

namespace chainrule::convolution {

// The adjoint in the weights: for each filter and tap, a sum over examples and positions. The examples are cut into
// parts, the same for any number of threads, whose sums are added in order.
template <class T>
class SumTask : public Task {
public:
    std::size_t workspace() const override { return static_cast<std::size_t>(windows_.elements() + places_.elements() + memory_ + 32) * sizeof(T) + 128; }
    void run(const Context& c) override {
        for_blocks(c, parts_, 1, s_.flops(), [&](Index part, Index, Index, char* own) { sum(c, part, own); });
        finish(c);
    }
    Division division() const override { return {s_.examples, lanes_ * blocks_, s_.flops() / kConvFlopsPerNanosecond, 2, true}; }
    void run_some(const Context& c, Index first, Index last, char* own) override {
        const Index together = lanes_ * blocks_;
        for (Index part = first / together; part * together < last; ++part) sum(c, part, own);
    }
    void finish(const Context& c) override {
        if (parts_ == 1) return;
        T *const w = c.at<T>(w_), *const sums = sums_.data();
        in_ranges(c, size_, parts_, [&](Index first, Index last, int) {
            for (Index from = first; from < last; from += kSumTogether) {
                const Index end = std::min(from + kSumTogether, last);
                std::copy(sums + from, sums + end, w + from);
                for (Index part = 1; part < parts_; ++part)
                    for (Index i = from; i < end; ++i) w[i] += sums[part * size_ + i];
            }
        });
    }

protected:
    SumTask(const Shapes& s, Place x, Place y, Place w, Index lanes)
        : s_(s), lanes_(lanes), windows_(plan()), places_(s.y, {s.axes[0].out, 1, 0, s.axes[0].out, {0}}, {s.axes[1].out, 1, 0, s.axes[1].out, {0}}, lanes),
          x_(x), y_(y), w_(w) {
        size_ = s_.channels / s_.groups * s_.taps() * s_.filters;
        const Index most = std::clamp<Index>(kSumsBytes / (size_ * static_cast<Index>(sizeof(T))), 1, kMostSums);
        while (blocks_ * lanes_ * most < s_.examples) blocks_ *= 2; // a power of two, as the ranges of other tasks
        parts_ = std::max<Index>(1, ceil_div(s_.examples, blocks_ * lanes_));
        if (parts_ > 1) sums_.resize(static_cast<std::size_t>(parts_ * size_));
    }
    // Adds what some packed images give; `memory_` elements of `memory`.
    virtual void add(const T* x, const T* y, T* memory, T* out) const = 0;

    Index channels_each() const { return s_.channels / s_.groups; }
    Index filters_each() const { return s_.filters / s_.groups; }

    Shapes s_;
    Index lanes_;
    std::vector<Index> offsets_; // of the taps
    Packer<T> windows_, places_;
    Index memory_ = 0;

private:
    static constexpr Index kMostSums = 16;                // parts of a sum over examples
    static constexpr Index kSumsBytes = 32 * 1024 * 1024; // that they may take together
    static constexpr Index kSumTogether = 1024;           // elements that stay in the cache while all parts are added

    void sum(const Context& c, Index part, char* own) {
        T* const of_x = reinterpret_cast<T*>(own);
        T* const of_y = of_x + ceil_div(windows_.elements(), 16) * 16;
        T* const memory = of_y + ceil_div(places_.elements(), 16) * 16;
        T* const out = (parts_ > 1 ? sums_.data() : c.at<T>(w_)) + part * size_;
        std::fill_n(out, size_, T(0));
        const Index together = lanes_ * blocks_, end = std::min((part + 1) * together, s_.examples);
        for (Index first = part * together; first < end; first += lanes_) {
            const Index images = std::min(lanes_, s_.examples - first);
            windows_.pack(c.at<T>(x_), first, images, of_x);
            const T* y = places_.in_place(c.at<T>(y_), first);
            if (y == nullptr) places_.pack(c.at<T>(y_), first, images, of_y), y = of_y;
            add(of_x, y, memory, out);
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

    Place x_, y_, w_;
    std::vector<T> sums_;
    Index size_ = 0, blocks_ = 1, parts_ = 1; // blocks: of images in a part
};

} // namespace chainrule::convolution
