// The interpreter's lock, given back and taken again, in threads that may outlive the interpreter.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

namespace chainrule {

// Set when the interpreter has ended; its thread states are gone.
inline std::atomic<bool> interpreter_ended{false};

[[noreturn]] inline void sleep_until_exit() {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// Calls f, which may ask for the interpreter's lock. A daemon thread that does so while the interpreter ends is stopped by
// Python up to 3.13: pthread_exit unwinds its stack. Frames that must not throw, of nanobind and of destructors, would then
// end the whole process with an error. Such a thread sleeps here instead, as later versions of Python let it.
template <class F>
void or_sleep(F f) {
    struct Unwinding {
        const int exceptions = std::uncaught_exceptions();
        bool returned = false;
        ~Unwinding() {
            if (!returned && std::uncaught_exceptions() == exceptions) sleep_until_exit(); // unwound, but by no exception
        }
    } unwinding;
    if (interpreter_ended.load()) sleep_until_exit();
    f();
    unwinding.returned = true;
}

// While it lives, other threads of Python run.
class WithoutLock {
public:
    WithoutLock() : state_(PyEval_SaveThread()) {}
    ~WithoutLock() {
        or_sleep([this] { PyEval_RestoreThread(state_); });
    }
    WithoutLock(const WithoutLock&) = delete;
    WithoutLock& operator=(const WithoutLock&) = delete;

private:
    PyThreadState* state_;
};

// While it lives, this thread may call Python.
class WithLock {
public:
    WithLock() {
        or_sleep([this] { state_ = PyGILState_Ensure(); });
    }
    ~WithLock() { PyGILState_Release(state_); }
    WithLock(const WithLock&) = delete;
    WithLock& operator=(const WithLock&) = delete;

private:
    PyGILState_STATE state_;
};

} // namespace chainrule
