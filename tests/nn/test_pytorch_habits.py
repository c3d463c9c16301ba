"""What users of PyTorch type gets an answer that says what there is, and the answers are right."""

import re
from typing import NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core import habits

OWNERS = {
    "Tensor": cr.tensor([[1.0, 2.0]]),
    "Module": nn.Linear(2, 1),
    "Optimizer": optim.Adam(),
    "chainrule.nn": nn,
    "chainrule.nn.functional": nn.functional,
    "chainrule.nn.init": nn.init,
    "chainrule.optim": optim,
    "chainrule": cr,
}
KNOWN = {"np": np, "cr": cr, "nn": nn, "optim": optim, "x": OWNERS["Tensor"], "model": nn.Sequential(nn.Linear(2, 1)),
         "parameter": OWNERS["Module"].weight, "optimizer": OWNERS["Optimizer"]}  # fmt: skip


@pytest.mark.parametrize("place", habits.HABITS)
def test_every_habit_is_answered(place):
    assert place in OWNERS
    for name, instead in habits.HABITS[place].items():
        with pytest.raises(AttributeError, match=f"has no attribute '{name}': {re.escape(instead)}"):
            getattr(OWNERS[place], name)


def test_what_the_answers_name_exists():
    texts = [text for table in habits.HABITS.values() for text in table.values()]
    texts += [habits.PARAMETERS, habits.REQUIRES_GRAD, habits.LOADER]
    named = {
        match
        for text in texts
        for match in re.findall(r"\b(np|cr|nn|optim|x|model|parameter|optimizer)\.([\w.]*\w)", text)
    }
    assert len(named) > 60
    for start, path in sorted(named):
        found = KNOWN[start]
        for part in path.split("."):
            assert hasattr(found, part), f"{start}.{path}"
            found = getattr(found, part)


@pytest.mark.parametrize(
    "owner, name, said",
    [
        (cr, "exp", "use np.exp, NumPy's functions take tensors"),
        (cr, "stack", "use np.stack"),
        (cr, "zeros", "use np.zeros"),
        (OWNERS["Tensor"], "exp", r"use np.exp\(x\)"),
        (OWNERS["Tensor"], "nonsense", "'Tensor' object has no attribute 'nonsense'$"),
        (nn, "nonsense", "module 'chainrule.nn' has no attribute 'nonsense'$"),
        (OWNERS["Module"], "nonsense", "'Linear' object has no attribute 'nonsense'$"),
    ],
)
def test_names_of_numpy_and_of_nothing(owner, name, said):
    with pytest.raises(AttributeError, match=said):
        getattr(owner, name)
    assert not hasattr(owner, name) and getattr(owner, name, 3) == 3


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda x: cr.softmax(x, dim=1), "dim is axis"),
        (lambda x: cr.log_softmax(x, dim=-1), "dim is axis"),
        (lambda x: cr.logsumexp(x, dim=1, keepdim=True), "dim is axis in NumPy; keepdim is keepdims"),
        (lambda x: x.std(unbiased=False), r"unbiased is ddof=1 \(True\) or ddof=0"),
        (lambda x: x.var(1, unbiased=True), "unbiased is ddof=1"),
        (lambda x: x.argmax(dim=1), "dim is axis"),
        (lambda x: x.cumsum(dim=0), "dim is axis"),
        (lambda x: x.squeeze(dim=0), "dim is axis"),
        (lambda x: x.sum(1, keepdim=True), "keepdim is keepdims"),
        (lambda x: x.argsort(descending=True), r"descending is \[::-1\]"),
    ],
)
def test_keywords_of_pytorch_are_translated(call, said):
    with pytest.raises(TypeError, match=said) as caught:
        call(OWNERS["Tensor"])
    assert str(caught.value).count(said.split(" in NumPy")[0].replace("\\", "")) <= 1


def regression():
    return nn.Linear(2, 1), np.ones((4, 2)), np.ones((4, 1))


