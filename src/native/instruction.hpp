// One operation of a tile program: a kernel and where its operands lie.
#pragma once

#include <array>
#include <deque>
#include <type_traits>
#include <vector>

#include "executor.hpp"
#include "kernels.hpp"

namespace chainrule {

using Any = void (*)();

// The vector kernels of a real type.
template <class T>
const VecKernels<T>& vec() {
    if constexpr (std::is_same_v<T, float>) return kernels().vec_f32;
    else return kernels().vec_f64;
}

enum class Form { unary, binary, compare, test, where, cast, logic, logical_not, pass, fill };

struct Instruction {
    Form form = Form::fill;
    DType dtype = DType::float32; // of the operands that are computed with
    Any function = nullptr;
    std::array<int, 3> in{-1, -1, -1}; // operands and registers by number
    int out = -1;
    void (*call)(const Instruction&, std::ptrdiff_t n) = nullptr;
    std::array<int, 3> by{1, 1, 1};       // 0: one element for all
    std::array<const char*, 3> from = {}; // where they lie, for one tile
    char* to = nullptr;
    const PassStep* steps = nullptr;      // of a pass
    int count = 0;
    char* const* at = nullptr; // of a pass: where every operand and register lies

    template <class T>
    const T* operand(std::size_t k) const {
        return reinterpret_cast<const T*>(from[k]);
    }
    template <class T>
    T* result() const {
        return reinterpret_cast<T*>(to);
    }
};

// The instruction for a step without its operands; form `fill` where there is none.
Instruction instruction_of(const ProgramSpec& program, const StepSpec& step);

// Sets what runs the instruction, by its form and dtype.
void set_call(Instruction& instruction);

// Gathers neighbouring arithmetic to passes, in which what one operation hands to the next never reaches memory.
// `registers`: the first operand that is no memory. The steps of the passes are put into `steps`.
std::vector<Instruction> in_passes(const std::vector<Instruction>& all, int registers, std::deque<std::vector<PassStep>>& steps);

bool takes_scalars(Form form);

} // namespace chainrule
