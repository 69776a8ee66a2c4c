"""What `skysense info` tells of a preset or a model file."""

from pathlib import Path
from typing import Any

from skysense.model.modelfile import load_model
from skysense.model.presets import PRESETS


def describe_model(name: str) -> dict[str, Any]:
    """Size and cost of a preset, or the header of a model file.

    Raises:
        InputError: the file is no SkySense model.
    """
    if name in PRESETS:
        from skysense.model.budget import summary

        return {"preset": name, **summary(PRESETS[name])}
    file = load_model(Path(name))
    return {"file": name, "sha256": file.sha256, **file.header}
