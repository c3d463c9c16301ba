// Releasing and acquiring the interpreter's lock in threads that may outlive the interpreter.
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

// Calls f, which may acquire the interpreter's lock. If the interpreter is ending, Python up to 3.13 ends a daemon thread
// that does so with pthread_exit, which unwinds its stack; at a noexcept frame (of nanobind, or of a destructor) this
// would abort the process. Such a thread sleeps here instead, as later versions of Python make it do.
template <class F>
void or_sleep(F f) {
    struct Unwinding {
        const int exceptions = std::uncaught_exceptions();
        bool returned = false;
        ~Unwinding() {
            if (!returned && std::uncaught_exceptions() == exceptions) sleep_until_exit(); // unwound, but not by an exception
        }
    } unwinding;
    if (interpreter_ended.load()) sleep_until_exit();
    f();
    unwinding.returned = true;
}

// Releases the lock while it lives: other Python threads may run.
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

// Holds the lock while it lives: this thread may call Python.
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
