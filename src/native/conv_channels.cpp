// Convolutions with a channel of the result in each lane of a vector: the image's elements are broadcast.
#include "conv_sums.hpp"

namespace chainrule::convolution {
namespace {

constexpr Index kPlacesTogether = 256; // about so many of a panel's results stay in the first-level cache

// The channels of a group in panels of up to three vectors, as even as possible.
template <class T>
std::vector<Panel> panels_of(Index channels) {
    const Index width = tile_kernels<T>().width, vectors = ceil_div(channels, width), count = ceil_div(vectors, kGatherAcross);
    std::vector<Panel> panels;
    for (Index t = 0; t < count; ++t) {
        const Index first = vectors * t / count * width, end = vectors * (t + 1) / count * width;
        panels.push_back({first, std::min(end, channels) - first, end - first, first});
    }
    return panels;
}

// Where `count` rows of places begin, in a plane whose rows are `pitch` elements apart.
std::vector<Index> places_in_rows(Index count, Index columns, Index pitch) {
    std::vector<Index> places;
    for (Index h = 0; h < count; ++h)
        for (Index q = 0; q < columns; ++q) places.push_back(h * pitch + q);
    return places;
}

Index rows_together(Index rows, Index columns) { return std::clamp<Index>(kPlacesTogether / columns, 1, rows); }

// Calls f(first, count) for tiles of a panel's rows.
template <class T, class F>
void for_tiles(const Panel& panel, Index rows, F f) {
    const Index across = panel.stride / tile_kernels<T>().width;
    const Index tiles = ceil_div(rows, conv_kernels<T>().gather_rows[across - 1]);
    for (Index t = 0; t < tiles; ++t) {
        const Index first = rows * t / tiles;
        f(first, rows * (t + 1) / tiles - first);
    }
}

template <class T>
void multiply(const Panel& panel, Index rows, const Gather<T>& tile) {
    conv_kernels<T>().gather[panel.stride / tile_kernels<T>().width - 1][rows](tile);
}

template <class T>
class ChannelTaps final : public TapTask<T> {
    using Base = TapTask<T>;
    using Pass = typename Base::Pass;
    using Base::packer_, Base::panels_, Base::passes_, Base::s_;

public:
    ChannelTaps(const Shapes& s, bool adjoint, Place from, Place weight, Place to) : Base(s, adjoint, from, weight, to, 1) {
        Index most = 0;
        for (const Pass& p : passes_) {
            places_.push_back(places_in_rows(rows_together(p.rows.count, p.columns.count), p.columns.count, packer_.pitch()));
            most = std::max(most, static_cast<Index>(places_.back().size()));
        }
        this->set_panels(panels_of<T>(this->rows_each()), most * kGatherAcross * tile_kernels<T>().width);
    }

private:
    void compute(const T* source, T* memory, Index first, Index, T* to) const override {
        const auto& by = (this->adjoint_ ? s_.x : s_.y).strides;
        to += first * by[0];
        for (std::size_t i = 0; i < passes_.size(); ++i) {
            const Pass& p = passes_[i];
            const Index together = static_cast<Index>(places_[i].size()) / p.columns.count;
            for (Index g = 0; g < s_.groups; ++g)
                for (Index row = 0; row < p.rows.count; row += together)
                    for (const Panel& panel : panels_) {
                        const Index rows = std::min(together, p.rows.count - row);
                        tiles(p, panel, this->weights(p, g, panel), this->source(source, p, g), places_[i].data(), row, rows, memory);
                        store(p, panel, memory, row, rows, to + (g * this->rows_each() + panel.first) * by[1]);
                    }
        }
    }

    // Some rows of places, into [place][channel].
    void tiles(const Pass& p, const Panel& panel, const T* weights, const T* source, const Index* places, Index row, Index rows, T* result) const {
        const Index columns = p.columns.count;
        for_tiles<T>(panel, rows * columns, [&](Index first, Index count) {
            Index low = p.depth, high = 0; // the taps of any place
            for (Index h = first / columns; h * columns < first + count; ++h) {
                const auto& [from, to] = p.within[static_cast<std::size_t>(row + h)];
                if (from < to) low = std::min(low, from), high = std::max(high, to);
            }
            low = std::min(low, high);
            multiply<T>(panel, count, {high - low, source + row * packer_.pitch(), places + first, p.offsets.data() + low, weights + low * panel.stride,
                                       result + first * panel.stride, panel.stride, tile_kernels<T>().width, false});
        });
    }

