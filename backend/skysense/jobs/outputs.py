"""A result never takes the place of what it is made from."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from skysense.errors import InputError, SkySenseError
from skysense.jobs.recipe import Recipe


def check_output(recipe: Recipe) -> None:
    """Raises InputError where a recipe's output is one of the files that it reads.

    A trained model may be trained further in its place, if it holds no backbone: that would be gone.
    """
    for name, path in _inputs(recipe):
        with suppress(OSError):  # one of them is not there: that is told where it is read
            if recipe.output.samefile(path):
                raise InputError(
                    f"is also {name} of this job, which would be lost",
                    recipe.output.name,
                    "Choose another name for the result",
                )


def _inputs(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    """Files that a recipe reads, and what they are to it; what is wrong with them is told elsewhere."""
    labels, options = recipe.labels or {}, recipe.options
    named = {
        "the labels": labels.get("path"),
        "the areas": labels.get("areas"),
        "the area to map": options.within,
        "the layer of polygons": options.polygons,
    }
    for name, path in named.items():
        if path:
            yield name, Path(path)
    if recipe.model is not None and not (recipe.task == "finetune" and _is_head_only(recipe.model)):
        yield "the model", recipe.model
    if recipe.scene is None:
        return
    path, scene = _scene(recipe)
    if path is not None:
        yield "the scene file", path
    for name, key, rows in (
        ("an image", "path", scene.get("acquisitions")),
        ("the mask of an image", "mask", scene.get("acquisitions")),
        ("the labels", "path", [scene.get("labels")]),
    ):
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and isinstance(row.get(key), str) and row[key]:
                yield name, Path(row[key])


def _scene(recipe: Recipe) -> tuple[Path | None, dict[str, Any]]:
    """The scene's file, and its JSON with absolute paths; {} where it cannot be read. No image is opened."""
    from skysense.scene.scenefile import with_absolute_paths

    if isinstance(recipe.scene, dict):
        return None, recipe.scene
    path = Path(str(recipe.scene))
    path = path / "scene.json" if path.is_dir() else path
    with suppress(OSError, ValueError, SkySenseError):
        data = json.loads(path.read_bytes())
        if isinstance(data, dict):
            return path, with_absolute_paths(data, path.parent.absolute())
    return path, {}


def _is_head_only(model: Path) -> bool:
    """Whether a file is a trained model whose backbone lies in a file of its own."""
    from skysense.model.modelfile import read_header

    with suppress(SkySenseError):
        header = read_header(model)
        return header.get("kind") != "backbone" and not header.get("backbone", {}).get("embedded")
    return False
