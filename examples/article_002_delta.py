"""The error signal δ in matrix form: any cost function C, any activation σ, column vectors.

The article's notation: x and h_l are columns (N_l, 1), W_l has N_l × N_{l-1} entries, z_l = W_l h_{l-1}, h_l = σ(z_l),
y is the last h, and the cost is C(y). ⊗ is the outer product, ⊙ the elementwise product; δ is ∂C/∂h_l (in other texts
it is ∂C/∂z_l, which is δ ⊙ σ'(z_l) here).

Four steps, each compared with chainrule to 1e-12: a chain of single neurons, the two explicit formulas, the algorithm
for any depth, and the reason for using it: the cost of nudging every weight instead.

Two lines of the article are corrected:
  - its loop updates W_l first and *then* propagates δ through W_l. Its formulas above the loop use W_l before the
    update, as the gradient does. `descend` follows the formulas; `descend_as_printed` shows the difference.
  - gradient descent by components is printed as w ← w + dC/dw, without the sign and η of the line above it.
"""

from itertools import pairwise

import numpy as np

import chainrule as cr

# -- by hand, as in the article ----------------------------------------------------------------------------------------


def logistic(z):
    return 1 / (1 + np.exp(-z))


# σ and its derivative dσ/dz, as a function of z
ACTIVATIONS = {
    "sigmoid": (logistic, lambda z: logistic(z) * (1 - logistic(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (lambda z: np.log1p(np.exp(z)), logistic),
}

# C and its gradient ∇C, as functions of y and of the target t
COSTS = {
    "half squared error": (lambda y, t: np.sum((y - t) ** 2) / 2, lambda y, t: y - t),
    "log cosh": (lambda y, t: np.sum(np.log(np.cosh(y - t))), lambda y, t: np.tanh(y - t)),
    "Poisson": (lambda y, t: np.sum(np.exp(y) - t * y), lambda y, t: np.exp(y) - t),
}


def outer(x, y):
    """x ⊗ y of two columns: [x ⊗ y]_ij = x_i y_j."""
    return x @ y.T


def feedforward(W, x, σ):
    """Return the lists h (starting with x) and z (starting with None, so that z[l] belongs to W[l - 1])."""
    h, z = [x], [None]
    for W_l in W:
        z.append(W_l @ h[-1])
        h.append(σ(z[-1]))
    return h, z


def two_layers(W1, W2, x, σ, dσ, grad_C):
    """The two explicit formulas."""
    z1 = W1 @ x
    h1 = σ(z1)
    z2 = W2 @ h1
    y = σ(z2)
    dC_dW1 = outer((W2.T @ (grad_C(y) * dσ(z2))) * dσ(z1), x)
    dC_dW2 = outer(grad_C(y) * dσ(z2), h1)
    return dC_dW1, dC_dW2


def descend(W, x, σ, dσ, grad_C, η):
    """One step of the article's algorithm. Return the updated weights and the gradients."""
    h, z = feedforward(W, x, σ)
    after, gradients = list(W), [None] * len(W)
    δ = grad_C(h[-1])
    for l in range(len(W), 0, -1):
        gradients[l - 1] = outer(δ * dσ(z[l]), h[l - 1])
        after[l - 1] = W[l - 1] - η * gradients[l - 1]
        δ = W[l - 1].T @ (δ * dσ(z[l]))  # W[l - 1] is the matrix before the update
    return after, gradients


def descend_as_printed(W, x, σ, dσ, grad_C, η):
    """The same with the loop as printed in the article: δ is propagated through the updated W_l."""
    h, z = feedforward(W, x, σ)
    after = list(W)
    δ = grad_C(h[-1])
    for l in range(len(W), 0, -1):
        after[l - 1] = after[l - 1] - η * outer(δ * dσ(z[l]), h[l - 1])
        δ = after[l - 1].T @ (δ * dσ(z[l]))
    return after


# -- with the library --------------------------------------------------------------------------------------------------


def cost_of(W, x, σ, C):
    """The forward pass only, without σ' and ∇C."""
    h, _ = feedforward(W, x, σ)
    return C(h[-1])


# -- do they agree? ----------------------------------------------------------------------------------------------------


def largest_difference(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert np.shape(a) == np.shape(b)
    return max(float(np.max(np.abs(a - b))) for a, b in zip(ours, theirs, strict=True))


def why_backwards():
    """y = σ(w2 σ(w1 x)): both derivatives contain dσ/dz at z2, which is computed once."""
    σ, dσ = ACTIVATIONS["sigmoid"]
    w1, w2, x = 0.7, -1.3, 0.4
    z1 = w1 * x
    h1 = σ(z1)
    z2 = w2 * h1
    shared = dσ(z2)
    by_hand = (shared * w2 * dσ(z1) * x, shared * h1)
    derived = cr.grad(lambda w1, w2: σ(w2 * σ(w1 * x)), argnums=(0, 1))(w1, w2)
    difference = largest_difference(by_hand, derived)
    print(f"one neuron a layer: dy/dw1 = {by_hand[0]:+.8f}, dy/dw2 = {by_hand[1]:+.8f}, difference {difference:.1e}")
    assert difference <= 1e-12


def matrix_form(rng):
    print("\ntwo layers, 5 -> 4 -> 3, the explicit formulas; largest difference from the library")
    x, t = rng.normal(size=(5, 1)), rng.uniform(size=(3, 1))
    W1, W2 = rng.normal(size=(4, 5)) / 2, rng.normal(size=(3, 4)) / 2
    for cost, (C, grad_C) in COSTS.items():
        for activation, (σ, dσ) in ACTIVATIONS.items():
            by_hand = two_layers(W1, W2, x, σ, dσ, lambda y, grad_C=grad_C: grad_C(y, t))
            derived = cr.grad(cost_of)([W1, W2], x, σ, lambda y, C=C: C(y, t))
            difference = largest_difference(by_hand, derived)
            print(f"  {cost:20} {activation:10} {difference:.1e}")
            assert difference <= 1e-12


def algorithm(rng):
    sizes = (6, 5, 4, 4, 2)
    W = [rng.normal(size=(n, m)) / np.sqrt(m) for m, n in pairwise(sizes)]
    x, t = rng.normal(size=(6, 1)), rng.normal(size=(2, 1))
    σ, dσ = ACTIVATIONS["tanh"]
    C, grad_C = COSTS["half squared error"]

    derived = cr.grad(cost_of)(W, x, σ, lambda y: C(y, t))
    print(f"\nthe algorithm, layers {' -> '.join(map(str, sizes))}")
    for η in (0.5, 0.05):
        after, gradients = descend(W, x, σ, dσ, lambda y: grad_C(y, t), η)
        expected = [w - η * g for w, g in zip(W, derived, strict=True)]
        difference = max(largest_difference(gradients, derived), largest_difference(after, expected))
        assert difference <= 1e-12
        printed = descend_as_printed(W, x, σ, dσ, lambda y: grad_C(y, t), η)
        off = [np.linalg.norm(a - b) / np.linalg.norm(b - w) for a, b, w in zip(printed, expected, W, strict=True)]
        print(f"  η = {η}: difference from the library {difference:.1e}; with the loop as printed the steps of")
        print("    " + ", ".join(f"W{l} are {share:.1%} off" for l, share in enumerate(off, 1)))
        assert off[-1] <= 1e-12  # the last layer is updated with the correct δ
        assert min(off[:-1]) > 1e-4  # all others are not


def price_of_nudging(rng):
    """Why backpropagation: finite differences need a forward pass per weight, backpropagation about two for all."""
    sizes = (8, 6, 3)
    W = [rng.normal(size=(n, m)) / np.sqrt(m) for m, n in pairwise(sizes)]
    x, t = rng.normal(size=(8, 1)), rng.normal(size=(3, 1))
    σ, dσ = ACTIVATIONS["tanh"]
    C, grad_C = COSTS["half squared error"]

    passes = 0

    def cost(W):
        nonlocal passes
        passes += 1
        return cost_of(W, x, σ, lambda y: C(y, t))

    h = 1e-6
    unmoved = cost(W)
    nudged = [np.zeros_like(W_l) for W_l in W]
    for l, W_l in enumerate(W):
        for place in np.ndindex(W_l.shape):
            moved = [w.copy() for w in W]
            moved[l][place] += h
            nudged[l][place] = (cost(moved) - unmoved) / h
    _, gradients = descend(W, x, σ, dσ, lambda y: grad_C(y, t), 0.0)
    weights = sum(W_l.size for W_l in W)
    assert passes == weights + 1
    print(f"\nnudging each of {weights} weights: {passes} forward passes for an approximation of the gradient;")
    print(f"  largest error {largest_difference(nudged, gradients):.0e}")
    assert largest_difference(nudged, gradients) < 1e-4

    print("  multiplications     nudging every weight      backpropagation")
    for sizes in ((8, 6, 3), (64, 32, 10), (784, 128, 10)):
        pairs = list(pairwise(sizes))
        forward = sum(m * n for m, n in pairs)  # W h; the number of weights, too
        backward = forward + sum(m * n for m, n in pairs[1:])  # the outer products, and Wᵀδ except for the first layer
        shape = "-".join(map(str, sizes))
        print(f"  {shape:14} {(forward + 1) * forward:25,} {forward + backward:20,}")


def main():
    rng = np.random.default_rng(2)
    why_backwards()
    matrix_form(rng)
    algorithm(rng)
    price_of_nudging(rng)


if __name__ == "__main__":
    main()
