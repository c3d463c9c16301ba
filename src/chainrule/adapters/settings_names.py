"""What hyperparameters of optimisers are called in people's programs."""

from __future__ import annotations

from collections.abc import Mapping

#: Name of an argument or attribute -> the setting that it is, or may be.
SETTINGS: dict[str, str] = {
    **dict.fromkeys(
        "lr learning_rate learningRate l_rate rate eta step_size stepsize learningrate lr_rate".split(), "lr"
    ),
    **dict.fromkeys("beta1 beta_1 b1 beta_one betas1".split(), "beta1"),
    **dict.fromkeys("beta2 beta_2 b2 beta_two betas2".split(), "beta2"),
    **dict.fromkeys("eps epsilon EPS fuzz".split(), "eps"),
    **dict.fromkeys("momentum mu moment".split(), "momentum"),
    **dict.fromkeys("weight_decay wd weight_decay_rate lambda_ lambd lam l2 l2_reg".split(), "weight_decay"),
    **dict.fromkeys("alpha beta gamma rho decay_rate decay".split(), ""),  # several rules, several meanings
}
COUNTERS = set("t step it iteration iterations iter epoch n_iter num_iter timestep time_step i k n counter".split())


def setting_of(name: str, settings: Mapping[str, float]) -> float | None:
    """Return the value for an argument, from settings by their own names or by another."""
    if name in settings:
        return settings[name]
    known = SETTINGS.get(name)
    if known:
        return settings.get(known)
    if known is None:
        return None
    if name == "alpha":  # Adam's rate, or RMSprop's decay
        return settings.get("alpha", settings.get("lr"))
    return settings.get("alpha", settings.get("momentum"))
