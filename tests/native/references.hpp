// Functions over arrays of doubles, as the C library's vector versions compute them: independent of the engine's.
#pragma once

#include <cstddef>

using QuickReference = void (*)(std::size_t n, const double* x, double* out);

// By the name of the operation, or null where there is none. Good to some ulp of a double, ends of the range aside:
// what it calls wrong is to be looked at again.
QuickReference quick_reference(const char* name);
