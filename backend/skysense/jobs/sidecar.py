"""What is written beside a result: the recipe that made it."""

import json
from pathlib import Path
from typing import Any

from skysense.aside import write_aside
from skysense.jobs.recipe import Recipe


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON aside and rename it.

    Raises:
        StorageError: it cannot be written.
    """
    write_aside(path, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


def write_recipe(recipe: Recipe) -> Path:
    """Write `<output>.recipe.json` beside the output; paths stay as the recipe has them."""
    path = recipe.output.with_name(recipe.output.name + ".recipe.json")
    write_json(path, recipe.to_json())
    return path
