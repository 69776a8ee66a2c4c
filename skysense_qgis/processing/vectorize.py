"""`skysense:vectorize`: a class map as polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterNumber,
    QgsProcessingParameterVectorDestination,
)

from ..results.style import classes_of_file
from .map_algorithm import MapAlgorithm
from .styling import style_when_loaded

SIMPLIFY, MIN_AREA, OUTPUT, COUNT = "SIMPLIFY", "MIN_AREA", "OUTPUT", "COUNT"

_HELP = """Turns a class map into polygons, one for each connected area of a class, with the fields class_id, class and m2.

Least area: what is smaller on the ground joins its largest neighbour first, so that no holes appear. An area that touches no other \
class is kept, however small.

Tolerance: smooths the steps of the pixels, up to this size in metres. Twice the pixel size is a good start. Neighbours keep their common \
border: no gaps, no overlaps.

What is not mapped has no polygon. m2 is the area of the polygon's pixels on the ground (WGS 84 ellipsoid), whatever the map's CRS, \
and as it was before smoothing. Memory grows with the number of areas: a noisy map of millions takes gigabytes."""


class VectorizeAlgorithm(MapAlgorithm):
    """Turns a map into polygons."""

    def name(self) -> str:
        return "vectorize"

    def displayName(self) -> str:
        return "Map to polygons"

    def shortDescription(self) -> str:
        return "Turns a class map into polygons with class and area, whose borders fit together."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["vector", "polygonize", "vectorise", "sieve", "simplify", "smooth", "topology", "land cover"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_map()
        double = QgsProcessingParameterNumber.Double
        self.addParameter(
            QgsProcessingParameterNumber(MIN_AREA, "Least area in m²", double, defaultValue=0, minValue=0)
        )
        self.addParameter(
            QgsProcessingParameterNumber(
                SIMPLIFY, "Tolerance of the outlines in metres", double, defaultValue=0, minValue=0
            )
        )
        self.addParameter(
            QgsProcessingParameterVectorDestination(
                OUTPUT, "Polygons (GeoPackage)", QgsProcessing.TypeVectorPolygon
            )
        )
        self.addOutput(QgsProcessingOutputNumber(COUNT, "Number of polygons"))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        if Path(output).suffix.lower() != ".gpkg":
            raise QgsProcessingException(
                "The polygons are a GeoPackage; choose a file name that ends in .gpkg."
            )
        params = {
            "out": str(Path(output).absolute()),
            "simplify_m": self.parameterAsDouble(parameters, SIMPLIFY, context),
            "min_m2": self.parameterAsDouble(parameters, MIN_AREA, context),
        }
        result = self.ask("vectorize", params, feedback)
        for item in result["classes"]:
            feedback.pushInfo(f"  {item['name']}: {item['polygons']:,} polygons, {item['m2'] / 1e4:,.2f} ha")
        if context.willLoadLayerOnCompletion(output):
            style_when_loaded(context, output, "polygons", classes=classes_of_file(self.map))
        return {OUTPUT: output, COUNT: result["count"]}
