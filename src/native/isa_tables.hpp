// One function per instruction set and family, which fills its part of the table.
#pragma once

#include "kernels.hpp"

namespace chainrule::CHAINRULE_ISA {

void fill_gemm(Kernels& k);
void fill_convolutions(Kernels& k);
void fill_functions(Kernels& k);
void fill_elementwise(Kernels& k);
void fill_passes(Kernels& k);
void fill_reductions(Kernels& k);
void fill_uniform(Kernels& k);

} // namespace chainrule::CHAINRULE_ISA
