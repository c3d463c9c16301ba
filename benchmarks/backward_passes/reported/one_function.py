"""Rules for one function."""

import numpy as np

from benchmarks.backward_passes.reported.twins import N, case, gc, layer, sig


@case(
    "product_without_upstream",
    "dx",
    "missing-factor missing-upstream",
    "",
    "product: not multiplied by the gradient from above",
)
def _(bug):
    def b(grad_output, cache):
        x, y = cache
        return (y[:, None] if bug else grad_output[:, None] * y[:, None]) / x

    return layer(lambda x: (np.prod(x, axis=1), (x, np.prod(x, axis=1))), b, N(143, 5, 4))


@case(
    "saved_value_as_constant",
    "0 x",
    "missing-term",
    "unknown",
    "second derivative: the saved value is taken for a constant",
    glue=1,
    why="double backward as hvp",
)
def _(bug):
    f = lambda x: np.sum(x * sig(x))
    grad = lambda x: sig(x) + x * sig(x) * (1 - sig(x))  # with z = sig(x) saved

    def hvp(x, v):
        z = sig(x)
        dz = z * (1 - z)
        return v * z * (1 - z) + (0 if bug else v * dz * (1 + x * (1 - 2 * z)))

    return gc(f, N(146, 6), kw=dict(grad=grad, hvp=hvp, order=2), check="hvp")


@case(
    "not_summed_over_the_row",
    "da",
    "bias-not-summed wrong-shape",
    "",
    "one number a row; its gradient is not summed over the row",
)
def _(bug):
    def f(s, a):
        t = s + a[:, None]
        return np.where(t < 0, t, 0.5 * t), (s, a, t)

    def b(dy, cache):
        s, a, t = cache
        ds = dy * np.where(t < 0, 1, 0.5)
        return ds, ds if bug else ds.sum(axis=-1)

    return layer(f, b, N(149, 5, 4), N(150, 5))


@case(
    "tangent_left_out",
    "dx",
    "missing-factor missing-upstream",
    "",
    "jvp without the tangent",
    glue=2,
    why="forward mode; only for elementwise functions is it a vjp",
)
def _(bug):
    def jvp(x, t):
        y = sig(x)
        return y * (1 - y) if bug else y * (1 - y) * t

    return layer(lambda x: (sig(x), x), lambda t, x: jvp(x, t), N(154, 5, 3))


def leaky(how):
    def leaky_relu(x, alpha=0.01):
        return np.where(x > 0, x, alpha * x)

    def leaky_relu_backward(dout, x, alpha=0.01):
        return dout * np.where(x > 0, 1, alpha)

    class Leaky:
        def forward(self, x):
            return leaky_relu(x, 0.3)

        def jacobian(self, x):
            return np.stack([np.diag(np.where(r > 0, 1.0, 0.0 if how == "relu" else 0.3)) for r in x])

    l = Leaky()
    if how in ("relu", "jacobian"):
        return layer(lambda x: (l.forward(x), x), lambda d, x: np.einsum("ni,nij->nj", d, l.jacobian(x)), N(155, 5, 4))
    return layer(
        lambda x: (leaky_relu(x, 0.3), x),
        lambda d, x: leaky_relu_backward(d, x) if how == "default" else leaky_relu_backward(d, x, 0.3),
        N(156, 5, 4),
    )


case(
    "relu_jacobian_for_leaky_relu",
    "dx",
    "wrong-activation-derivative",
    "",
    "leaky ReLU with ReLU's Jacobian",
    glue=2,
    why="layers that return Jacobians",
)(lambda bug: leaky("relu" if bug else "jacobian"))
case(
    "another_slope_backward",
    "dx",
    "wrong-activation-derivative wrong-operand",
    "",
    "slope 0.3 forward, the default 0.01 backward",
    glue=1,
)(lambda bug: leaky("default" if bug else ""))


def elu(bug, scale, control=False):
    def f(x, alpha=1.3):
        y = scale * np.where(x > 0, x, alpha * (np.exp(x) - 1))
        return y, (x, y)

    def b(dout, cache, alpha=1.3):
        x, y = cache
        return dout * np.where(x > 0, scale, (x if bug else y) + alpha * scale)

    return layer(f, b, N(157, 6, 4))


case(
    "output_formula_at_the_input",
    "dx",
    "derivative-at-activation wrong-activation-derivative",
    "",
    "formula for the output is given the input",
)(lambda bug: elu(bug, 1.0))
case(
    "output_formula_at_the_input_scaled",
    "dx",
    "derivative-at-activation wrong-activation-derivative",
    "",
    "the same for SELU, with a scale",
)(lambda bug: elu(bug, 1.05))
case("elu_by_its_output", ok=True, note="function(x) + alpha is right for x < 0")(lambda bug: elu(False, 1.0))
