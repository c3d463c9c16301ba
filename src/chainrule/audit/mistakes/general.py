"""Causes that mistakes of several families have: factors, terms and operands."""

from __future__ import annotations

from .table import Cause
from .variants import siblings


class MissingFactor(Cause):
    """A factor of the product is left out.

    Wrong
    -----
        x, scale, shift = rng.normal(size=(9, 5)), rng.normal(size=5), rng.normal(size=5)


        def forward(x, scale, shift):
            return x * scale + shift, (x, scale)


        def backward(dout, cache):
            x, scale = cache
            dx = dout  # wrong
            dscale = np.sum(dout * x, axis=0)
            dshift = np.sum(dout, axis=0)
            return dx, dscale, dshift


        report = cr.audit_layer(forward, backward, x, scale, shift)

    Right
    -----
        dx = dout * scale

    How it shows
    ------------
    Yours divided by the right one gives the inverse of an array of the pass, here 1/scale, the same in every row.
    While `scale` is all ones, as at the start of training, nothing shows.

    Why it is wrong
    ---------------
    `out = x ⊙ scale + shift`: x is multiplied by scale, and so is its gradient: `dx = dout ⊙ scale`.
    """

    code = "missing-factor"
    paired = True
    rank = 1


class MissingTerm(Cause):
    """A term of the sum is left out: a path from the value to the loss.

    Wrong
    -----
        x, W = rng.normal(size=(9, 5)), rng.normal(size=(5, 5))


        def forward(x, W):
            a = np.tanh(x @ W)
            return x + a, (x, W, a)


        def backward(dout, cache):
            x, W, a = cache
            dz = dout * (1 - a**2)
            dx = dz @ W.T  # wrong
            return dx, x.T @ dz


        report = cr.audit_layer(forward, backward, x, W)

    Right
    -----
        dx = dz @ W.T + dout

    How it shows
    ------------
    Yours plus one more term of the sum is the right gradient; here the term is the upstream gradient itself.

    Why it is wrong
    ---------------
    x reaches the output on two paths, past the layer and through it. The gradients of the paths add up:
    `dx = dout + dz Wᵀ`. A value has one term for each of its uses.

    Notes
    -----
    The same happens with shared weights, with recurrent cells, and within batch norm, where x also acts through
    mean and variance.
    """

    code = "missing-term"
    paired = spreads = True


class Transposed(Cause):
    """An operand of the product, or the result, is transposed.

    Wrong
    -----
        X, Y = rng.normal(size=(9, 5)), rng.normal(size=(9, 7))
        P = {"W1": rng.normal(size=(5, 7)), "b1": rng.normal(size=7)}
        P |= {"W2": rng.normal(size=(7, 7)), "b2": rng.normal(size=7)}
        dA1 = dZ2 @ P["W2"]  # wrong

    Right
    -----
        dA1 = dZ2 @ P["W2"].T

    How it shows
    ------------
    The shapes fit, because W2 is square; the numbers have nothing in common with the right ones. With any other
    widths NumPy would refuse, so try the code on widths that differ.

    Why it is wrong
    ---------------
    `Z2[i,k] = Σⱼ A1[i,j] W2[j,k]`, hence `dA1[i,j] = Σₖ dZ2[i,k] W2[j,k]`: the sum runs over W2's second index.
    """

    code = "transposed"
    paired = True


class WrongOperand(Cause):
    """Another array of the pass is used in place of an operand.

    Wrong
    -----
        dW2 = cache["Z1"].T @ dZ2 / m  # wrong

    Right
    -----
        dW2 = cache["A1"].T @ dZ2 / m

    How it shows
    ------------
    The formula has the right form and shape, and gives your numbers when another array of the pass is put in, here
    Z1.

    Why it is wrong
    ---------------
    `Z2 = A1 W2 + b2`: W2 is multiplied by A1, so A1 is the factor in its gradient, `dW2 = A1ᵀ dZ2 / m`.
    """

    code = "wrong-operand"
    rank = 1


class WrongLayer(Cause):
    """The value of another layer is used.

    Wrong
    -----
        P = {"W1": rng.normal(size=(5, 7)), "W2": rng.normal(size=(7, 7)), "W3": rng.normal(size=(7, 3))}

        def forward(X, P):
            Z1 = X @ P["W1"]
            A1 = np.tanh(Z1)
            A2 = np.tanh(A1 @ P["W2"])
            return {"A0": X, "Z1": Z1, "A1": A1, "A2": A2, "A3": A2 @ P["W3"]}


        def loss(A3, Y):
            return np.mean(np.sum((A3 - Y) ** 2, axis=1)) / 2


        def backward(cache, Y, P):
            A0, _, A1, A2, A3 = cache.values()
            dA3 = (A3 - Y) / len(Y)
            dA2 = dA3 @ P["W3"].T
            dA1 = (dA2 * (1 - A2**2)) @ P["W2"].T
            dZ1 = dA1 * (1 - A2**2)  # wrong
            dW1, dW2, dW3 = A0.T @ dZ1, A1.T @ (dA2 * (1 - A2**2)), A2.T @ dA3
            return {"dA3": dA3, "dA2": dA2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "dW2": dW2, "dW3": dW3}

    Right
    -----
        dZ1 = dA1 * (1 - A1**2)

    How it shows
    ------------
    The formula has the right form, and gives your numbers when the same kind of value of another layer is put in.
    The shapes fit because both layers have 7 units.

    Why it is wrong
    ---------------
    Each step uses the values of its own layer: `A1 = tanh(Z1)`, so `dZ1 = dA1 ⊙ (1 − A1²)`.

    Notes
    -----
    In a loop this is an index that is off by one: `A[l + 1]` for `A[l]`.
    """

    code = "wrong-layer"
    paired = True


class UpdatedWeights(Cause):
    """The weights are those after the update, not those of the forward pass.

    Wrong
    -----
        def backward(cache, Y, P):
            m, W2 = len(Y), P["W2"]
            dZ2 = cache["Z2"] - Y
            dW2 = cache["A1"].T @ dZ2 / m
            db2 = dZ2.sum(axis=0) / m
            dA1 = dZ2 @ (W2 - 0.1 * dW2).T  # wrong
            dZ1 = dA1 * (1 - cache["A1"] ** 2)
            dW1 = cache["A0"].T @ dZ1 / m
            db1 = dZ1.sum(axis=0) / m
            return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}

    Right
    -----
        dA1 = dZ2 @ W2.T

    How it shows
    ------------
    The error is small, and proportional to the learning rate. Training works nearly as well, so nothing else shows
    it.

    Why it is wrong
    ---------------
    The gradient belongs to the weights that the forward pass used: `dA1 = dZ2 W2ᵀ` with that W2. First all
    gradients, then all updates.

    Notes
    -----
    It is usually written as a loop over the layers that updates `W[l]` and then continues with layer l − 1
    and the new weights.
    """

    code = "updated-weights"
    spreads = True


def misplaced(other: str, right: str) -> str:
    """Return the cause for a value in place of another of the same kind; "" for any other value."""
    return WrongLayer.code if siblings(other, right) else ""
