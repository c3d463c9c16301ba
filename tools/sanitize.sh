#!/bin/sh
# Build the native engine with the address and undefined-behaviour sanitizers and run its tests under them.
#
#   tools/sanitize.sh [python] [pytest arguments]
#
# Needs GCC, cmake, ninja or make, and nanobind and the test dependencies in that Python. Temporary files are removed.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v "${1:-python3}")
[ $# -gt 0 ] && shift
PATH=$(dirname "$python"):$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

generator=
if command -v ninja >/dev/null; then generator="-G Ninja"; fi
# shellcheck disable=SC2086 # the generator is two words or empty
cmake $generator -S "$root" -B "$work/build" -DPython_EXECUTABLE="$python" -DCHAINRULE_SANITIZE=ON \
      -DCMAKE_BUILD_TYPE=Release >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
cmake --build "$work/build" --parallel >>"$work/log" 2>&1 || { tail -n 50 "$work/log"; exit 1; }

# the package with the instrumented module
mkdir "$work/site"
cp -R "$root/src/chainrule" "$work/site/"
rm -f "$work"/site/chainrule/engine/_native*
cp "$work"/build/_native* "$work/site/chainrule/engine/"

asan=$("${CXX:-c++}" -print-file-name=libasan.so)
cxx=$("${CXX:-c++}" -print-file-name=libstdc++.so.6)
cd "$root"
# The interpreter leaks at exit; numpy and hypothesis are not instrumented.
LD_PRELOAD="$asan $cxx" ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1 \
UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$work/site" PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1 \
    "$python" -X faulthandler -m pytest -q -n 0 -p no:cacheprovider tests/engine/test_native.py tests/engine/test_native_kernels.py "$@"
