// Chooses the kernels that this machine can run.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels.hpp"

namespace chainrule {
namespace {

struct Choice {
    const char* name;
    bool (*supported)();
    const Kernels& (*kernels)();
};

// Best first. __builtin_cpu_supports also asks whether the operating system keeps the wide registers.
const Choice kChoices[] = {
#if defined(CHAINRULE_HAS_AVX512)
    {"avx512",
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
     },
     avx512::kernels},
#endif
#if defined(CHAINRULE_HAS_AVX2)
    {"avx2",
     [] {
         return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
     },
     avx2::kernels},
#endif
#if defined(CHAINRULE_HAS_NEON)
    {"neon", [] { return true; }, neon::kernels},
#endif
    {"portable", [] { return true; }, portable::kernels},
};

const Kernels* find(const char* name) {
    for (const Choice& c : kChoices)
        if ((name == nullptr || std::strcmp(name, c.name) == 0) && c.supported()) return &c.kernels();
    return nullptr;
}

std::atomic<const Kernels*>& current() {
    static std::atomic<const Kernels*> chosen = [] {
        const Kernels* k = find(std::getenv("CHAINRULE_ISA"));
        return k != nullptr ? k : find(nullptr);
    }();
    return chosen;
}

} // namespace

const Kernels& kernels() { return *current().load(std::memory_order_relaxed); }

bool select(const char* name) {
    const Kernels* k = find(name);
    if (k != nullptr) current().store(k);
    return k != nullptr;
}

} // namespace chainrule