KEYWORDS = [
    (lambda x: x.flatten(1), r"x.reshape\(len\(x\), -1\)"),
    (lambda x: x.flatten(start_dim=1), r"x.reshape\(len\(x\), -1\)"),
    (lambda x: cr.one_hot([0, 1], num_classes=3), "num_classes is classes here"),
    (lambda x: cr.leaky_relu(x, negative_slope=0.1), "negative_slope is slope here"),
    (lambda x: nn.LeakyReLU(negative_slope=0.1), "negative_slope is slope here"),
    (lambda x: nn.ReLU(inplace=True), "leave inplace out"),
    (lambda x: nn.Softmax(dim=1), "does not take dim; dim is axis in NumPy"),
    (lambda x: nn.Softplus(beta=2.0), r"cr.softplus\(beta \* x\) / beta"),
    (lambda x: nn.Flatten(start_dim=0), "to join all axes"),
    (lambda x: nn.Linear(2, 1, device="cpu"), "leave device out"),
    (lambda x: nn.BatchNorm1d(2, momentum=0.1, affine=False), "does not take affine; leave it out"),
    (lambda x: nn.LayerNorm(normalized_shape=2), "normalized_shape is features here"),
    (lambda x: nn.Embedding(num_embeddings=3, embedding_dim=2), "rows here; embedding_dim is dimensions here"),
    (lambda x: nn.Embedding(3, 2, device="cpu"), "leave device out"),
    (lambda x: nn.Sequential({"first": nn.Linear(2, 1)}), r"nn.Sequential\(\*layers.values\(\)\)"),
    (lambda x: nn.Parameter(np.ones(2), requires_grad=0), "requires_grad: expected True or False, got 0"),
    (lambda x: np.sum(x).backward(retain_graph=True), "leave retain_graph out"),
    (lambda x: np.sum(x).backward(create_graph=True), "cr.hessian"),
    (lambda x: nn.Linear(2, 1).zero_grad(set_to_none=True), "leave set_to_none out"),
    (lambda x: nn.Linear(2, 1).to(device="cpu"), "leave device out"),
    (lambda x: cr.tensor([1.0], device="cpu"), "leave device out"),
    (lambda x: cr.Tensor([1.0, 2.0]), r"use cr.tensor\(value\)"),
    (lambda x: cr.vmap(np.sum, in_dims=0), "in_dims is in_axes here"),
    (lambda x: cr.compile(np.sum, mode="max-autotune"), "engine= is"),
    (lambda x: nn.losses.mse(x, x, size_average=True), 'size_average is reduction="mean"'),
    (lambda x: nn.losses.hinge(x, [0], label_smoothing=0.1), "smooth the targets"),
    (lambda x: nn.losses.hinge(x, [0], ignore_index=-100), "by a mask"),
    (lambda x: nn.losses.hinge(x, [0], weight=np.ones(2)), "sample_weight"),
    (lambda x: optim.Adam(lr=1e-3, foreach=True), "does not take foreach; leave it out"),
    (lambda x: optim.Adam(1e-3).step(), "optimisers are pure functions: cr.fit"),
    (lambda x: cr.fit(*regression(), criterion="mse"), "criterion is loss here"),
    (lambda x: cr.fit(*regression(), lr=0.1), "belongs to the optimiser"),
    (lambda x: cr.fit(*regression(), validation_data=(1, 2)), r"validation=\(X, y\)"),
    (lambda x: cr.fit(*regression(), verbose=0), "verbose is progress"),
    (lambda x: x.add(x), r"use np.add\(x, y\)"),
    (lambda x: nn.LSTM(2, 3, batch_first=True), "LSTM does not take batch_first; leave batch_first out"),
    (lambda x: nn.GroupNorm(2, num_channels=4), "num_channels is features here"),
    (lambda x: nn.MaxPool2d(2, ceil_mode=True), "windows lie within the padded input"),
    (lambda x: nn.MultiheadAttention(2, 1)(np.ones((1, 2, 2)), attn_mask=None), "causal=True"),
    (lambda x: nn.MultiheadAttention(2, 1)(np.ones((1, 2, 2)), need_weights=True), "return_weights"),
    (lambda x: cr.fit(*regression(), clip_norm=1.0), "the optimiser clips"),
    (lambda x: cr.fit(*regression(), accumulation_steps=2), "accumulate="),
    (lambda x: optim.ReduceLROnPlateau(0.1), "optim.ReduceOnPlateau"),
]


