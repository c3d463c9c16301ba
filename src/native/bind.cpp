// The only file that knows Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <tuple>

#include "blocking.hpp"
#include "executor.hpp"
#include "interpreter_lock.hpp"
#include "kernels.hpp"
#include "multiply_rate.hpp"
#include "pace.hpp"

namespace nb = nanobind;

namespace {

using chainrule::DType;
using chainrule::Executor;
using chainrule::ProgramSpec;
using chainrule::Storage;

// (storage, dtype, root, offset, shape, strides, state)
using ValueRow = std::tuple<int, int, int, std::int64_t, std::vector<std::int64_t>, std::vector<std::int64_t>, int>;
// (operation, inputs, output, numbers)
using StepRow = std::tuple<std::string, std::vector<int>, int, std::vector<std::int64_t>>;
// (fused, steps, registers, register dtypes)
using GroupRow = std::tuple<bool, std::vector<StepRow>, std::map<int, int>, std::vector<int>>;
using Memory = std::pair<std::uintptr_t, std::int64_t>; // address, bytes

chainrule::Extent extent(const std::vector<std::int64_t>& numbers) { return {numbers.begin(), numbers.end()}; }

char* checked(const Memory& memory, const chainrule::ValueSpec& value, const char* what) {
    if (memory.second < chainrule::span(value).second) throw chainrule::PlanError(std::string(what) + " is too small for its value");
    return reinterpret_cast<char*>(memory.first);
}

std::vector<char*> constants_of(const ProgramSpec& p, const std::map<int, Memory>& constants) {
    std::vector<char*> fixed(p.values.size(), nullptr);
    for (const auto& [n, memory] : constants) {
        if (n < 0 || static_cast<std::size_t>(n) >= p.values.size()) throw chainrule::PlanError("a constant is not a value of the program");
        fixed[static_cast<std::size_t>(n)] = checked(memory, p.values[static_cast<std::size_t>(n)], "a constant");
    }
    return fixed;
}

// The body of a loop; the memory of its constants has to stay.
struct LoopBody {
    std::shared_ptr<const chainrule::Body> body;
};

using Bodies = std::map<int, LoopBody>; // by group

ProgramSpec program_of(const std::vector<ValueRow>& values, const std::vector<GroupRow>& groups, std::vector<int> inputs,
                       std::vector<int> states, std::vector<int> outputs, std::vector<std::pair<int, int>> updates,
                       std::int64_t arena, const Bodies& bodies) {
    chainrule::kernels(); // a wrong CHAINRULE_ISA is an error before anything else
    ProgramSpec p;
    for (const auto& [storage, dtype, root, offset, shape, strides, state] : values)
        p.values.push_back({static_cast<Storage>(storage), static_cast<DType>(dtype), root,
                            static_cast<std::ptrdiff_t>(offset), extent(shape), extent(strides), state});
    for (const auto& [fused, steps, registers, types] : groups) {
        chainrule::GroupSpec group{fused, {}, registers, {}};
        for (const int t : types) group.register_types.push_back(static_cast<DType>(t));
        const auto found = bodies.find(static_cast<int>(p.groups.size()));
        for (const auto& [op, in, out, numbers] : steps)
            group.steps.push_back({op, in, out, numbers, found != bodies.end() ? found->second.body : nullptr});
        p.groups.push_back(std::move(group));
    }
    p.inputs = std::move(inputs);
    p.states = std::move(states);
    p.outputs = std::move(outputs);
    p.updates = std::move(updates);
    p.arena = static_cast<std::ptrdiff_t>(arena);
    chainrule::check(p);
    return p;
}

std::vector<int> without_kernel(const std::vector<ValueRow>& values, const std::vector<GroupRow>& groups,
                                std::vector<int> inputs, std::vector<int> states, std::vector<int> outputs,
                                std::vector<std::pair<int, int>> updates, std::int64_t arena, const Bodies& bodies) {
    const ProgramSpec p = program_of(values, groups, std::move(inputs), std::move(states), std::move(outputs), std::move(updates), arena, bodies);
    std::vector<int> missing;
    for (std::size_t g = 0; g < p.groups.size(); ++g)
        if (!chainrule::has_kernel(p, p.groups[g])) missing.push_back(static_cast<int>(g));
    return missing;
}

// The executor's own memory, as the owner of arrays over it: they may outlive the program.
struct Block {
    std::shared_ptr<char> memory;
};

class Program {
public:
    Program(const std::vector<ValueRow>& values, const std::vector<GroupRow>& groups, std::vector<int> inputs,
            std::vector<int> states, std::vector<int> outputs, std::vector<std::pair<int, int>> updates, std::int64_t arena,
            const std::map<int, Memory>& constants, const std::vector<Memory>& state_memory, const std::vector<int>& host_groups,
            nb::callable host, int threads, const std::vector<int>& kept, const Bodies& bodies)
        : host_(std::move(host)) {
        ProgramSpec p = program_of(values, groups, std::move(inputs), std::move(states), std::move(outputs), std::move(updates), arena, bodies);
        if (state_memory.size() != p.states.size()) throw chainrule::PlanError("the number of states and of their memories differ");
        std::vector<char*> fixed = constants_of(p, constants), held;
        for (std::size_t i = 0; i < p.states.size(); ++i)
            held.push_back(checked(state_memory[i], p.values[static_cast<std::size_t>(p.states[i])], "a state"));
        std::vector<Executor::Call> calls(p.groups.size());
        for (const int g : host_groups) {
            if (g < 0 || static_cast<std::size_t>(g) >= p.groups.size()) throw chainrule::PlanError("a call is for a group that does not exist");
            calls[static_cast<std::size_t>(g)] = [this, g] {
                const chainrule::WithLock locked;
                chainrule::or_sleep([this, g] { host_(g); });
            };
        }
        if (threads < 1 || threads > chainrule::kMostThreads)
            throw nb::value_error(("threads: expected 1 to " + std::to_string(chainrule::kMostThreads) + ", got " + std::to_string(threads)).c_str());
        executor_ = std::make_unique<Executor>(std::move(p), std::move(fixed), std::move(held), std::move(calls), threads, kept);
    }

