"""What a conversion tells: what was loaded, what was left out and why, what stays at its initial value."""

import re
from collections.abc import Iterable
from typing import Any

from skysense.model.checkpoint.assemble import Assembly
from skysense.model.checkpoint.layout import PARTS, LeftOut
from skysense.model.checkpoint.sizes import fewer_layers
from skysense.model.config import VitConfig

_CONSEQUENCES = {
    "backbone_gep": "random, so high-resolution features mean nothing",
    "backbone_s2": "random, so Sentinel-2 features mean nothing",
    "backbone_s1": "random, so Sentinel-1 features mean nothing",
    "head_s2": "random, so fused Sentinel-2 features mean nothing",
    "head_s1": "random, so fused Sentinel-1 features mean nothing",
    "fusion": "random, so fused features mean nothing",
    "ctpe": "zero, so dates do not matter",
}


def report(assembly: Assembly) -> dict[str, Any]:
    """The report as JSON.

    Returns:
        {"preset", "loaded": [{"file", "part", "title", "tensors"}], "left_out": [{"file", "what", "keys", "reason"}],
        "left_initial": [{"part", "title", "tensors", "random", "meaning"}], "notes": [text]}.
    """
    loaded, left_out, notes = [], [], []
    for source in assembly.sources:
        for part in source.held.parts:
            count = sum(name.split(".")[0] == part for name in source.held.keys)
            loaded.append({"file": source.path.name, "part": part, "title": PARTS[part], "tensors": count})
        left_out += [{"file": source.path.name, **group} for group in _grouped(source.held.left_out)]
        if source.held.plus_plus:
            notes.append(
                f"{source.path.name} is of SkySense++: layer norms of its Sentinel encoders use eps 1e-6"
            )
        notes += source.notes
    if short := fewer_layers(assembly.config):
        notes.append(short)
    for part, vit in (("backbone_s2", assembly.config.s2), ("backbone_s1", assembly.config.s1)):
        name = f"{part}.pos_embed"
        if vit.img_size != VitConfig.img_size:
            notes.append(
                f"{name}: made for images of {vit.img_size} pixels a side, resized to that of each image"
            )
        if name in assembly.without_cls:
            notes.append(
                f"{name}: a zero stands for the class token's position, which no encoder here looks at"
            )
    for name in assembly.four_bands:
        own = assembly.config.bands("hr" if name.startswith("backbone_gep.") else "s2")
        how = "NIR begins as red" if "NIR" in own else "four of the ten, times 10/4"
        notes.append(f"{name}: made for {', '.join(own)} ({how})")
    return {
        "preset": assembly.preset,
        "loaded": loaded,
        "left_out": left_out,
        "left_initial": left_initial(assembly.initial),
        "notes": notes,
    }


def left_initial(names: Iterable[str]) -> list[dict[str, Any]]:
    """Tensors that stay at their initial value, by part: {"part", "title", "tensors", "random", "meaning"}."""
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(name.split(".")[0], []).append(name)
    found = []
    for part, held in parts.items():
        norms = {
            match[1] for name in held if (match := re.fullmatch(r"backbone_gep\.(norm[0-2])\.\w+", name))
        }
        if part == "backbone_gep" and len(held) == 2 * len(norms):
            title = f"HR encoder's output norms {', '.join(sorted(norms))}"
            meaning = "weight 1, bias 0: the maps of these stages are normalised only"
        else:
            title, meaning = PARTS[part], _CONSEQUENCES[part]
        random = meaning.startswith("random")
        found.append({"part": part, "title": title, "tensors": held, "random": random, "meaning": meaning})
    return found


def untrained_parts(groups: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """The parts, of a `left_initial` list, whose values are random."""
    return tuple(group["part"] for group in groups if group["random"])


def _grouped(items: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """Keys alike but for their numbers, or of one module outside the model, as one entry."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in items:
        head, dot, _ = item.key.partition(".")
        what = f"{head}.*" if item.outside and dot else re.sub(r"(?<=\.)\d+(?=\.)", "*", item.key)
        groups.setdefault((what, item.reason), []).append(item.key)
    return [{"what": what, "keys": keys, "reason": reason} for (what, reason), keys in groups.items()]
