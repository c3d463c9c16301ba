#include "team.hpp"

#include <algorithm>
#include <chrono>
#include <exception>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(_WIN32)
#include <process.h>
#else
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace chainrule {
namespace {

constexpr std::uint32_t kOpen = 1u << 31;
constexpr int kCalls = 64;
constexpr double kLeastCall = 1000, kMostCall = 10000; // nanoseconds

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); // waits some tens of cycles; `yield` does nothing on most cores
#endif
}

int process() {
#if defined(_WIN32)
    return _getpid();
#else
    return static_cast<int>(getpid());
#endif
}

using Clock = std::chrono::steady_clock;

} // namespace

Team::Team(int threads) : process_(process()) {
    const auto most = static_cast<std::size_t>(std::max(threads, 1));
    ranges_ = std::make_unique<Range[]>(most);
    threads_.reserve(most);
    try {
        for (int i = 1; i < threads; ++i) threads_.emplace_back([this, i] { member(i); });
    } catch (const std::exception&) { // a limit of the user, the control group or the memory
    }
    size_ = 1 + static_cast<int>(threads_.size()); // read by members in the first call and later
    measure();
}

// What a call costs while the others are awake. The least of several: a machine that is busy elsewhere just now would
// make it look dear for as long as the team lives. Bounds keep one odd reading from deciding.
void Team::measure() {
    call_nanoseconds_ = 0;
    if (size_ == 1) return;
    double least = kMostCall;
    for (int i = 0; i < kCalls; ++i) {
        const auto start = Clock::now();
        run(size_, [](int, int) {});
        least = std::min(least, std::chrono::duration<double, std::nano>(Clock::now() - start).count());
    }
    call_nanoseconds_ = std::max(least, kLeastCall);
}

Team::~Team() {
    stopping_.store(true);
    call_.fetch_add(1);
    call_.notify_all();
    for (std::thread& t : threads_) {
        if (process_ == process()) t.join();
        else t.detach();
    }
}

void Team::run(int parts, Function function, void* context) {
    if (size_ == 1 || parts <= 1 || taken_.test_and_set(std::memory_order_acquire)) {
        for (int part = 0; part < parts; ++part) function(context, part, 0);
        return;
    }
    keep_apart();
    function_ = function;
    context_ = context;
    const auto bound = [&](int i) { return static_cast<int>(static_cast<std::int64_t>(parts) * i / size_); };
    for (int i = 0; i < size_; ++i) {
        Range& range = ranges_[static_cast<std::size_t>(i)];
        range.next.store(bound(i), std::memory_order_relaxed);
        range.end = bound(i + 1);
    }
    inside_.store(kOpen, std::memory_order_release);
    call_.fetch_add(1, std::memory_order_seq_cst);
    call_.notify_all();
    work(0);
    // Every part has been taken. Those who took one are inside; nobody else may enter now.
    std::uint32_t left = inside_.fetch_sub(kOpen, std::memory_order_acq_rel) - kOpen;
    for (int i = 0; left != 0; ++i) {
        if (i < 4000) pause();
        else std::this_thread::yield(); // a member lost its processor: perhaps to this thread
        left = inside_.load(std::memory_order_acquire);
    }
    taken_.clear(std::memory_order_release);
}

// A thread that is woken on the caller's processor waits there for milliseconds, since the caller goes on working:
// longer than the whole run. So the others may be anywhere but there.
void Team::keep_apart() {
#if defined(__linux__)
    const int here = sched_getcpu();
    if (here == apart_ || here < 0) return;
    apart_ = here;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 2) return;
    CPU_CLR(static_cast<std::size_t>(here), &set);
    if (process_ == process())
        for (std::thread& t : threads_) pthread_setaffinity_np(t.native_handle(), sizeof set, &set);
#endif
}

void Team::work(int member) {
    for (int i = 0; i < size_; ++i) {
        const int owner = member + i < size_ ? member + i : member + i - size_;
        Range& range = ranges_[static_cast<std::size_t>(owner)];
        while (range.next.load(std::memory_order_relaxed) < range.end) {
            const int part = range.next.fetch_add(1, std::memory_order_relaxed);
            if (part >= range.end) break;
            function_(context_, part, member);
        }
    }
}

void Team::member(int number) {
    std::uint32_t seen = 0;
    for (;;) {
        std::uint32_t now = call_.load(std::memory_order_acquire);
        if (now == seen) {
            const auto until = Clock::now() + std::chrono::microseconds(spin_.load(std::memory_order_relaxed));
            for (int i = 1; now == seen; ++i) {
                pause();
                now = call_.load(std::memory_order_acquire);
                if (i % 64 == 0 && Clock::now() > until) break;
            }
            while (now == seen) {
                call_.wait(seen, std::memory_order_acquire);
                now = call_.load(std::memory_order_acquire);
            }
        }
        seen = now;
        if (stopping_.load(std::memory_order_acquire)) return;
        std::uint32_t inside = inside_.load(std::memory_order_relaxed);
        while ((inside & kOpen) != 0 &&
               !inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel)) {
        }
        if ((inside & kOpen) == 0) continue; // over before this member woke
        work(number);
        inside_.fetch_sub(1, std::memory_order_release);
    }
}

} // namespace chainrule