    Block block() const { return {executor_->memory()}; }

    void run() {
        const Busy busy(*this);
        const chainrule::WithoutLock unlocked;
        const chainrule::Lent lent(executor_->threads());
        executor_->run(lent.team());
    }

    std::vector<double> run_timed(int times) {
        const Busy busy(*this);
        std::vector<double> spent;
        const chainrule::WithoutLock unlocked;
        const chainrule::Lent lent(executor_->threads());
        executor_->run_timed(times, spent, lent.team());
        return spent;
    }

    std::uintptr_t address(int n) const {
        if (n < 0 || static_cast<std::size_t>(n) >= executor_->program().values.size() ||
            executor_->program().values[static_cast<std::size_t>(n)].storage == Storage::passed)
            throw nb::index_error("the value's number is out of range, or the value has no memory");
        return reinterpret_cast<std::uintptr_t>(executor_->address(n));
    }

    void set_input(int k, std::uintptr_t memory, std::int64_t bytes) {
        const Busy busy(*this);
        const auto& p = executor_->program();
        if (k < 0 || static_cast<std::size_t>(k) >= p.inputs.size()) throw nb::index_error("the input's number is out of range");
        const auto& v = p.values[static_cast<std::size_t>(p.inputs[static_cast<std::size_t>(k)])];
        executor_->set_input(k, memory == 0 ? nullptr : checked({memory, bytes}, v, "an input"));
    }

