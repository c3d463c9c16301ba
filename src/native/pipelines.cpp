// Pipelines of steps that are done for some examples at a time.
#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "blocking.hpp"
#include "executor.hpp"

namespace chainrule {
namespace {

using Index = std::ptrdiff_t;

constexpr Index kMostCaches = 2;          // what passes through at a time is at most so many second-level caches
constexpr Index kWorthBytes = 128 * 1024; // that pass through it in all, at least
constexpr Index kFarCaches = 8; // of more bytes than that in all, results may be moved so that a pipeline is longer
constexpr Index kLine = 64;

Index whole_lines(Index bytes) { return (bytes + kLine - 1) / kLine * kLine; }

// What a step reads or writes in memory.
struct Access {
    int value;
    bool writes, by_example;
};

class Finder {
public:
    Finder(const ProgramSpec& p, const std::vector<std::unique_ptr<Task>>& tasks, std::vector<char*> addresses, const std::vector<int>& kept, const Elsewhere& elsewhere)
        : p_(p), tasks_(tasks), addresses_(std::move(addresses)), elsewhere_(elsewhere), last_read_(p.values.size(), 0) {
        for (std::size_t g = 0; g < p.groups.size(); ++g)
            for (const StepSpec& step : p.groups[g].steps)
                for (const int n : step.inputs) last_read_[at(root(n))] = g;
        const auto keep = [&](int n) { last_read_[at(root(n))] = p.groups.size(); };
        std::for_each(p.outputs.begin(), p.outputs.end(), keep);
        std::for_each(kept.begin(), kept.end(), keep);
        for (const auto& update : p.updates) keep(update.second);
    }

    std::vector<Pipeline> all() {
        std::vector<Pipeline> found;
        for (std::size_t g = 0; g < p_.groups.size();) {
            std::size_t last = longest(g);
            std::set<int> moved = overwriting(g, last);
            const bool large = last > g + 1 && bytes(g, last) > kFarCaches * caches().second;
            const auto stays = [&](int n) { return !large || !can_move(n); };
            while (last > g + 1 && std::any_of(moved.begin(), moved.end(), stays)) moved = overwriting(g, --last);
            Pipeline s = last > g + 1 ? pipeline(g, last) : Pipeline{};
            const bool worth = last > g + 1 && s.each * s.examples >= kWorthBytes;
            if (worth) {
                for (const int n : moved) move(n);
                found.push_back(std::move(s));
            }
            g = worth ? last : g + 1;
        }
        return found;
    }

private:
    static std::size_t at(int n) { return static_cast<std::size_t>(n); }
    const ValueSpec& value(int n) const { return p_.values[at(n)]; }
    int root(int n) const { return value(n).root; }

    // Whether a value has the examples in front, each of them within the same example of its root.
    bool by_example(int n, Index examples) const {
        const ValueSpec &v = value(n), &whole = value(v.root);
        if (v.shape.empty() || whole.shape.empty() || v.shape[0] != examples || whole.shape[0] != examples || !contiguous(whole) ||
            elements(v.shape) != elements(whole.shape) || v.strides[0] != whole.strides[0])
            return false;
        const Index offset = v.root == n ? 0 : v.offset, rest = (examples - 1) * v.strides[0];
        const auto [low, high] = span(v);
        return offset + low >= 0 && offset + high - rest <= whole.strides[0];
    }
    Index bytes_each(int n, Index examples) const { return elements(value(n).shape) / examples * static_cast<Index>(size_of(value(n).dtype)); }

    std::vector<Access> accesses(std::size_t g) const {
        const GroupSpec& group = p_.groups[g];
        const Division d = tasks_[g]->division();
        const bool chain = dynamic_cast<const Chain*>(tasks_[g].get()) != nullptr;
        std::vector<Access> found;
        for (const StepSpec& step : group.steps) {
            for (std::size_t k = 0; k < step.inputs.size(); ++k) {
                const int n = step.inputs[k];
                // what a chain reads is broadcast to its shape: the first axes are the same where there are as many
                const bool alike = chain ? value(n).shape.size() == value(step.output).shape.size() : k < d.inputs;
                if (group.registers.count(n) == 0) found.push_back({n, false, alike && by_example(n, d.examples)});
            }
            if (group.registers.count(step.output) == 0) found.push_back({step.output, true, !d.gathers && by_example(step.output, d.examples)});
        }
        return found;
    }

    // Up to which step those from `first` on read of each other the same examples only, of a size that fits the cache.
    std::size_t longest(std::size_t first) const {
        const Index examples = tasks_[first]->division().examples;
        std::set<int> made, gathered, seen;
        Index together = 1, each = 0;
        std::size_t g = first;
        for (; examples > 0 && g < p_.groups.size(); ++g) {
            const Division d = tasks_[g]->division();
            if (d.examples != examples) break;
            bool fits = true;
            for (const Access& a : accesses(g)) {
                if (a.writes) fits = fits && value(a.value).state < 0 && (a.by_example || d.gathers);
                else fits = fits && (a.by_example || made.count(root(a.value)) == 0) && gathered.count(root(a.value)) == 0;
                if (a.by_example && seen.insert(root(a.value)).second) each += bytes_each(a.value, examples);
            }
            together = std::max(together, d.together);
            if (!fits || (together > 1 && g > first && together * each > kMostCaches * caches().second)) break;
            for (const StepSpec& step : p_.groups[g].steps) (d.gathers ? gathered : made).insert(step.output);
        }
        return g;
    }

