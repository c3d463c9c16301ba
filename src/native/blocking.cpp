#include "blocking.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <string>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace chainrule {
namespace {

constexpr std::ptrdiff_t kFirst = 32 * 1024, kSecond = 512 * 1024, kThird = 8 * 1024 * 1024;
constexpr std::ptrdiff_t kReuse = 256;

#if defined(__APPLE__)
std::ptrdiff_t cache_bytes(int level) {
    const char* const names[] = {"hw.l1dcachesize", "hw.l2cachesize", "hw.l3cachesize"};
    std::int64_t bytes = 0;
    std::size_t size = sizeof(bytes);
    return sysctlbyname(names[level - 1], &bytes, &size, nullptr, 0) == 0 ? static_cast<std::ptrdiff_t>(bytes) : 0;
}
#else
std::string line_of(const std::string& path) {
    char text[64] = "";
    if (std::FILE* const file = std::fopen(path.c_str(), "r")) {
        if (std::fgets(text, sizeof(text), file) == nullptr) text[0] = '\0';
        std::fclose(file);
    }
    return text;
}

// As Linux lists them, with the type "Data\n", "Instruction\n" or "Unified\n" and a size such as "48K\n"; otherwise 0.
std::ptrdiff_t cache_bytes(int level) {
    for (int i = 0; i < 8; ++i) {
        const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
        if (line_of(folder + "level") != std::to_string(level) + "\n" || line_of(folder + "type")[0] == 'I') continue;
        long size = 0;
        char unit = ' ';
        if (std::sscanf(line_of(folder + "size").c_str(), "%ld%c", &size, &unit) < 1) continue;
        return static_cast<std::ptrdiff_t>(size) * (unit == 'K' ? 1024 : unit == 'M' ? 1024 * 1024 : 1);
    }
    return 0;
}
#endif

std::ptrdiff_t found(int level, std::ptrdiff_t least, std::ptrdiff_t otherwise) {
    const std::ptrdiff_t bytes = cache_bytes(level);
    return bytes >= least ? bytes : otherwise;
}

struct Current {
    std::atomic<std::ptrdiff_t> strip, panels, reuse;
    Current() { *this = default_blocking(); }
    Current& operator=(const Blocking& b) {
        strip = b.strip, panels = b.panels, reuse = b.reuse;
        return *this;
    }
};

Current& current() {
    static Current chosen;
    return chosen;
}

} // namespace

const Caches& caches() {
    static const Caches all = {found(1, 8 * 1024, kFirst), found(2, 64 * 1024, kSecond), found(3, 512 * 1024, kThird)};
    return all;
}

// The panels pass through the first-level cache while the strip stays in it, and what is read of A and C through the
// second, from which programs take more than they need when it is large.
Blocking default_blocking() {
    const std::ptrdiff_t second = std::min<std::ptrdiff_t>(caches().second, 2 * 1024 * 1024);
    return {caches().first / 3, second * 3 / 4, kReuse};
}

Blocking blocking() {
    const Current& c = current();
    return {c.strip, c.panels, c.reuse};
}

void set_blocking(const Blocking& wanted) { current() = wanted; }

} // namespace chainrule
