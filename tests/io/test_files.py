"""Writing: all or nothing."""

import errno
import os
import stat
import subprocess
import sys
import textwrap

import pytest

from chainrule.io import write_atomically, write_together

unix = pytest.mark.skipif(sys.platform == "win32", reason="devices, modes and limits of Unix")


@pytest.fixture
def target(tmp_path):
    file = tmp_path / "model"
    file.write_bytes(b"old")
    return file


def test_new_and_replaced(tmp_path, target):
    write_atomically(tmp_path / "new", b"content")
    write_atomically(str(target), b"new")
    assert (tmp_path / "new").read_bytes() == b"content" and target.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["model", "new"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_disk_full_keeps_the_old_content(monkeypatch, target, call):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        OSError, match=r"cannot write .*model.*No space left on device. What it held before is unchanged"
    ):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old" and os.listdir(target.parent) == ["model"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_interrupts_the_writing_leaves_nothing(monkeypatch, target, error):
    def interrupted(*args):
        raise error

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(error):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old" and os.listdir(target.parent) == ["model"]


LIMITED = """
    import resource, signal, sys
    from chainrule.io import write_together
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        write_together({sys.argv[1]: b"x" * 50_000, sys.argv[2]: b"x" * 500_000})
    except OSError as error:
        print(error)
"""


@unix
def test_a_real_write_that_fails_half_way(tmp_path, target):
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), str(target), str(tmp_path / "second")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "second (500,000 bytes): File too large" in done.stdout
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["model"]


def test_together_or_not_at_all(tmp_path, target):
    with pytest.raises(OSError, match=r"cannot write .*absent.*No such file or directory"):
        write_together({target: b"new", tmp_path / "absent" / "x": b"y"})
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["model"]
    write_together({target: b"new", tmp_path / "b": b"y"})
    assert target.read_bytes() == b"new" and sorted(os.listdir(tmp_path)) == ["b", "model"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OSError, match="cannot write"):
        write_atomically(tmp_path, b"x")
    assert os.listdir(tmp_path) == [] and os.listdir(tmp_path.parent).count(tmp_path.name) == 1
    assert not [f for f in os.listdir(tmp_path.parent) if f.endswith(".partial")]


@unix
def test_devices_and_pipes_are_written_to_and_stay(tmp_path):
    write_atomically("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    code = "from chainrule.io import write_atomically; write_atomically('/dev/stdout', b'hello')"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout == b"hello"


@unix
def test_links_are_followed_and_permissions_kept(tmp_path, target):
    target.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and stat.S_IMODE(target.stat().st_mode) == 0o600