    void store(const Pass& p, const Panel& panel, const T* result, Index row, Index rows, T* to) const {
        const auto& by = (this->adjoint_ ? s_.x : s_.y).strides;
        const Index columns = p.columns.count;
        to += (p.rows.first + row * p.rows.step) * by[2] + p.columns.first;
        if (p.columns.step == 1 && p.rows.step == 1) {
            const auto stride = static_cast<int>(panel.stride);
            tile_kernels<T>().store_transposed(static_cast<int>(rows * columns), static_cast<int>(panel.columns), result, stride, to, by[1]);
            return;
        }
        for (Index h = 0; h < rows; ++h)
            for (Index q = 0; q < columns; ++q, result += panel.stride)
                for (Index c = 0; c < panel.columns; ++c) to[c * by[1] + h * p.rows.step * by[2] + q * p.columns.step] = result[c];
    }

    std::vector<std::vector<Index>> places_; // of each pass, for some of its rows
};

template <class T>
class ChannelSums final : public SumTask<T> {
    using Base = SumTask<T>;
    using Base::offsets_, Base::s_;

public:
    ChannelSums(const Shapes& s, Place x, Place y, Place w)
        : Base(s, x, y, w, 1), panels_(panels_of<T>(this->filters_each())), rows_(rows_together(s.axes[0].out, s.axes[1].out)),
          at_(places_in_rows(rows_, s.axes[1].out, this->windows_.pitch())) {
        this->memory_ = static_cast<Index>(at_.size()) * kGatherAcross * tile_kernels<T>().width;
    }

private:
    void add(const T* x, const T* y, T* memory, T* out) const override {
        const Index plane = this->places_.plane(), columns = s_.axes[1].out, width = tile_kernels<T>().width;
        const Index channels = this->channels_each() * this->windows_.phases() * this->windows_.plane();
        for (Index g = 0; g < s_.groups; ++g)
            for (Index row = 0; row < s_.axes[0].out; row += rows_)
                for (const Panel& panel : panels_) {
                    const Index filter = g * this->filters_each() + panel.first, count = std::min(rows_, s_.axes[0].out - row) * columns;
                    tile_kernels<T>().pack_columns(count, static_cast<int>(panel.columns), y + filter * plane + row * columns, plane, memory,
                                                   static_cast<int>(panel.stride));
                    const auto last = static_cast<int>(panel.columns - (panel.stride - width));
                    for_tiles<T>(panel, static_cast<Index>(offsets_.size()), [&](Index tap, Index taps) {
                        multiply<T>(panel, taps, {count, x + g * channels + row * this->windows_.pitch(), offsets_.data() + tap, at_.data(), memory,
                                                  out + tap * s_.filters + filter, s_.filters, last, true});
                    });
                }
    }

    std::vector<Panel> panels_;
    Index rows_; // of places, together
    std::vector<Index> at_;
};

} // namespace

template <class T>
std::unique_ptr<Task> taps_of_channels(const Shapes& s, bool adjoint, Place from, Place weight, Place to) {
    return std::make_unique<ChannelTaps<T>>(s, adjoint, from, weight, to);
}
template <class T>
std::unique_ptr<Task> sums_of_channels(const Shapes& s, Place x, Place y, Place w) {
    return std::make_unique<ChannelSums<T>>(s, x, y, w);
}

template std::unique_ptr<Task> taps_of_channels<float>(const Shapes&, bool, Place, Place, Place);
template std::unique_ptr<Task> taps_of_channels<double>(const Shapes&, bool, Place, Place, Place);
template std::unique_ptr<Task> sums_of_channels<float>(const Shapes&, Place, Place, Place);
template std::unique_ptr<Task> sums_of_channels<double>(const Shapes&, Place, Place, Place);

} // namespace chainrule::convolution
