"""What `skysense info` tells of a preset or a model file."""

from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from skysense.model.modelfile import load_model, read_header
from skysense.model.presets import PRESETS
from skysense.scene.sensors import SENSORS


def describe_model(name: str) -> dict[str, Any]:
    """Size and cost of a preset or of "all" four, the header of a model file, or what a backbone file is.

    Raises:
        InputError: the file is no SkySense model.
    """
    if name in PRESETS or name == "all":
        from skysense.model.budget import summary

        wanted = PRESETS if name == "all" else [name]
        described = [{"preset": preset, **summary(PRESETS[preset])} for preset in wanted]
        return {"presets": described} if name == "all" else described[0]
    header = read_header(Path(name))
    if header.get("kind") == "backbone":
        return _describe_backbone(Path(name), header)
    file = load_model(Path(name))
    return {"file": name, "sha256": file.sha256, **file.header}


def _describe_backbone(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    """A backbone file's header, its size and its number of values; the values themselves are not read."""
    backbone = header["backbone"]
    values: dict[str, int] = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            tensor = file.get_slice(name)
            values[tensor.get_dtype()] = values.get(tensor.get_dtype(), 0) + prod(tensor.get_shape())
    return {
        "file": str(path),
        "kind": "backbone",
        "preset": backbone["preset"],
        "weights": backbone["weights"],
        "sha256": backbone["sha256"],
        "parameters": sum(values.values()),
        "types": values,
        "bytes": path.stat().st_size,
        "bands": {m: list(backbone["config"].get(f"{m}_bands", SENSORS[m].bands)) for m in SENSORS},
        "untrained": [f"{item['title']} ({item['meaning']})" for item in backbone["left_initial"]],
        "licence": header["licence"]["terms"],
        "source": header["source"],
        "config": backbone["config"],
    }