@pytest.mark.parametrize("call, said", KEYWORDS)
def test_other_calls_of_pytorch_and_keras_are_answered(call, said):
    with pytest.raises((TypeError, AttributeError), match=said):
        call(OWNERS["Tensor"])


def test_layers_take_no_arguments_that_they_ignore():
    kinds = [k for k in vars(nn).values() if isinstance(k, type) and issubclass(k, nn.Module)]
    for kind in [
        k for k in kinds if k.__init__ is nn.Module.__init__ and k not in (nn.Module, nn.Layer, nn.Activation)
    ]:
        for arguments in ({"anything": 1}, {"axis": 0}):
            with pytest.raises(TypeError):
                kind(**arguments)
        with pytest.raises(TypeError):
            kind(1)
    assert nn.ReLU in kinds and len(nn.Sequential(nn.Linear(2, 2) for _ in range(3))) == 3


def test_the_answers_give_what_pytorch_gives():
    torch = pytest.importorskip("torch")
    a = np.random.default_rng(0).normal(size=(4, 6))
    x, t = cr.tensor(a), torch.tensor(a)
    i = np.array([2, 0, 1])
    pairs = [
        (np.sort(x, -1)[..., ::-1][..., :3], t.topk(3).values),
        (np.argsort(x, -1)[..., ::-1][..., :3], t.topk(3).indices),
        (np.partition(x, 1, 1)[..., 1], t.kthvalue(2, 1).values),
        (np.array_split(x, 3, 1)[2], t.chunk(3, 1)[2]),
        (np.unstack(x, axis=1)[3], t.unbind(1)[3]),
        (np.take(x, i, 0), t.index_select(0, torch.tensor(i))),
        (np.repeat(x, 2, 1), t.repeat_interleave(2, 1)),
        (np.moveaxis(x, 0, 1), t.movedim(0, 1)),
        (np.clip(x, 0, 6), torch.nn.functional.relu6(t)),
        (np.clip(x / 6 + 0.5, 0, 1), torch.nn.functional.hardsigmoid(t)),
        (x * np.tanh(cr.softplus(x)), torch.nn.functional.mish(t)),
        (x / (1 + np.abs(x)), torch.nn.functional.softsign(t)),
        (-cr.softplus(-x), torch.nn.functional.logsigmoid(t)),
        (np.where(x > 0.5, 0.0, x), t.masked_fill(t > 0.5, 0.0)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), atol=1e-12)


CALLS = [
    (lambda m: optim.Adam(m.parameters()), "an optimiser does not hold the parameters: optim.Adam"),
    (lambda m: optim.Adam(m.parameters(), lr=1e-3), "does not hold the parameters"),
    (lambda m: optim.SGD(list(m.parameters()), 0.1), "does not hold the parameters"),
    (lambda m: optim.SGD(params=m.parameters(), lr=0.1), "does not hold the parameters"),
    (lambda m: optim.AdamW([m.weight], lr=0.1), "does not hold the parameters"),
    (lambda m: optim.Adam(1e-3, betas=(0.9, 0.99)), "beta1=a, beta2=b"),
    (lambda m: setattr(m.weight, "requires_grad", None), "requires_grad: expected True or False, got None"),
    (lambda m: setattr(m(np.ones((1, 2))), "requires_grad", False), "only that of an nn.Parameter does"),
    (lambda m: m.to("cuda"), "got 'cuda'; the CPU is the only device"),
    (lambda m: cr.fit(m, (np.ones(2) for _ in range(3)), np.ones((3, 1))), "fit takes whole arrays"),
    (
        lambda m: cr.fit(m, np.ones((3, 2)), (1.0 for _ in range(3))),
        "y is of type generator, .* fit takes whole arrays",
    ),
    (lambda m: m((np.ones((3, 2)), np.ones((3, 2)))), "Linear takes one array, got a tuple of arrays"),
    (lambda m: nn.Sequential(m)([cr.tensor([[1.0, 2.0]])] * 2), "Sequential takes one array, got a list of arrays"),
    (lambda m: m(np.ones((3, 2))).sum(dim=1), "does not take dim; dim is axis in NumPy"),
    (lambda m: m(np.ones((3, 2))).mean(axis=1, keepdim=True), "does not take keepdim; keepdim is keepdims in NumPy"),
    (lambda m: cr.fit(m, np.ones((3, 2))), r"fit takes whole arrays"),
]