    // A value that only steps first … last - 1 read, and one of them makes.
    bool inside(int n, std::size_t first, std::size_t last, Index examples) const {
        if (value(n).storage != Storage::buffer || value(n).state >= 0 || last_read_[at(n)] >= last || !by_example(n, examples)) return false;
        for (std::size_t g = first; g < last; ++g)
            for (const Access& a : accesses(g))
                if (a.writes && a.value == n) return a.by_example;
        return false;
    }

    // What steps make where others before them read or make something for other examples.
    std::set<int> overwriting(std::size_t first, std::size_t last) const {
        const Index examples = tasks_[first]->division().examples;
        std::vector<Access> before;
        std::set<int> found;
        for (std::size_t g = first; g < last; ++g) {
            std::vector<Access> own;
            for (const Access& a : accesses(g))
                if (!inside(root(a.value), first, last, examples)) own.push_back(a);
            for (const Access& now : own)
                for (const Access& old : before)
                    if (now.writes && now.by_example && touch(now, old) && !alike(now, old, examples)) found.insert(root(now.value));
            before.insert(before.end(), own.begin(), own.end());
        }
        return found;
    }
    bool can_move(int n) const { return value(n).storage == Storage::buffer && value(n).state < 0 && last_read_[at(n)] < p_.groups.size(); }
    void move(int n) {
        char *const from = addresses_[at(n)], *const to = elsewhere_(n);
        for (std::size_t k = 0; k < addresses_.size(); ++k)
            if (root(static_cast<int>(k)) == n && addresses_[k] != nullptr) addresses_[k] = to + (addresses_[k] - from);
    }
    Index bytes(std::size_t first, std::size_t last) const {
        const Pipeline s = pipeline(first, last);
        return s.each * s.examples;
    }
    bool touch(const Access& a, const Access& b) const {
        const auto [a_low, a_high] = span(value(a.value));
        const auto [b_low, b_high] = span(value(b.value));
        const char *one = addresses_[at(a.value)], *other = addresses_[at(b.value)];
        return one + a_low < other + b_high && other + b_low < one + a_high;
    }
    bool alike(const Access& a, const Access& b, Index examples) const {
        return a.by_example && b.by_example && addresses_[at(a.value)] == addresses_[at(b.value)] &&
               bytes_each(a.value, examples) == bytes_each(b.value, examples);
    }

    Pipeline pipeline(std::size_t first, std::size_t last) const {
        Pipeline s = {first, last, tasks_[first]->division().examples, 1, 0, 0, {}, 0};
        std::set<int> seen;
        std::vector<int> roots;
        for (std::size_t g = first; g < last; ++g) {
            const Division d = tasks_[g]->division();
            s.together = std::max(s.together, d.together), s.nanoseconds += d.nanoseconds;
            for (const Access& a : accesses(g)) {
                if (!a.by_example || !seen.insert(root(a.value)).second) continue;
                s.each += bytes_each(a.value, s.examples);
                if (inside(root(a.value), first, last, s.examples)) roots.push_back(root(a.value));
            }
        }
        const Index most = std::max(caches().second / std::max<Index>(s.each, 1), Index{1});
        s.chunk = std::min((most + s.together - 1) / s.together * s.together, s.examples);
        for (const int n : roots) {
            s.inside.push_back({n, bytes_each(n, s.examples), s.bytes});
            s.bytes += whole_lines(bytes_each(n, s.examples) * s.chunk);
        }
        return s;
    }

    const ProgramSpec& p_;
    const std::vector<std::unique_ptr<Task>>& tasks_;
    std::vector<char*> addresses_;
    const Elsewhere& elsewhere_;
    std::vector<std::size_t> last_read_; // of each root the last step that reads it; past all if it is kept
};

} // namespace

std::vector<Pipeline> find_pipelines(const ProgramSpec& program, const std::vector<std::unique_ptr<Task>>& tasks,
                                     const std::vector<char*>& addresses, const std::vector<int>& kept, const Elsewhere& elsewhere) {
    std::vector<Pipeline> found = Finder(program, tasks, addresses, kept, elsewhere).all();
    for (Pipeline& s : found) {
        s.bases = s.bytes;
        s.bytes += whole_lines(static_cast<Index>(program.values.size() * sizeof(char*)));
    }
    return found;
}

void run_pipeline(const Pipeline& s, const std::vector<std::unique_ptr<Task>>& tasks, std::size_t values, std::size_t after, const Context& c) {
    for (std::size_t t = s.first; t < s.last; ++t) tasks[t]->start(c);
    const bool shared = c.team.worth(s.nanoseconds);
    const Index whole = (s.examples + s.together - 1) / s.together; // each thread gets some, if there are enough
    const Index share = shared ? (whole + c.team.size() - 1) / c.team.size() * s.together : s.chunk;
    const Index chunk = std::min(s.chunk, share), chunks = (s.examples + chunk - 1) / chunk;
    const auto some = [&](int k, int member) {
        char *const own = c.own(member), *const memory = own + after;
        char** const bases = reinterpret_cast<char**>(memory + s.bases);
        std::copy_n(c.bases, values, bases);
        const Index first = k * chunk, last = std::min(first + chunk, s.examples);
        for (const Pipeline::Inside& i : s.inside) bases[i.root] = memory + i.offset - first * i.each;
        const Context here = {bases, c.team, c.workspace, c.workspace_each};
        for (std::size_t t = s.first; t < s.last; ++t) tasks[t]->run_some(here, first, last, own);
    };
    if (shared && chunks > 1) c.team.run(static_cast<int>(chunks), some);
    else
        for (Index k = 0; k < chunks; ++k) some(static_cast<int>(k), 0);
    for (std::size_t t = s.first; t < s.last; ++t) tasks[t]->finish(c);
}

} // namespace chainrule
