"""Mapping of numbers: from a scene and a model of them to a raster of values and one of their uncertainty."""

from typing import Any

from skysense.inference.run import make_map
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe


def predict_values(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Map the number that a model was trained on, over a scene or a part of it.

    The map is float32 in the units of the field, NaN where nothing was seen; its band and its metadata item `SKYSENSE_FIELD` name
    the field. Each pixel shows the mean over its 5 x 5 pixels, as in a map of classes. Where the model knows it,
    `<map>_uncertainty.tif` beside it is the half width of an interval that held the number of 9 in 10 polygons held out.

    Returns:
        {"map", "uncertainty" (or None), "run", "field", "range" (smallest, mean and largest number of the labels),
        "dates" (`Session.dates`), "seconds"}.

    Raises:
        InputError: the scene does not fit the model, or cannot be used; StorageError: the map cannot be written;
        Cancelled: the finished chunks stay for the next run.
    """
    made = make_map(recipe, control)
    paths = {layer.name: str(layer.path) for layer in made.layers}
    header = made.session.model.header
    return {
        "map": paths["value"],
        "uncertainty": paths.get("spread"),
        "run": str(made.log),
        "field": str(header["field"]),
        "range": header["report"]["range"],
        "dates": made.session.dates,
        "seconds": made.seconds,
    }
