"""The table that a person reads, and its last line."""

from collections.abc import Sequence

from parity.cases import Outcome

_ROW = "{:<16} {:<28} {:<6} {:<9} {:>12} {:>10}  {}"
HEADER = _ROW.format("case", "worst array", "path", "precision", "worst error", "tolerance", "result")


def row(outcome: Outcome) -> str:
    """One line; why a run failed follows its result."""
    if outcome.reason:
        result = f"FAIL: {outcome.reason}"
    elif outcome.tolerance is None:
        result = "not applicable"
    else:
        result = "pass" if outcome.passed else "FAIL"
    return _ROW.format(
        outcome.case,
        outcome.where or "-",
        outcome.path,
        outcome.precision,
        "-" if outcome.worst is None else f"{outcome.worst:.2e}",
        "-" if outcome.tolerance is None else f"{outcome.tolerance:.0e}",
        result,
    )


def summary(outcomes: Sequence[Outcome]) -> str:
    """How it went, in one line."""
    cases = list(dict.fromkeys(outcome.case for outcome in outcomes))
    compared = [outcome for outcome in outcomes if outcome.tolerance is not None or outcome.reason]
    failed = [outcome for outcome in outcomes if not outcome.passed]
    names = list(dict.fromkeys(outcome.case for outcome in failed))
    if not failed:
        return f"Parity: {len(cases)} cases, {len(compared)} comparisons, all within tolerance."
    return f"Parity: {len(failed)} of {len(compared)} comparisons failed, in {', '.join(names)}."
