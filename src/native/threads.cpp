// How many threads this process may use.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "team.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace chainrule {
namespace {

int affinity() {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return static_cast<int>(std::thread::hardware_concurrency());
}

// Processors' worth of time that the control group allows, rounded up; a large number without a limit.
int quota() {
    double least = 1e6;
#if defined(__linux__)
    const auto limit = [&](const std::string& folder) {
        double allowed = 0, period = 0;
        std::string word;
        if (std::ifstream f(folder + "/cpu.max"); f >> word >> period) {
            std::istringstream(word) >> allowed; // "max" leaves 0
        } else if (std::ifstream q(folder + "/cpu.cfs_quota_us"), p(folder + "/cpu.cfs_period_us");
                   !(q >> allowed && p >> period)) {
            return;
        }
        if (allowed > 0 && period > 0) least = std::min(least, allowed / period);
    };
    // Each line: number:controllers:path, with no controllers in version 2. Every group above limits too.
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const bool unified = second == first + 1;
        std::istringstream controllers(line.substr(first + 1, second - first - 1));
        bool processor = unified;
        for (std::string name; std::getline(controllers, name, ',');) processor = processor || name == "cpu";
        if (!processor) continue;
        const std::string root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
        std::string path = line.substr(second + 1);
        while (path.size() > 1) {
            limit(root + path);
            path.resize(path.rfind('/'));
        }
        limit(root);
    }
#endif
    return static_cast<int>(std::ceil(least));
}

} // namespace

int default_threads() { return std::max(1, std::min(affinity(), quota())); }

} // namespace chainrule
