#include "teams.hpp"

#include <array>
#include <mutex>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace chainrule {

struct Shared {
    explicit Shared(int threads) : team(threads) {}
    Team team;
    std::atomic_flag lent = ATOMIC_FLAG_INIT;
};

namespace {

// By size. Read without a lock; `making` is held to add one.
std::array<std::atomic<Shared*>, kMostThreads + 1> shared_teams{};
std::mutex making;

#if !defined(_WIN32)
// A child has none of its parent's threads, so it starts without teams and leaves those of its parent alone. The lock is
// held across the fork, so that no other thread is making a team then.
const int at_fork = pthread_atfork([] { making.lock(); }, [] { making.unlock(); },
                                   [] {
                                       for (auto& shared : shared_teams) shared.store(nullptr, std::memory_order_relaxed);
                                       making.unlock();
                                   });
#endif

Shared& shared_of(int threads) {
    auto& place = shared_teams[static_cast<std::size_t>(threads)];
    if (Shared* const there = place.load(std::memory_order_acquire)) return *there;
    const std::lock_guard lock(making);
    if (Shared* const there = place.load(std::memory_order_relaxed)) return *there;
    auto* const made = new Shared(threads);
    place.store(made, std::memory_order_release);
    return *made;
}

} // namespace

Team& calling_thread() {
    static Team* const alone = new Team(1);
    return *alone;
}

Lent::Lent(int threads) : shared_(threads > 1 ? &shared_of(threads) : nullptr) {
    if (shared_ != nullptr && shared_->lent.test_and_set(std::memory_order_acquire)) shared_ = nullptr;
}

Lent::~Lent() {
    if (shared_ != nullptr) shared_->lent.clear(std::memory_order_release);
}

Team& Lent::team() const { return shared_ != nullptr ? shared_->team : calling_thread(); }

} // namespace chainrule
