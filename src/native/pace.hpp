// Whether a run of many steps goes faster with the team or without it, found out while it runs.
#pragma once

#include <array>
#include <cstdint>

#include "team.hpp"

namespace chainrule {

// On a machine that is busy elsewhere a member that has taken a part may lose its processor for milliseconds, and
// everybody waits. Results don't depend on the number of threads, so the number may be what is fastest just now.
class Pace {
public:
    // What was found out is kept from one run to the next.
    class Run {
    public:
        Run(Pace& pace, Team& team) : pace_(pace), team_(team) { team_.set_alone(pace_.alone_); }
        ~Run() { team_.set_alone(false); }
        Run(const Run&) = delete;
        Run& operator=(const Run&) = delete;

        // So many steps took so long: go on in the same way or in the other.
        void note(std::int64_t steps, double nanoseconds) {
            if (team_.size() > 1 && steps > 0) team_.set_alone(pace_.chosen(nanoseconds / static_cast<double>(steps)));
        }

    private:
        Pace& pace_;
        Team& team_;
    };

private:
    static constexpr int kBetweenTrials = 50; // notes, each of about a millisecond or one step
    static constexpr double kMargin = 1.1;    // alone only where that is clearly faster

    // Whether to go on alone after a step took so long.
    bool chosen(double nanoseconds) {
        double& known = each_[alone_ ? 1 : 0];
        known = known == 0 ? nanoseconds : (known + nanoseconds) / 2;
        if (each_[alone_ ? 0 : 1] == 0 || --until_trial_ == 0) {
            until_trial_ = kBetweenTrials;
            alone_ = !alone_;
        } else {
            alone_ = each_[1] * kMargin < each_[0];
        }
        return alone_;
    }

    std::array<double, 2> each_{}; // nanoseconds a step with the team, and alone
    bool alone_ = false;
    int until_trial_ = kBetweenTrials;
};

} // namespace chainrule
