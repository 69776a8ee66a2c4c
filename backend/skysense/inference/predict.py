"""Mapping: from a scene and a model of classes to a class map and a confidence map, in constant memory."""

from typing import Any

from skysense.inference.run import make_map
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe


def predict(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Map a scene (or `options.area` of it, or what lies within polygons) and write the map, its confidence, the products that
    are asked for (see `recipe.PRODUCTS`), the recipe and the run's log.

    Returns:
        {"map", "confidence", "run", "classes", "dates" (`Session.dates`), "seconds"} and each product's file by its name.

    Raises:
        InputError: the scene does not fit the model, or cannot be used; StorageError: the map cannot be written;
        Cancelled: the finished chunks stay for the next run.
    """
    made = make_map(recipe, control)
    names = {"class": "map", "conf": "confidence", "prob": "probabilities"}
    return {
        **{names.get(layer.name, layer.name): str(layer.path) for layer in reversed(made.layers)},
        "run": str(made.log),
        "classes": made.session.model.header["classes"],
        "dates": made.session.dates,
        "seconds": made.seconds,
    }