@pytest.mark.parametrize("call, said", CALLS)
def test_calls_are_answered(call, said):
    with pytest.raises((TypeError, AttributeError, ValueError), match=said):
        call(nn.Linear(2, 1))


def test_the_loader_s_answer_works():
    batches = [(np.ones((4, 2)), np.ones((4, 1))), (np.ones((3, 2)), np.ones((3, 1)))]
    X, y = map(np.concatenate, zip(*batches, strict=True))
    assert len(cr.fit(nn.Linear(2, 1), X, y, loss="mse", epochs=1, progress=False)) == 1


def test_a_loss_is_a_number_after_backward():
    w = cr.tensor([1.0, 2.0], requires_grad=True)
    loss = (w**2).sum()
    with pytest.raises(TypeError, match="would lose the gradient"):
        float(loss)
    loss.backward()
    assert float(loss) == loss.item() == 5.0
    loss.backward()
    np.testing.assert_array_equal(w.grad, [4.0, 8.0])
    scalar = cr.tensor(3.0, requires_grad=True)
    (scalar * 2.0).backward()
    with pytest.raises(TypeError, match="would lose the gradient"):
        float(scalar)  # it is used again


class States(NamedTuple):
    h: object
    c: object


class Cell(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(3, 3)

    def forward(self, x, states):
        h, c = states.values() if isinstance(states, dict) else states
        assert h.dtype == self.inner.weight.dtype
        self.seen = type(states)
        return np.tanh(self.inner(x) + h) * c


class Two(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(3, 3)

    def forward(self, pair):
        return self.inner(pair[0]) * pair[1]


@pytest.mark.parametrize("kind", [tuple, list, States, dict])
@pytest.mark.parametrize("of", [np.asarray, cr.tensor])
def test_modules_take_nests_of_arrays(kind, of):
    rng = np.random.default_rng(0)
    x, h, c = rng.normal(size=(3, 2, 3))
    cell = Cell()
    nest = {States: lambda a, b: States(a, b), dict: lambda a, b: {"h": a, "c": b}}.get(kind, lambda a, b: kind([a, b]))
    found = cell(x, nest(of(h), of(c)))
    assert cell.seen is kind
    expected = np.tanh(x @ cell.inner.weight.value + cell.inner.bias.value + h) * c
    np.testing.assert_allclose(found.value, expected, rtol=1e-5)
    output, _ = nn.functional_call(cell, {}, x, nest(of(h), of(c)))
    np.testing.assert_allclose(output.value, expected, rtol=1e-5)


def test_a_tuple_of_arrays_alone():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3))
    model = Two()
    expected = (a @ model.inner.weight.value + model.inner.bias.value) * b
    np.testing.assert_allclose(model((a, b)).value, expected, rtol=1e-5)
    np.testing.assert_allclose(model([cr.tensor(a), cr.tensor(b)]).value, expected, rtol=1e-5)
    rows = nn.Linear(3, 2)
    np.testing.assert_array_equal(rows([a[0], a[1]]).value, rows(a[:2]).value)  # a list of arrays holds rows
    np.testing.assert_array_equal(rows([[1.0, 2.0, 3.0]]).value, rows(np.array([[1.0, 2.0, 3.0]])).value)
    np.testing.assert_array_equal(rows(((1.0, 2.0, 3.0),)).value, rows(np.array([[1.0, 2.0, 3.0]])).value)
