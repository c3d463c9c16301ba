"""The known mistakes of optimisers, a row for each: its cause, a sentence, and the changes of a form that make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .mistakes.moments import (
    BiasCorrectionMultiplied,
    MissingBiasCorrection,
    MissingRoot,
    MissingSign,
    MomentReset,
    NeverDecays,
    OverwrittenMoment,
    SharedMoment,
    SharedStepCount,
    SquaredMissing,
    StaleMoment,
    WrongStepCount,
)
from .mistakes.rules import DecayCoupled, MissingLookahead, WrongBeta, WrongDecay
from .mistakes.table import Cause
from .update_forms import Form

Changes = Callable[[Form], Iterator[Form]]


@dataclass(frozen=True)
class UpdateMistake:
    """A row of the table: `changes` yields the form with the mistake in it, nothing where there is no place for it."""

    cause: type[Cause]
    sentence: str
    changes: Changes


def _count(how: str) -> Changes:
    def changes(form: Form) -> Iterator[Form]:
        if form.correct1 or form.correct2:
            yield form.but(count=how)

    return changes


def _of_each_correction(change: Callable[[Form, str], Form]) -> Changes:
    """Change both corrections, then one of them."""

    def changes(form: Form) -> Iterator[Form]:
        present = [n for n in "12" if getattr(form, f"correct{n}")]
        if len(present) == 2:
            yield change(change(form, "1"), "2")
        for n in present:
            yield change(form, n)

    return changes


def _never_decays(form: Form, n: str) -> Form:
    feed = getattr(form, f"feed{n}") / (1 - getattr(form, f"base{n}"))
    return form.but(**{f"correct{n}": "", f"feed{n}": feed})


def _overwritten(form: Form) -> Iterator[Form]:
    for which in ("12", "1", "2"):
        if all(getattr(form, f"correct{n}") for n in which):
            yield form.but(overwritten=which)


def _exchanged_corrections(form: Form) -> Iterator[Form]:
    if form.correct1 and form.correct2:
        yield form.but(base1=form.base2, base2=form.base1)


def _not_squared(form: Form) -> Iterator[Form]:
    if form.keep2 is not None:
        yield form.but(fed2="g")
        yield form.but(fed2="|g|")


def _moment_squared(form: Form) -> Iterator[Form]:
    if form.keep2 is not None and form.keep1:
        yield form.but(fed2="a²")


def _without_root(form: Form) -> Iterator[Form]:
    if form.keep2 is not None:
        yield form.but(root=False)


def _correction_without_root(form: Form) -> Iterator[Form]:
    if form.correct2:
        yield form.but(root_of_correction=False)


def _without_sign(form: Form) -> Iterator[Form]:
    if form.mix is not None:
        yield form.but(sign=False)


def _stale(form: Form) -> Iterator[Form]:
    if form.mix is not None:
        yield form.but(mix=1.0)
        return
    if form.keep1 and not form.look:
        yield form.but(stale1=True)
    if form.keep2 is not None:
        yield form.but(stale2=True)
        if form.keep1:
            yield form.but(stale1=True, stale2=True)


def _reset(form: Form) -> Iterator[Form]:
    if form.mix is not None:
        yield form.but(mix=0.0)
    first, second = bool(form.keep1), form.keep2 is not None and not form.start
    if first:
        yield form.but(keep1=0.0)
        yield form.but(keep1=0.0, look=0.0, feed1=1.0)
    if second:
        yield form.but(keep2=0.0)
    if first and second:
        yield form.but(keep1=0.0, keep2=0.0)
        yield form.but(keep1=0.0, keep2=0.0, count="1")


def _shared(form: Form) -> Iterator[Form]:
    if form.keep1 or form.keep2 is not None:
        yield form.but(shared=True)
        if form.correct1 or form.correct2:
            yield form.but(shared=True, count="shared")


def _wrong_beta(form: Form) -> Iterator[Form]:
    if form.mix is not None:  # the two exchanged; both times one of them; the gradient's weight for that of the past
        yield form.but(mix=form.keep1, keep1=form.mix, feed1=1 - form.mix)
        yield form.but(mix=form.keep1)
        yield form.but(keep1=form.mix, feed1=1 - form.mix)
        yield form.but(mix=1 - form.mix)
    if form.keep1 and form.keep2 is not None:  # the two betas exchanged
        yield form.but(
            keep1=form.keep2, feed1=1 - form.keep2, keep2=form.keep1, feed2=1 - form.keep1,
            base1=form.base2, base2=form.base1,
        )  # fmt: skip
        yield form.but(keep1=form.keep2, feed1=1 - form.keep2)
        yield form.but(keep2=form.keep1, feed2=1 - form.keep1)
        yield form.but(feed1=1 - form.keep2)
        yield form.but(feed2=1 - form.keep1)
    for n in "12":
        keep = getattr(form, f"keep{n}")
        if keep and keep != 1:
            yield form.but(**{f"keep{n}": 1 - keep, f"feed{n}": keep})
            yield form.but(**{f"keep{n}": 1 - keep})
            yield form.but(**{f"keep{n}": 1 - keep, f"feed{n}": 1.0})
            yield form.but(**{f"feed{n}": keep})
            yield form.but(**{f"keep{n}": -keep})
            yield form.but(**{f"keep{n}": keep**2})


def _unweighted(form: Form) -> Iterator[Form]:
    for n in "12":
        keep, feed = getattr(form, f"keep{n}"), getattr(form, f"feed{n}")
        if keep and keep != 1 and feed != 1:
            yield form.but(**{f"feed{n}": 1.0})
            yield form.but(**{f"keep{n}": 1.0})
            if form.keep1:  # else it is another rule
                yield form.but(**{f"keep{n}": 1.0, f"feed{n}": 1.0})


def _look_unweighted(form: Form) -> Iterator[Form]:
    if form.look:
        yield form.but(keep1=form.keep1, look=form.look * form.keep1)
        yield form.but(look=form.look / form.keep1)


def _no_look(form: Form) -> Iterator[Form]:
    if form.look:
        yield form.but(look=0.0)


def _coupled(form: Form) -> Iterator[Form]:
    if form.decay in ("decoupled", "after", "without lr"):
        yield form.but(decay="coupled")


def _other_decay(form: Form) -> Iterator[Form]:
    if form.decay:
        rate = form.weight_decay
        yield form.but(decay="")
        yield form.but(weight_decay=-rate)
        yield form.but(weight_decay=2 * rate)
        yield form.but(weight_decay=rate / 2)
        if form.decay == "coupled":
            yield form.but(decay="decoupled")
            yield form.but(decay="without lr")


#: Of several that fit, the first is named first.
UPDATE_MISTAKES = (
    UpdateMistake(NeverDecays, "the bias is corrected as in the first step, for ever", _count("1")),
    UpdateMistake(NeverDecays, "the correction divides by 1 − β, not by 1 − βᵗ", _of_each_correction(_never_decays)),
    UpdateMistake(
        BiasCorrectionMultiplied,
        "it is multiplied by 1 − βᵗ where it should be divided",
        _of_each_correction(lambda form, n: form.but(**{f"correct{n}": "×"})),
    ),
    UpdateMistake(
        MissingBiasCorrection,
        "the bias of the start is not corrected",
        _of_each_correction(lambda form, n: form.but(**{f"correct{n}": ""})),
    ),
    UpdateMistake(OverwrittenMoment, "the corrected moments are kept, and corrected again", _overwritten),
    UpdateMistake(
        SharedStepCount, "the step count is increased once per parameter, not once per step", _count("shared")
    ),
    UpdateMistake(WrongStepCount, "the step count is one too small: it starts at 0", _count("t-1")),
    UpdateMistake(WrongStepCount, "the step count is one too large", _count("t+1")),
    UpdateMistake(SquaredMissing, "the second moment averages gradients, not their squares", _not_squared),
    UpdateMistake(
        SquaredMissing, "the second moment averages the squares of the first, not of the gradient", _moment_squared
    ),
    UpdateMistake(MissingRoot, "it divides by the mean square, not by its root", _without_root),
    UpdateMistake(MissingRoot, "the root is taken of v, but not of its correction", _correction_without_root),
    UpdateMistake(MissingSign, "the step has the size of the momentum: its sign is not taken", _without_sign),
    UpdateMistake(StaleMoment, "it uses a moment as it was before this gradient", _stale),
    UpdateMistake(MissingLookahead, "it is plain momentum, without the look ahead", _no_look),
    UpdateMistake(MomentReset, "a moment does not carry over from step to step", _reset),
    UpdateMistake(SharedMoment, "all parameters share one moment", _shared),
    UpdateMistake(WrongBeta, "the powers in the two corrections are exchanged", _exchanged_corrections),
    UpdateMistake(WrongBeta, "a moment decays with another number, or weights the gradient with another", _wrong_beta),
    UpdateMistake(
        WrongBeta, "the past or the gradient enters a moment with weight 1, not with β or 1 − β", _unweighted
    ),
    UpdateMistake(WrongBeta, "the look ahead has another weight than the velocity", _look_unweighted),
    UpdateMistake(DecayCoupled, "the weight decay is added to the gradient and goes through the moments", _coupled),
    UpdateMistake(WrongDecay, "the weight decay is missing, or has another sign, size or place", _other_decay),
)
