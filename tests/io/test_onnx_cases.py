"""ONNX's own tests of its operators: each gives the numbers that ONNX expects, or is refused when it is read."""

import collections
import importlib
import warnings

import numpy as np
import pytest

import chainrule as cr

onnx = pytest.importorskip("onnx")

#: The families of cases that are made in a moment.
FAMILIES = "conv convtranspose cumprod gatherelements gru lstm mod resize rmsnormalization rnn scatternd trilu".split()


def outcome(case):
    """Return "right", or "refused" and why; anything else is a failure of the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            network = cr.from_onnx(case.model)
        except ValueError as error:
            return "refused", str(error)
        for inputs, wanted in case.data_sets:
            found = network(*map(_array, inputs))
            found = found if isinstance(found, tuple) else (found,)
            assert len(found) == len(wanted), case.name
            for a, b in zip(found, map(_array, wanted), strict=True):
                a = np.asarray(a.detach())
                assert a.dtype == b.dtype, case.name
                np.testing.assert_allclose(a, b, rtol=case.rtol, atol=case.atol, err_msg=case.name)
    return "right", ""


def _array(x):
    return onnx.numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x)


def some_cases():
    home = importlib.import_module("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in FAMILIES:
            importlib.import_module(f"onnx.backend.test.case.node.{name}")
    return list(home._NodeTestCases)


def test_cases_of_some_families():
    cases = some_cases()
    assert len(cases) > 160
    refused = {case.name: why for case in cases for kind, why in [outcome(case)] if kind == "refused"}
    assert all("FLOAT16" in why for why in refused.values()), refused


def test_planned_they_compute_the_same():
    families = "GRU", "LSTM", "RNN", "ConvTranspose", "RMSNormalization", "Trilu", "CumProd"
    cases = [case for case in some_cases() if case.model.graph.node[0].op_type in families and "bf" not in case.name]
    planned = 0
    for case in cases[::3]:
        network, inputs = cr.from_onnx(case.model), [_array(x) for x in case.data_sets[0][0]]
        settings = [x for x in inputs if x.dtype.kind in "iu" and x.size < 2]  # an axis must not be an input
        if not settings:
            wanted, found = network(*inputs), cr.compile(network)(*inputs)
            for a, b in zip(*([x] if not isinstance(x, tuple) else x for x in (found, wanted)), strict=True):
                np.testing.assert_allclose(np.asarray(a), b.value, rtol=1e-5, atol=1e-6, err_msg=case.name)
            planned += 1
    assert planned > 10


def test_a_hundred_damaged_models_raise_value_errors():
    rng = np.random.default_rng(0)
    cases = [case for case in some_cases() if not case.name.endswith("_expanded")]
    outcomes = collections.Counter()
    for k in rng.integers(len(cases), size=800):
        content = bytearray(cases[k].model.SerializeToString())
        for place in rng.integers(0, len(content), 2):
            content[place] = rng.integers(256)
        model = onnx.ModelProto()
        try:
            model.ParseFromString(bytes(content))
        except Exception as error:  # protobuf's own kinds
            assert "parsing" in str(error) or "decode" in str(error).lower()
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                network = cr.from_onnx(model)
                network(*[_array(x) for x in cases[k].data_sets[0][0]])
                outcomes["runs"] += 1
            except (ValueError, TypeError) as error:
                outcomes[type(error).__name__] += 1
                assert str(error)
    assert outcomes.total() >= 100 and outcomes["ValueError"] > 50 and outcomes["runs"] > 20, outcomes


@pytest.mark.slow
def test_all_cases():
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_node_model_tests()
    found = {case.name: outcome(case) for case in cases}
    counts = collections.Counter(kind for kind, _ in found.values())
    assert counts["right"] >= 1373, counts
    for name, (kind, why) in found.items():
        named = "is not read" in why or "is of type" in why or "node " in why or "not a tensor" in why
        assert kind == "right" or named or "operator set" in why or "inputs and outputs" in why, (name, why)
