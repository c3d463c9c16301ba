"""Causes that no formula explains: shapes, values that are not finite, calls that add up, and what is unknown."""

from __future__ import annotations

from .table import Cause


class WrongShape(Cause):
    """Its shape is not that of the value it is the gradient of.

    Wrong
    -----
        dW2 = np.einsum("ij,ik->ijk", cache["A1"], dZ2) / m  # wrong

    Right
    -----
        dW2 = cache["A1"].T @ dZ2 / m

    How it shows
    ------------
    The gradient has shape 9×7×3 instead of 7×3, the shape of its parameter: one matrix for each example. An update by
    broadcasting may even run, and give the parameter another shape.

    Why it is wrong
    ---------------
    W2 is used for all examples, so its gradient is a sum over them: `dW2 = Σᵢ A1[i]ᵀ dZ2[i] / m`. A gradient always has
    the shape of its value.

    Notes
    -----
    A bias as a vector, a row or a column is a convention, and not reported as this.
    """

    code = "wrong-shape"


class Accumulates(Cause):
    """A second call adds to the gradients of the first.

    Wrong
    -----
        grads = {f"d{name}": np.zeros_like(value) for name, value in P.items()}

        def backward(cache, Y, P):
            dZ2 = (cache["Z2"] - Y) / len(Y)
            dZ1 = dZ2 @ P["W2"].T * (1 - cache["A1"] ** 2)
            here = {"dW1": cache["A0"].T @ dZ1, "dW2": cache["A1"].T @ dZ2}
            here |= {"db1": dZ1.sum(axis=0), "db2": dZ2.sum(axis=0)}
            for name, gradient in here.items():
                grads[name] += gradient  # wrong
            return grads

    Right
    -----
        grads[name] = gradient

    How it shows
    ------------
    The first call is right; the second returns twice as much for the same input, the third three times.

    Why it is wrong
    ---------------
    `+=` adds to what the last call left behind. Within *one* pass the gradients of a value that is used twice are
    added; gradients of different passes are not.

    Notes
    -----
    To accumulate gradients on purpose, over several small batches, set them to 0 before the first one.
    """

    code = "accumulates"
    shown_in = "backward"


class Nonfinite(Cause):
    """It has values that are not finite.

    Wrong
    -----
        x = 1000 * rng.normal(size=(9, 5))


        def forward(x):
            out = np.exp(-np.logaddexp(0, -x))
            return out, (x, out)


        def backward(dout, cache):
            x, out = cache
            return {"dx": dout * np.exp(-x) / (1 + np.exp(-x)) ** 2}  # wrong


        report = cr.audit_layer(forward, backward, x)

    Right
    -----
        return {"dx": dout * out * (1 - out)}

    How it shows
    ------------
    nan or inf in the gradient, although the forward pass and the right gradient are finite.

    Why it is wrong
    ---------------
    `exp(−x)` overflows for x < −709, and `inf / inf` is nan. `σ′ = σ (1 − σ)` is the same function and never
    overflows.

    Notes
    -----
    Other causes: dividing by a probability that is 0, or by a norm or a standard deviation without ε.
    """

    code = "nonfinite"
    shown_in = "dx"


class MemoryLayout(Cause):
    """It depends on how an array lies in memory.

    Wrong
    -----
        x = rng.normal(size=(9, 5))


        def forward(x):
            return x**2, x


        def backward(dout, x):
            flat = dout.ravel(order="K")  # wrong
            return {"dx": 2 * x * flat.reshape(x.shape)}


        report = cr.audit_layer(forward, backward, x)

    Right
    -----
        flat = dout.ravel()

    How it shows
    ------------
    The gradient is right for arrays that are contiguous, and wrong for a transposed one: below a transpose, or after
    a loss that works on columns.

    Why it is wrong
    ---------------
    `order="K"`, `np.frombuffer`, `.data` and strides read the memory as it lies. The same numbers may lie in
    another order, and the gradient depends on the numbers alone.

    Notes
    -----
    Passes that are right otherwise are run once more with all arrays in Fortran order.
    """

    code = "memory-layout"
    shown_in = "dx"


class Unknown(Cause):
    """It is wrong in a way that none of the known mistakes explains.

    Wrong
    -----
        dA1 = np.clip(dZ2 @ P["W2"].T, -0.5, 0.5)  # wrong

    Right
    -----
        dA1 = dZ2 @ P["W2"].T

    How it shows
    ------------
    None of the known mistakes gives your numbers. The evidence lists what is known: the ratio, where the largest
    difference is, and whether only some rows, columns or entries are wrong. Here all entries within ±0.5 are
    right.

    Why it is wrong
    ---------------
    `dA1 = dZ2 W2ᵀ`; a clipped array is no longer the gradient of the loss.

    Notes
    -----
    The step is wrong even so: the reference gradients are checked against finite differences. Clip the gradients that
    the optimiser gets, not those that are passed back.
    """

    code = "unknown"
