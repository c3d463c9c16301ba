"""Damaged and hostile model files: each is refused at once, within little memory, and none loads wrong data."""

import json
import os
import re
import subprocess
import sys
import textwrap
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.io import load_arrays, weights
from tests.io import hostile
from tests.io.gallery import CASES
from tests.tables import in_turn

unix = pytest.mark.skipif(sys.platform == "win32", reason="limits and pipes of Unix")

#: Reads every file of a folder, and says for each what became of it, its seconds, and the peak of memory so far.
READER = """
    import json, pathlib, resource, sys, time, warnings
    warnings.simplefilter("error")
    import chainrule as cr

    def peak():
        status = pathlib.Path("/proc/self/status")
        if status.exists():  # there, ru_maxrss counts what the parent took
            return next(int(line.split()[1]) for line in status.open() if line.startswith("VmHWM"))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    read = getattr(cr.io, sys.argv[2])
    results = {}
    for file in sorted(pathlib.Path(sys.argv[1]).iterdir(), key=lambda f: f.name):
        began = time.process_time()
        try:
            read(file)
            outcome = "loaded"
        except Exception as error:
            outcome = type(error).__name__ + ": " + str(error)
        results[file.name] = outcome, time.process_time() - began, peak()
    print(json.dumps(results))
"""


def outcomes(tmp_path, files, reader):
    """Return name -> (what became of it, seconds, kilobytes) from one process that reads all of the files."""
    folder = tmp_path / "files"
    folder.mkdir()
    names = {f"{i:05}": name for i, name in enumerate(files)}
    for number, name in names.items():
        (folder / number).write_bytes(files[name])
    command = [sys.executable, "-c", textwrap.dedent(READER), str(folder), reader]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (tmp_path / "unpickled").exists()
    found = json.loads(done.stdout)
    assert found.keys() == names.keys()
    return {names[number]: (*result, str(folder / number)) for number, result in found.items()}


def quarter(files, part):
    return dict(list(files.items())[part::4])


def refused(found):
    """Hold every outcome to: an error that names the file, within a second and 200 MB."""
    wrong = {
        name: (outcome[:200], seconds, memory)
        for name, (outcome, seconds, memory, file) in found.items()
        if not re.match(r"(ValueError|FileNotFoundError): ", outcome) or file not in outcome
        or len(outcome) > 3_000 or seconds > 1 or memory > 200_000
    }  # fmt: skip
    assert not wrong


@unix
@pytest.mark.parametrize("part", in_turn(range(4), every=4))
def test_model_files_are_refused(tmp_path, part):
    files = hostile.safetensors_files()
    assert len(files) > 200 + len(hostile.truncated())
    refused(outcomes(tmp_path, quarter(files, part), "load"))


@unix
@pytest.mark.parametrize("part", in_turn(range(4), every=4))
def test_weights_of_pytorch_in_such_files_are_refused(tmp_path, part):
    files = quarter(hostile.other_files() | hostile.headers(), part)
    files = {name: content.replace(b'"digest"', b'"Digest"') for name, content in files.items()}  # they have none
    found = outcomes(tmp_path, files, "load_arrays")
    loaded = {name for name, (outcome, *_) in found.items() if outcome == "loaded"}
    whole, _ = load_arrays(_file(tmp_path, hostile.intact()))
    for name in loaded:  # those that hold other arrays or other names, as they say: no model, but no damage either
        arrays, _ = load_arrays(_file(tmp_path, files[name]))
        known = {k: v for k, v in arrays.items() if k in whole}
        assert len(arrays) != len(whole) or known.keys() != whole.keys() or name in SAME_BYTES
    refused({name: result for name, result in found.items() if name not in loaded})


@unix
@pytest.mark.parametrize("part", in_turn(range(4), every=4))
def test_onnx_files_are_refused(tmp_path, part):
    pytest.importorskip("onnx")
    from tests.io import hostile_onnx

    files = hostile_onnx.onnx_files()
    assert len(hostile_onnx.graphs()) > 100
    refused(outcomes(tmp_path, quarter(files, part), "from_onnx"))


#: Headers that say of the same bytes something else that can be true.
SAME_BYTES = {"dtype 'I32'", "shape [4, 3]", "shape [12]", "shape [3, 4, 1]", "arrays exchanged"}


def _file(folder, content):
    file = folder / "model"
    file.write_bytes(content)
    return file


