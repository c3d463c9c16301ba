// The table of one instruction set, put together from its families.
#include "isa_tables.hpp"

#define CHAINRULE_NAME_OF(x) #x
#define CHAINRULE_NAME(x) CHAINRULE_NAME_OF(x)

namespace chainrule::CHAINRULE_ISA {

const Kernels& kernels() {
    static const Kernels all = [] {
        Kernels k = {};
        k.name = CHAINRULE_NAME(CHAINRULE_ISA);
        fill_gemm(k);
        fill_convolutions(k);
        fill_scalar(k.vec_f32);
        fill_scalar(k.vec_f64);
        fill_functions(k);
        fill_elementwise(k);
        fill_passes(k);
        fill_reductions(k);
        fill_uniform(k);
        return k;
    }();
    return all;
}

} // namespace chainrule::CHAINRULE_ISA
