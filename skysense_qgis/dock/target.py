"""The recipe's targets in words: what labels teach, and what mapping with such a model makes, said on the button and asked for beside it."""

from __future__ import annotations

from dataclasses import dataclass

ALL, VIEW, INSIDE, EACH = "all of the imagery", "what I see", "inside of polygons", "each polygon of"


@dataclass(frozen=True)
class Target:
    """One of the recipe's targets.

    Attributes:
        taught: what its labels teach; "" = nothing can be trained for it.
        button: what Map does with such a model; tip: the same in a sentence.
        row: what the choice of places is called, and places: what it offers.
        output: name of the result's file.
    """

    taught: str
    button: str
    tip: str
    row: str = "Map"
    places: tuple[str, ...] = (ALL, VIEW, INSIDE)
    output: str = "map.tif"


#: By the name that a model file gives; "" = no model, or one that does not tell.
TARGETS = {
    "": Target("", "Map", "Map with the model"),
    "classes": Target("The class of every pixel", "Map classes", "Give every pixel its class"),
    "values": Target(
        "A number for every pixel (height, yield …)",
        "Map numbers",
        "Give every pixel a number, as in the field that the model was trained on",
    ),
    "polygons": Target(
        "The class of whole polygons (parcels …)",
        "Classify polygons",
        "Give each polygon of the layer its class",
        "Polygons",
        (EACH,),
        "classified.gpkg",
    ),
    "changes": Target(
        "What changed between two periods",
        "Map changes",
        "Tell of every pixel what changed between two periods",
    ),
    "objects": Target(
        "Where objects are (buildings, trees, cars …)",
        "Find objects",
        "Find the objects that the model was trained on",
        "Find in",
        (ALL, VIEW),
        "objects.gpkg",
    ),
}
