// The teams of this process: one for each number of threads, whoever runs plans on how many.
#pragma once

#include "team.hpp"

namespace chainrule {

constexpr int kMostThreads = 256; // of a team

struct Shared;

// A team for the length of one run: the process's team of that size. While that one is lent to another run, a team of 1
// takes its place, so that runs never wait for each other. Results are the same on both.
//
// Teams are made when they are first lent, also in a forked child, which has none of its parent's threads. They live as
// long as the process: a thread may be at work on one when the process ends.
class Lent {
public:
    explicit Lent(int threads); // 1 … kMostThreads
    ~Lent();
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;

    Team& team() const;

private:
    Shared* shared_; // the team that was free, or none
};

// A team of 1, which any number of threads may use at the same time.
Team& calling_thread();

} // namespace chainrule