    // Gathers rows order[first … last) of x and y, `size` at a time, into inputs 0 and 1 and runs; the last, smaller
    // batch of an epoch runs on `rest`. Writes the outputs of each step (float32, float64 or integers, as double) and
    // returns the number of steps made: all of them, or fewer when `milliseconds` are over or an output is not finite.
    std::int64_t run_batches(Program* rest, Memory x, std::int64_t x_row, Memory y, std::int64_t y_row, Memory order,
                             std::int64_t first, std::int64_t size, std::int64_t rows, Memory results, double milliseconds) {
        Executor* const executors[2] = {executor_.get(), rest != nullptr ? rest->executor_.get() : nullptr};
        const std::size_t width = executor_->program().outputs.size();
        const std::int64_t total = order.second / 8;
        if (size < 1 || first < 0 || first > total || rows < 0 || rows > total - first)
            throw nb::value_error("run_batches: rows out of range");
        if (x_row < 0 || y_row < 0) throw nb::value_error("run_batches: the size of a row is negative");
        const std::int64_t steps = rows / size + (rows % size != 0 ? 1 : 0);
        if (rows >= size) check_batch(*executors[0], size, x_row, y_row, width);
        if (rows % size != 0) {
            if (executors[1] == nullptr) throw nb::value_error("run_batches: no program for the last batch");
            check_batch(*executors[1], rows % size, x_row, y_row, width);
        }
        const Busy busy(*this);
        std::optional<Busy> rest_busy;
        if (rest != nullptr && rest != this) rest_busy.emplace(*rest);
        if (results.second < steps * static_cast<std::int64_t>(width) * 8) throw nb::value_error("run_batches: results are too small");
        const auto* const ids = reinterpret_cast<const std::int64_t*>(order.first) + first;
        constexpr std::int64_t any = std::numeric_limits<std::int64_t>::max(); // rows without bytes are all there
        const std::int64_t x_rows = x_row > 0 ? x.second / x_row : any, y_rows = y_row > 0 ? y.second / y_row : any;
        for (std::int64_t i = 0; i < rows; ++i)
            if (ids[i] < 0 || ids[i] >= x_rows || ids[i] >= y_rows) throw nb::value_error("run_batches: a row number is out of range");
        auto* out = reinterpret_cast<double*>(results.first);

        struct Back { // inputs lie in the executors' own memory again
            Executor* const (&executors)[2];
            ~Back() {
                for (Executor* e : executors)
                    if (e != nullptr) e->set_input(0, nullptr), e->set_input(1, nullptr);
            }
        } const back{executors};
        const chainrule::WithoutLock unlocked;
        using Clock = std::chrono::steady_clock;
        // the clock is asked about once a millisecond
        const auto start = Clock::now();
        auto asked = start;
        std::int64_t next = 0, every = 1, noted = 0;
        for (std::int64_t s = 0; s < steps; ++s) {
            const std::int64_t n = std::min(size, rows - s * size);
            Executor& e = n == size ? *executors[0] : *executors[1];
            {
                const chainrule::Lent lent(pace_.alone() ? 1 : e.threads());
                e.read_rows(0, reinterpret_cast<char*>(x.first), x_row, ids + s * size, n, lent.team());
                e.read_rows(1, reinterpret_cast<char*>(y.first), y_row, ids + s * size, n, lent.team());
                e.run(lent.team());
            }
            bool finite = true;
            for (std::size_t k = 0; k < width; ++k) {
                const double v = number(e, e.program().outputs[k]);
                finite = finite && (k > 0 || std::isfinite(v));
                *out++ = v;
            }
            if (!finite) return s + 1;
            if (s < next) continue;
            using Milliseconds = std::chrono::duration<double, std::milli>;
            const auto now = Clock::now();
            if (Milliseconds(now - start).count() > milliseconds) return s + 1;
            every = Milliseconds(now - asked).count() < 1 ? std::min<std::int64_t>(2 * every, 4096) : std::max<std::int64_t>(every / 4, 1);
            if (executor_->threads() > 1) pace_.note(s + 1 - noted, std::chrono::duration<double, std::nano>(now - asked).count());
            noted = s + 1;
            asked = now;
            next = s + every;
        }
        return steps;
    }

private:
    // Holds the program while it runs: it has one memory, which two runs at once would spoil.
    class Busy {
    public:
        explicit Busy(Program& program) : program_(program) {
            if (program_.busy_.test_and_set(std::memory_order_acquire))
                throw std::runtime_error("this binding is running already: bind the plan once per thread");
        }
        ~Busy() { program_.busy_.clear(std::memory_order_release); }
        Busy(const Busy&) = delete;
        Busy& operator=(const Busy&) = delete;

    private:
        Program& program_;
    };

    static void check_batch(const Executor& e, std::int64_t rows, std::int64_t x_row, std::int64_t y_row, std::size_t width) {
        const auto& p = e.program();
        if (p.outputs.size() != width || p.inputs.size() < 2) throw nb::value_error("run_batches: the programs differ");
        const auto fits = [&](std::size_t k, std::int64_t row) {
            const std::int64_t bytes = chainrule::span(p.values[static_cast<std::size_t>(p.inputs[k])]).second;
            return bytes % rows == 0 && bytes / rows == row;
        };
        if (!fits(0, x_row) || !fits(1, y_row)) throw nb::value_error("run_batches: the batch does not have the size of the program's input");
        for (const int n : p.outputs)
            if (chainrule::elements(p.values[static_cast<std::size_t>(n)].shape) != 1)
                throw nb::value_error("run_batches: an output has more than one element");
    }

    static double number(const Executor& e, int n) {
        const char* const at = e.address(n);
        switch (e.program().values[static_cast<std::size_t>(n)].dtype) {
        case DType::float32: return *reinterpret_cast<const float*>(at);
        case DType::float64: return *reinterpret_cast<const double*>(at);
        case DType::int8: return *reinterpret_cast<const std::int8_t*>(at);
        case DType::int16: return *reinterpret_cast<const std::int16_t*>(at);
        case DType::int32: return *reinterpret_cast<const std::int32_t*>(at);
        case DType::int64: return static_cast<double>(*reinterpret_cast<const std::int64_t*>(at));
        case DType::uint16: return *reinterpret_cast<const std::uint16_t*>(at);
        case DType::uint32: return *reinterpret_cast<const std::uint32_t*>(at);
        case DType::uint64: return static_cast<double>(*reinterpret_cast<const std::uint64_t*>(at));
        default: return static_cast<double>(*reinterpret_cast<const std::uint8_t*>(at));
        }
    }

