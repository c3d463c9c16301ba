// One operation of a tile program: a kernel and where its operands lie.
#pragma once

#include <array>
#include <vector>

#include "executor.hpp"
#include "kernels.hpp"

namespace chainrule {

using Any = void (*)();

enum class Form { unary, binary, compare, test, where, cast, logic, logical_not, scaled, fill };

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

// Joins instructions where nothing else reads what passes between them. `registers`: the first that is no memory.
std::vector<Instruction> joined(const std::vector<Instruction>& all, int registers);

bool takes_scalars(Form form);

} // namespace chainrule
