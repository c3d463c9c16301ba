// A small team of threads for fork-join work that takes microseconds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace chainrule {

// Threads that this process may use: the affinity mask, cut by the control group's quota. At least 1.
int default_threads();

// The calling thread is a member and works too, so a team of 1 has no thread of its own and costs nothing.
//
// Parts are the caller's: the same for every number of threads, so that results are. Each member has a fixed run of
// consecutive parts, which keeps its data in its cache from one call to the next; whoever is done early takes parts
// that nobody has begun. So a member that is late or missing (after a fork) delays nobody; one that loses
// its processor in the middle of a part does (see pace.hpp).
class Team {
public:
    using Function = void (*)(void* context, int part, int member);

    // Where the system does not allow so many threads, the team is smaller.
    explicit Team(int threads = default_threads());
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const { return size_; }

    // Whether work that takes one thread so long is worth being shared out: several times what a call costs, as
    // measured when the threads were started.
    bool worth(double nanoseconds) const { return size_ > 1 && nanoseconds > kWorth * call_nanoseconds_; }

    // Microseconds that idle members stay awake for the next call before they sleep. Asleep, they use no time at all
    // and take some ten microseconds to wake.
    void set_spin(int microseconds) { spin_.store(microseconds, std::memory_order_relaxed); }

    // Calls function(context, part, member) once for each part in 0 … parts - 1 and returns when all are done. `member`
    // in 0 … size() - 1 says who runs it: which workspace is its own. The function must not throw. From inside a part,
    // or while another thread is in run(), all parts run on the calling thread, and `member` would be ambiguous: such
    // calls need workspaces of their own.
    void run(int parts, Function function, void* context);

    template <class F>
    void run(int parts, F&& f) {
        run(parts, [](void* context, int part, int member) {
                (*static_cast<std::remove_reference_t<F>*>(context))(part, member);
            },
            const_cast<void*>(static_cast<const void*>(&f)));
    }

private:
    struct alignas(64) Range {
        std::atomic<int> next{0};
        int end = 0;
    };

    static constexpr double kWorth = 4;

    void keep_apart();
    void measure();
    void work(int member);
    void member(int number);

    int size_ = 1;
    double call_nanoseconds_ = 0;
    int apart_ = -1;  // the processor that the threads keep off: the caller's
    int process_ = 0; // where the threads were started: a forked child has none of them
    std::atomic<int> spin_{50};
    std::atomic_flag taken_ = ATOMIC_FLAG_INIT;
    Function function_ = nullptr;
    void* context_ = nullptr;
    std::unique_ptr<Range[]> ranges_;
    std::vector<std::thread> threads_;
    alignas(64) std::atomic<std::uint32_t> call_{0};   // counts calls; members sleep on it
    alignas(64) std::atomic<std::uint32_t> inside_{0}; // members at work, plus kOpen while they may enter
    std::atomic<bool> stopping_{false};
};

} // namespace chainrule
