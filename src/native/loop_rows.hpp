// Whether the steps of a loop treat every row by itself, and the program of a step for some of the rows.
#pragma once

#include <vector>

#include "program.hpp"

namespace chainrule {

// How the values of a loop's body are cut along their first axes.
struct Rows {
    std::ptrdiff_t units = 0;  // equal parts of every value that is cut; 0: some step needs other rows than it computes
    std::vector<bool> cut{};   // by value; the others are read whole
    double nanoseconds = 0;    // that a step takes one thread, about
};

Rows rows_of(const ProgramSpec& body);

// Bytes from one unit of a value to the next, 0 for one that is not cut.
std::ptrdiff_t unit_bytes(const ProgramSpec& body, const Rows& rows, int value);

// The same program for `count` units.
ProgramSpec some_rows(const ProgramSpec& body, const Rows& rows, std::ptrdiff_t count);

} // namespace chainrule
