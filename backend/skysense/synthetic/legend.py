"""The classes of the synthetic landscape, and the words that mark its files as made up."""

from typing import Final

WATER, FOREST, TOWN, CEREAL, MAIZE, GRASS = range(1, 7)

#: Class id to name and colour of the truth map; 0 is "unlabelled".
CLASSES: Final[dict[int, tuple[str, str]]] = {
    WATER: ("water", "#2f7fc1"),
    FOREST: ("forest", "#1f6b3a"),
    TOWN: ("town", "#c4483c"),
    CEREAL: ("winter cereals", "#e8c547"),
    MAIZE: ("maize", "#e08a2e"),
    GRASS: ("grassland", "#8fc46b"),
}

NOTICE: Final = (
    "Synthetic landscape made by SkySense for demonstrations and tests: "
    "no pixel, date or polygon is a measurement."
)