    nb::callable host_; // holds no reference back to this object
    std::unique_ptr<Executor> executor_;
    chainrule::Pace pace_;
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

} // namespace

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false); // objects may outlive the interpreter, in daemon threads
    Py_AtExit([] { chainrule::interpreter_ended.store(true); }); // last of all; no harm if the list of calls is full
    m.doc() = "The native engine: runs plans without Python.";
    nb::exception<chainrule::PlanError>(m, "PlanError", PyExc_ValueError);
    nb::class_<LoopBody> body(m, "LoopBody");
    m.def("without_kernel", &without_kernel, nb::arg("values"), nb::arg("groups"), nb::arg("inputs"), nb::arg("states"), nb::arg("outputs"),
          nb::arg("updates"), nb::arg("arena"), nb::arg("bodies") = Bodies(), "The groups of a plan that have no kernel here.");
    m.def("instruction_set", [] { return std::string(chainrule::kernels().name); }, "The instruction set in use.");
    m.def("vector_bytes", [] { return chainrule::kernels().gemm_f32.width * static_cast<int>(sizeof(float)); }, "Bytes of a vector.");
    m.def("select", [](const std::string& name) { return chainrule::select(name.c_str()); }, "Choose an instruction set; for tests.");
    m.def("caches", [] { const chainrule::Caches& c = chainrule::caches(); return std::make_tuple(c.first, c.second, c.third); },
          "Bytes of the caches: first and second level of a core, and the third.");
    m.def("blocking", [] { const chainrule::Blocking b = chainrule::blocking(); return std::make_tuple(b.strip, b.panels, b.reuse); },
          "How multiplies are cut and copied; see blocking.hpp.");
    m.def("default_blocking", [] { const chainrule::Blocking b = chainrule::default_blocking(); return std::make_tuple(b.strip, b.panels, b.reuse); },
          "The blocking that follows from the caches.");
    m.def("set_blocking", [](std::ptrdiff_t strip, std::ptrdiff_t panels, std::ptrdiff_t reuse) { chainrule::set_blocking({strip, panels, reuse}); },
          nb::arg("strip"), nb::arg("panels"), nb::arg("reuse"), "Plan multiplies with this from now on; results stay the same.");
    m.def("multiply_rate", &chainrule::multiply_rate<float>, "Flop/s of one thread in float32, from the first-level cache.");
    m.def("default_threads", &chainrule::default_threads, "Threads that this process may use.");
    nb::class_<Block>(m, "Block");
    body.def("__init__", [](LoopBody* made, const std::vector<ValueRow>& values, const std::vector<GroupRow>& groups, std::vector<int> inputs,
                            std::vector<int> states, std::vector<int> outputs, std::vector<std::pair<int, int>> updates, std::int64_t arena,
                            const std::map<int, Memory>& constants, const Bodies& bodies) {
            ProgramSpec p = program_of(values, groups, std::move(inputs), std::move(states), std::move(outputs), std::move(updates), arena, bodies);
            std::vector<char*> fixed = constants_of(p, constants);
            new (made) LoopBody{std::make_shared<const chainrule::Body>(chainrule::Body{std::move(p), std::move(fixed)})};
        });
    nb::class_<Program>(m, "Program")
        .def(nb::init<const std::vector<ValueRow>&, const std::vector<GroupRow>&, std::vector<int>, std::vector<int>, std::vector<int>,
                      std::vector<std::pair<int, int>>, std::int64_t, const std::map<int, Memory>&, const std::vector<Memory>&, const std::vector<int>&, nb::callable, int, const std::vector<int>&, const Bodies&>(),
             nb::arg("values"), nb::arg("groups"), nb::arg("inputs"), nb::arg("states"), nb::arg("outputs"), nb::arg("updates"), nb::arg("arena"),
             nb::arg("constants"), nb::arg("state_memory"), nb::arg("host_groups"), nb::arg("host"), nb::arg("threads"), nb::arg("kept"),
             nb::arg("bodies") = Bodies())
        .def("run", &Program::run)
        .def("run_timed", &Program::run_timed)
        .def("block", &Program::block)
        .def("address", &Program::address)
        .def("set_input", &Program::set_input)
        .def("run_batches", &Program::run_batches, nb::arg("rest").none(), nb::arg("x"), nb::arg("x_row"), nb::arg("y"), nb::arg("y_row"),
             nb::arg("order"), nb::arg("first"), nb::arg("size"), nb::arg("rows"), nb::arg("results"), nb::arg("milliseconds"));
}
