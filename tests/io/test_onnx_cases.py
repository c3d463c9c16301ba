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


def test_cases_of_some_families():
    home = importlib.import_module("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in FAMILIES:
            importlib.import_module(f"onnx.backend.test.case.node.{name}")
    cases = [case for case in home._NodeTestCases if case.kind == "node"]
    assert len(cases) > 160
    refused = {case.name: why for case in cases for kind, why in [outcome(case)] if kind == "refused"}
    assert all("FLOAT16" in why for why in refused.values()), refused


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
