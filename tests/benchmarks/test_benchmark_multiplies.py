"""The table of multiplies: what is measured, and the summary of made-up times. No times."""

import json

import pytest

from benchmarks import __main__ as command
from benchmarks.multiplies import Multiplies, all_shapes, parse_shapes, summary


def case(shape, ratio, layout="NN"):
    times = {side: {"median": 1e-3, "lower": 9e-4, "upper": 2e-3} for side in ("native", "compiled", "numpy")}
    return {
        "shape": shape,
        "layout": layout,
        "times": times,
        "ratio": {"median": ratio, "lower": ratio, "upper": ratio},
    }


def test_shapes_are_read_and_refused():
    assert parse_shapes("128x784x128,1x2x3") == [(128, 784, 128), (1, 2, 3)]
    for text in ("128x784", "ax2x3", "0x1x1", ""):
        with pytest.raises(ValueError, match="expected shapes such as 128x784x128"):
            parse_shapes(text)
    shapes = all_shapes()
    assert len(shapes) == len(set(shapes)) and {(32, 32, 32), (1024, 1024, 1024), (256, 784, 512)} <= set(shapes)


def test_the_table_has_every_case_and_the_summary_the_worst(monkeypatch):
    ratios = {(8, 4, 2): 0.5, (8, 4, 6): 1.5, (16, 4, 2): 1.0}

    def made_up(module, job):
        assert all(shape[0] == job["m"] for shape in job["shapes"])
        cases = [case(shape, ratios[shape]) for shape in job["shapes"]]
        return {"status": "timed", "cases": cases, "multiply_rate": {"rate": 50e9}}

    monkeypatch.setattr("benchmarks.multiplies.measured", made_up)
    monkeypatch.setattr("benchmarks.sides.Side.absent", lambda side: None)
    multiplies = Multiplies(list(ratios), [1])
    results = list(multiplies.results())
    assert len(results) == multiplies.size() == 2
    assert summary(results) == [("1", "3", "0.50", "8×4×2 NN", "0.60", "1.00", "1")]
    text = multiplies.report(multiplies.describe(), results, "text")
    assert "50–50 Gflop/s" in text
    assert next(line for line in text.splitlines() if line.startswith("8×4×6")).split()[-2] == "1.50"


@pytest.mark.slow
def test_from_the_command_to_its_file(tmp_path, capsys):
    pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")
    file = tmp_path / "multiplies.json"
    options = ["--gemm", "--workload", "8x5x24", "--threads", "1", "--seconds", "0.01", "--json", str(file)]
    assert command.main(options) == 0
    (result,) = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert [c["layout"] for c in result["cases"]] == ["NN", "NT", "TN"] and result["multiply_rate"]["rate"] > 1e8
    assert capsys.readouterr().out.count("8×5×24") >= 3
