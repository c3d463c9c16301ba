"""How multiplies are blocked: stored per machine, read by the native engine, never a matter of results."""

import json
import warnings
from dataclasses import asdict

import numpy as np
import pytest

import chainrule as cr

pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")

from chainrule.engine import _native, blocking, calibration


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for the file, and the blocks that are in force put back."""
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))
    before = _native.blocking()
    yield tmp_path
    _native.set_blocking(*before)


def entry(**changed):
    return {"strip": 4096, "panels": 65536, "reuse": 100, **changed}


def store(folder, entries, number=blocking.FORMAT):
    (folder / "multiplies.json").write_text(json.dumps({"format": number, "machines": entries}), encoding="utf-8")


def test_without_a_file_the_blocks_follow_from_the_caches(folder):
    _native.set_blocking(*_native.default_blocking())
    blocking.apply()
    assert _native.blocking() == _native.default_blocking()
    first, second, third = _native.caches()
    strip, panels, _ = _native.blocking()
    assert 8 * 1024 <= first <= second <= 1 << 28 and third >= 1 << 19
    assert 0 < strip < first and 0 < panels < second


def test_this_machine_finds_its_own_entry(folder):
    store(folder, {"another machine": entry(reuse=7), blocking.machine(): entry()})
    blocking.apply()
    assert _native.blocking() == (4096, 65536, 100)
    assert blocking.stored() == blocking.Blocking(4096, 65536, 100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"format": 99, "machines": {}}',
        json.dumps({"format": 1, "machines": {"m": {"strip": 1}}}),
        json.dumps({"format": 1, "machines": {"m": entry(strip=0)}}),
        json.dumps({"format": 1, "machines": {"m": entry(panels=True)}}),
        json.dumps({"format": 1, "machines": {"m": entry(reuse=1.5)}}),
    ],
)
def test_a_damaged_file_is_ignored_with_a_warning_that_names_it(folder, text):
    (folder / "multiplies.json").write_text(text, encoding="utf-8")
    before = _native.blocking()
    with pytest.warns(RuntimeWarning, match=r"calibration .* ignored: .*multiplies\.json"):
        blocking.apply()
    assert _native.blocking() == before
    with pytest.raises(ValueError, match=r"multiplies\.json"):
        calibration.calibrate()  # and not overwritten


def test_calibrating_stores_what_is_then_used(folder, monkeypatch):
    """Times are made up: the smaller the panels, the faster; a gain within the noise is none."""
    usual = blocking.Blocking(*_native.default_blocking())

    def compared(choices):
        return [1.0 if c == choices[0] else 0.5 if c.panels < choices[0].panels else 0.99 for c in choices]

    monkeypatch.setattr(calibration, "_compared", compared)
    chosen, gain = calibration.calibrate()
    assert asdict(chosen) == asdict(usual) | {"panels": usual.panels // 2} and gain == 2
    assert blocking.stored() == chosen and _native.blocking() == (chosen.strip, chosen.panels, chosen.reuse)
    assert [p.name for p in folder.iterdir()] == ["multiplies.json"]


def test_measuring_leaves_the_blocks_as_they_were(folder, monkeypatch):
    monkeypatch.setattr(calibration, "SHAPES", ((8, 9, 10),))
    before = _native.blocking()
    usual = blocking.Blocking(*before)
    relative = calibration._compared([usual, blocking.Blocking(1, 1, 1)])
    assert relative[0] == 1 and relative[1] > 0 and _native.blocking() == before


@pytest.mark.parametrize("blocking", [(1, 1, 1), (1000, 20000, 1), (1 << 20, 1 << 24, 1 << 30)])
def test_a_training_step_is_the_same_to_the_bit(folder, blocking):
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(70, 130)).astype("f4"), rng.normal(size=(70, 40)).astype("f4")
    W, b = rng.normal(size=(130, 40)).astype("f4"), np.zeros(40, "f4")

    def loss(W, b):
        return np.mean((np.tanh(X @ W + b) - T) ** 2)

    def step():
        return cr.compile(cr.value_and_grad(loss, argnums=(0, 1)), engine="native")(W, b)

    value, (dW, db) = step()
    _native.set_blocking(*blocking)
    again, (dW2, db2) = step()
    assert value == again and np.array_equal(dW, dW2) and np.array_equal(db, db2)


def test_the_file_is_in_the_folder_of_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("CHAINRULE_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert blocking.stored_in() == tmp_path / "chainrule" / "multiplies.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert blocking.stored_in() == tmp_path / ".cache" / "chainrule" / "multiplies.json"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blocking.apply()
