// Convolutions without a matrix of patches: multiplies one of whose operands is read through the taps of the windows.
//
// Images are packed with the zeros around them. The columns and rows that a stride skips lie apart, in phases: then every
// tap of every window is a constant distance from the window's place. The lanes of vectors hold channels of the result,
// where these fill them, else images ([channel][row][column][image]), or, of few images, places.
#include "blocking.hpp"
#include "conv.hpp"

namespace chainrule {
namespace {

using namespace convolution;

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

// Whether so many channels are worth vectors of their own.
template <class T>
bool fill_lanes(Index channels) {
    const Index width = tile_kernels<T>().width;
    return 6 * channels >= 5 * width * ceil_div(channels, width);
}

// Both ways add the same products in the same order. Where two vectors hold all channels, a block of images is as fast if
// it stays in the cache.
template <class T>
std::unique_ptr<Task> taps(const Shapes& s, bool adjoint, Place from, Place weight, Place to) {
    const Index channels = (adjoint ? s.channels : s.filters) / s.groups, width = tile_kernels<T>().width;
    const Index read = s.channels * s.axes[0].in * s.axes[1].in, made = s.filters * s.axes[0].out * s.axes[1].out;
    const bool block_fits = 2 * s.examples >= width && 2 * width * (read + made) * static_cast<Index>(sizeof(T)) <= caches().second;
    if (fill_lanes<T>(channels) && (channels > 2 * width || !block_fits)) return taps_of_channels<T>(s, adjoint, from, weight, to);
    return taps_of_images<T>(s, adjoint, from, weight, to);
}

template <class T>
std::unique_ptr<Task> task_of(const ProgramSpec& p, const StepSpec& step) {
    const ValueSpec &a = value(p, step.inputs[0]), &b = value(p, step.inputs[1]), &out = value(p, step.output);
    const Place first = place_of(p, step.inputs[0]), second = place_of(p, step.inputs[1]), to = place_of(p, step.output);
    if (step.op == "conv") return taps<T>(shapes_of(step, a, b, out), false, first, second, to);
    if (step.op == "conv_input") return taps<T>(shapes_of(step, out, b, a), true, first, second, to);
    const Shapes s = shapes_of(step, a, out, b);
    return fill_lanes<T>(s.filters / s.groups) ? sums_of_channels<T>(s, first, second, to) : sums_of_images<T>(s, first, second, to);
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
