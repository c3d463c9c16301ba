// Chooses the kernels that this machine can run.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

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

// What the environment asks for, or else the best.
const Kernels* wanted() {
    const char* const name = std::getenv("CHAINRULE_ISA");
    if (name == nullptr || *name == '\0') return find(nullptr);
    if (const Kernels* const k = find(name)) return k;
    std::string here;
    for (const Choice& c : kChoices)
        if (c.supported()) here += (here.empty() ? "" : ", ") + std::string(c.name);
    throw std::invalid_argument("CHAINRULE_ISA is '" + std::string(name) +
                                "', expected one of avx512, avx2, neon, portable; this processor has " + here);
}

std::atomic<const Kernels*>& current() {
    static std::atomic<const Kernels*> chosen = wanted();
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
