"""What the names of arrays say."""

from collections.abc import Iterable, Sequence

from parity.compare import Comparison
from parity.fixture import Case, FixtureError


def input_suffixes(names: Iterable[str]) -> list[str]:
    """Of every input `in…` what follows: "" or, for one of several, "_{H}x{W}"."""
    return [name.removeprefix("in") for name in names if name == "in" or name.startswith("in_")]


def image_inputs(case: Case, comparison: Comparison) -> list[str]:
    """Suffixes of the inputs, after a check that each shape of the index has one, or is only marked as refused."""
    suffixes = input_suffixes(comparison.names)
    for height, width in case.entry.get("shapes", ()):
        refused = any(name.startswith(f"raises_{height}x{width}_") for name in comparison.names)
        if f"_{height}x{width}" not in suffixes and not refused:
            raise FixtureError(f"the array in_{height}x{width} is missing")
    return suffixes


def output_numbers(comparison: Comparison, stem: str, out_indices: Sequence[int]) -> list[int]:
    """Numbers that several outputs are stored under: `stem` + their place, or + the layer they come from.

    Args:
        out_indices: the layers, ascending, none negative.
    """
    places = list(range(len(out_indices)))
    stored = {name.removeprefix(stem) for name in comparison.names if name.startswith(stem)}
    by_layer = stored == {str(i) for i in out_indices}
    return list(out_indices) if by_layer else places
