// Whether a run of many steps goes faster with the team or without it, found out while it runs.
#pragma once

#include <array>
#include <cstdint>

namespace chainrule {

// On a machine that is busy elsewhere a member that has taken a part may lose its processor for milliseconds, and
// everybody waits. Results don't depend on the number of threads, so the number may be what is fastest just now. What was
// found out is kept from one run to the next.
class Pace {
public:
    // Whether the next steps should run on the calling thread alone.
    bool alone() const { return alone_; }

    // So many steps, run as alone() said, took so long.
    void note(std::int64_t steps, double nanoseconds) {
        if (steps > 0) choose(nanoseconds / static_cast<double>(steps));
    }

private:
    static constexpr int kBetweenTrials = 50; // notes, each of about a millisecond or one step
    static constexpr double kMargin = 1.1;    // alone only where that is clearly faster

    void choose(double nanoseconds) {
        double& known = each_[alone_ ? 1 : 0];
        known = known == 0 ? nanoseconds : (known + nanoseconds) / 2;
        if (each_[alone_ ? 0 : 1] == 0 || --until_trial_ == 0) {
            until_trial_ = kBetweenTrials;
            alone_ = !alone_;
        } else {
            alone_ = each_[1] * kMargin < each_[0];
        }
    }

    std::array<double, 2> each_{}; // nanoseconds a step with the team, and alone
    bool alone_ = false;
    int until_trial_ = kBetweenTrials;
};

} // namespace chainrule
