"""What is written beside a result: the recipe that made it."""

import json
import os
from pathlib import Path
from typing import Any

from skysense.errors import StorageError
from skysense.jobs.recipe import Recipe


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON aside and rename it.

    Raises:
        StorageError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(
            f"cannot be written ({error.strerror})", str(path), "Free some space or choose another folder"
        ) from None


def write_recipe(recipe: Recipe) -> Path:
    """Write `<output>.recipe.json` beside the output; paths stay as the recipe has them."""
    path = recipe.output.with_name(recipe.output.name + ".recipe.json")
    write_json(path, recipe.to_json())
    return path
