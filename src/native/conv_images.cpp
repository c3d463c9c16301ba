// Convolutions with an image in each lane of a vector, or, where there are few images, adjacent places in the lanes.
#include "conv_sums.hpp"

namespace chainrule::convolution {
namespace {

constexpr Index kVectorLanes = 2;        // a block of images fills at least half of the lanes
constexpr Index kRowsBytes = 128 * 1024; // of the planes that sums over positions read at a time

template <class T>
Index lanes_for(Index examples) {
    const Index width = tile_kernels<T>().width;
    return kVectorLanes * examples >= width ? width : 1;
}

template <class T>
class ImageTaps final : public TapTask<T> {
    using Base = TapTask<T>;
    using Pass = typename Base::Pass;
    using Base::lanes_, Base::packer_, Base::panels_, Base::passes_, Base::s_;

public:
    ImageTaps(const Shapes& s, bool adjoint, Place from, Place weight, Place to) : Base(s, adjoint, from, weight, to, lanes_for<T>(s.examples)) {
        const Index each = this->rows_each(), tiles = ceil_div(each, tile_kernels<T>().rows);
        std::vector<Panel> panels;
        for (Index t = 0; t < tiles; ++t) {
            const Index first = each * t / tiles, count = each * (t + 1) / tiles - first;
            panels.push_back({first, count, count, first});
        }
        Index result = 0;
        for (const Pass& p : passes_) {
            runs_.push_back(run_of(p));
            result = std::max(result, this->rows() * p.rows.count * runs_.back().pitch);
        }
        this->set_panels(std::move(panels), result + 2 * tile_kernels<T>().width);
    }

private:
    // How the places of a pass follow each other: `count` runs of `length` elements, `pitch` elements apart in the result.
    struct Run {
        Index pitch, count, length;
    };

    // Images in lanes: row by row. One image: all rows at once, and what lies between them is computed for nothing.
    Run run_of(const Pass& p) const {
        if (lanes_ > 1) return {p.line.count * lanes_, p.rows.count, p.columns.count * lanes_};
        return {packer_.pitch(), 1, (p.rows.count - 1) * packer_.pitch() + p.columns.count};
    }

    void compute(const T* source, T* memory, Index first, Index images, T* to) const override {
        for (std::size_t i = 0; i < passes_.size(); ++i) {
            const Pass& p = passes_[i];
            multiply(p, runs_[i], source, memory + (p.columns.start - p.line.start) * lanes_);
            if (p.last) store(p, runs_[i].pitch, memory, first, images, to);
        }
    }

    void multiply(const Pass& p, const Run& run, const T* source, T* result) const {
        const GemmKernels<T>& k = tile_kernels<T>();
        const Index width = k.width, plane = p.rows.count * run.pitch;
        for (Index g = 0; g < s_.groups; ++g) {
            const T* const from = this->source(source, p, g);
            T* const to = result + g * this->rows_each() * plane;
            for (Index r = 0; r < run.count; ++r) {
                const auto [low, high] = run.count == 1 ? std::pair{Index{0}, p.depth} : p.within[static_cast<std::size_t>(r)];
                for (Index q = 0; q < run.length; q += 2 * width) {
                    const Index columns = std::min(2 * width, run.length - q), across = ceil_div(columns, width);
                    const auto last = static_cast<int>(columns - (across - 1) * width);
                    for (const Panel& panel : panels_)
                        k.taps[across - 1][panel.columns]({high - low, this->weights(p, g, panel) + low * panel.stride, panel.stride,
                                                           from + r * packer_.pitch() + q, 0, to + panel.first * plane + r * run.pitch + q, plane,
                                                           last, false, p.offsets.data() + low});
                }
            }
        }
    }

    void store(const Pass& p, Index pitch, const T* result, Index first, Index images, T* to) const {
        const auto& by = (this->adjoint_ ? s_.x : s_.y).strides;
        const Index plane = p.rows.count * pitch;
        const bool whole = lanes_ > 1 && p.line.step == 1 && p.rows.step == 1;
        to += first * by[0] + p.rows.first * by[2] + p.line.first;
        for (Index c = 0; c < this->rows(); ++c, to += by[1], result += plane) {
            if (whole) {
                const auto count = static_cast<int>(p.rows.count * p.line.count);
                tile_kernels<T>().store_transposed(count, static_cast<int>(images), result, static_cast<int>(lanes_), to, by[0]);
                continue;
            }
            for (Index h = 0; h < p.rows.count; ++h) {
                const T* from = result + h * pitch;
                T* row = to + h * p.rows.step * by[2];
                if (lanes_ == 1 && p.line.step == 1) std::copy_n(from, p.line.count, row);
                else
                    for (Index q = 0; q < p.line.count; ++q, from += lanes_, row += p.line.step)
                        for (Index i = 0; i < images; ++i) row[i * by[0]] = from[i];
            }
        }
    }

    std::vector<Run> runs_; // of each pass
};

template <class T>
class ImageSums final : public SumTask<T> {
    using Base = SumTask<T>;
    using Base::lanes_, Base::offsets_, Base::places_, Base::s_, Base::windows_;

public:
    ImageSums(const Shapes& s, Place x, Place y, Place w) : Base(s, x, y, w, lanes_for<T>(s.examples)) {
        const Index planes = (conv_kernels<T>().dot_filters * places_.pitch() + 2 * windows_.pitch()) * static_cast<Index>(sizeof(T));
        rows_ = std::clamp<Index>(kRowsBytes / planes, 1, s_.axes[0].out);
    }

private:
    // Some rows at a time, so that they stay in the cache while all filters and taps read them.
    void add(const T* x, const T* y, T*, T* out) const override {
        const ConvKernels<T>& k = conv_kernels<T>();
        const Index filters = this->filters_each(), taps = static_cast<Index>(offsets_.size());
        const Index across = ceil_div(filters, k.dot_filters), down = ceil_div(taps, k.dot_taps);
        const Index run = s_.axes[1].out * lanes_;
        for (Index g = 0; g < s_.groups; ++g)
            for (Index row = 0; row < s_.axes[0].out; row += rows_) {
                const T* const from = x + g * this->channels_each() * windows_.phases() * windows_.plane() + row * windows_.pitch();
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

    Index rows_;
};

} // namespace

template <class T>
std::unique_ptr<Task> taps_of_images(const Shapes& s, bool adjoint, Place from, Place weight, Place to) {
    return std::make_unique<ImageTaps<T>>(s, adjoint, from, weight, to);
}
template <class T>
std::unique_ptr<Task> sums_of_images(const Shapes& s, Place x, Place y, Place w) {
    return std::make_unique<ImageSums<T>>(s, x, y, w);
}

template std::unique_ptr<Task> taps_of_images<float>(const Shapes&, bool, Place, Place, Place);
template std::unique_ptr<Task> taps_of_images<double>(const Shapes&, bool, Place, Place, Place);
template std::unique_ptr<Task> sums_of_images<float>(const Shapes&, Place, Place, Place);
template std::unique_ptr<Task> sums_of_images<double>(const Shapes&, Place, Place, Place);

} // namespace chainrule::convolution
