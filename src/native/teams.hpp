// The teams of this process: one per number of threads, shared by all plans.
#pragma once

#include "team.hpp"

namespace chainrule {

constexpr int kMostThreads = 256; // of a team

struct Shared;

// A team for the length of one run: the process's team of that size or, while that is lent to another run, a team of 1.
// So runs never wait for each other. Results do not depend on which it is.
//
// A team is made when it is first lent, also in a forked child, which has none of its parent's threads. It lives as long
// as the process, because a daemon thread may be using it when the process ends.
class Lent {
public:
    explicit Lent(int threads); // 1 … kMostThreads
    ~Lent();
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;

    Team& team() const;

private:
    Shared* shared_; // null: a team of 1
};

// A team of 1, which several threads may use at the same time.
Team& calling_thread();

} // namespace chainrule
