"""The multiply on ARM: compiled with a cross compiler and run by an emulator, where Debian's packages for both are."""

import os
import shutil
import subprocess

import pytest

from tests.native.core import build

COMPILER, EMULATOR, LIBRARIES = "aarch64-linux-gnu-g++", "qemu-aarch64", "/usr/aarch64-linux-gnu"

pytestmark = pytest.mark.slow  # compiles the kernels, which takes a minute


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    for tool in (COMPILER, EMULATOR):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: apt-get install g++-aarch64-linux-gnu qemu-user")
    folder = tmp_path_factory.mktemp("arm")
    system = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={COMPILER}"]
    build(folder, *system, target="checks")
    return folder / "checks"


@pytest.mark.parametrize("isa", ["neon", "portable"])
def test_products_in_emulation(checks, isa):
    command = [EMULATOR, "-L", LIBRARIES, str(checks)]
    done = subprocess.run(command, env=os.environ | {"CHAINRULE_ISA": isa}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == f"{isa}: 0 wrong\n", done.stdout + done.stderr