INTACT = hostile.intact()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_whatever_is_changed_it_is_refused_or_the_same(tmp_path_factory, data):
    """Bytes exchanged, left out, put in, repeated: what loads is what was saved."""
    content = bytearray(INTACT)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 1, 4, 30]))
        source = data.draw(st.integers(0, len(content)))
        new = data.draw(st.one_of(st.binary(max_size=8), st.just(bytes(content[source : source + 20]))))
        content[place : place + length] = new
    file = _file(tmp_path_factory.mktemp("changed"), bytes(content))
    try:
        model, metadata = cr.load(file)
    except ValueError as error:
        assert str(file) in str(error)
    else:
        wanted = hostile.model().state_dict()
        assert metadata == {"classes": ["a", "b"], "scale": 0.5} and model.config() == hostile.model().config()
        assert {k: v.tobytes() for k, v in model.state_dict().items()} == {k: v.tobytes() for k, v in wanted.items()}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_whatever_is_changed_in_onnx_is_refused_or_runs(tmp_path_factory, data):
    """Without a digest (other programs write none) changed numbers load, but nothing else may come of it."""
    pytest.importorskip("onnx")
    content = bytearray(data.draw(st.sampled_from(_onnx_models())))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.sampled_from([0, 1, 1, 4]))] = data.draw(st.binary(max_size=4))
    file = _file(tmp_path_factory.mktemp("changed"), bytes(content))
    try:
        cr.from_onnx(file)
    except ValueError as error:
        assert str(file) in str(error)


@cache
def _onnx_models():
    chosen = [CASES[name] for name in ("batch norm", "embedding", "convolution", "attention")]
    return [cr.to_onnx(case.model, example=case.inputs(2)).SerializeToString() for case in chosen]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=8) | st.just("__metadata__"), json_values, min_size=1, max_size=4))
@example({"__metadata__": {"a": "[" * 10_000}})
def test_any_header(tmp_path_factory, header):
    file = _file(tmp_path_factory.mktemp("header"), hostile.written(header, b""))
    for read in (cr.load, load_arrays):
        try:
            result = read(file)
        except ValueError as error:
            assert str(file) in str(error)
        else:
            assert read is load_arrays and all(a.size == 0 for a in result[0].values())


@settings(max_examples=40, deadline=None)
@given(json_values)
def test_any_architecture(tmp_path_factory, description):
    content = hostile._architecture(json.dumps(description))
    file = _file(tmp_path_factory.mktemp("architecture"), content)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        cr.load(file)


# -- what is no file, or changes ---------------------------------------------------------------------------------------


READERS = [cr.load, load_arrays, cr.from_onnx, lambda path: cr.io.load_torch_weights(path, hostile.model())]


@unix
@pytest.mark.parametrize("read", READERS)
def test_what_is_no_file_is_refused_without_waiting(tmp_path, read):
    if read is cr.from_onnx:
        pytest.importorskip("onnx")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "to_pipe").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "circle", "nowhere", "to_pipe", "", "absent", "nul\0", "x" * 5_000):
        with pytest.raises(FileNotFoundError):
            read(f"{tmp_path}/{name}")
    with pytest.raises(FileNotFoundError, match="device"):
        read("/dev/zero")


@unix
def test_a_link_to_a_model_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(_file(tmp_path, INTACT))
    assert cr.load(tmp_path / "link")[1] == {"classes": ["a", "b"], "scale": 0.5}


@unix
@pytest.mark.parametrize("kept", [0, 8, 600, -1])
def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch, kept):
    """No mapped memory that is gone, no rest that is made up."""
    pieces = weights._texts
    content = INTACT + bytes(0)
    large = cr.io.model_bytes(cr.nn.Sequential(cr.nn.Linear(300, 300)))  # more than a buffer holds
    for whole in (content, large):
        file = _file(tmp_path, whole)

        def shrinking(*args, file=file, whole=whole):
            os.truncate(file, kept % len(whole) if kept >= 0 else len(whole) - 1)
            return pieces(*args)

        monkeypatch.setattr(weights, "_texts", shrinking)
        try:
            model, _ = cr.load(file)
        except ValueError as error:
            assert "became shorter while it was read" in str(error)
        else:
            assert whole is content and np.isfinite(model.state_dict()["0.weight"]).all()  # it was read before


@unix
def test_a_model_larger_than_memory(tmp_path):
    """A hole in a file takes no room on the disk; its numbers would."""
    count = 2**33
    header = hostile.written({"a": hostile.entry([count], 0, 4 * count)})
    file = _file(tmp_path, header)
    try:
        os.truncate(file, len(header) + 4 * count)
    except OSError:
        pytest.skip("no files with holes here")
    code = f"""
        import resource
        import chainrule as cr
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            cr.io.load_arrays({str(file)!r})
        except ValueError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert "cannot be read: " in done.stdout and str(file) in done.stdout
