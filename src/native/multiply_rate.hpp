// The rate of multiply-adds that a thread of this machine reaches.
#pragma once

namespace chainrule {

// Flop/s of tiles whose operands stay in the first-level cache, the best of runs that take some milliseconds in all: what
// the rates of multiplies are to be compared with. T is float or double.
template <class T>
double multiply_rate();

extern template double multiply_rate<float>();
extern template double multiply_rate<double>();

} // namespace chainrule
