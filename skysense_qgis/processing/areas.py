"""`skysense:areas`: the area of each class of a map, on the ground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFileDestination,
)

from .map_algorithm import MapAlgorithm

OUTPUT, HECTARES = "OUTPUT", "HECTARES"

_HELP = """Measures the classes of a map: pixels, m², hectares and share of each.

Areas are those on the ground (WGS 84 ellipsoid), whatever the map's CRS: degrees and Web Mercator are measured as \
rightly as UTM. Any raster of whole numbers from 1 to 255 will do; 0 and the nodata value are "not mapped".

These are the areas that the map shows. Where it confuses classes they are off: draw a verification sample, fill it in, \
and use "Adjust areas by a verification sample".

The table is a CSV file with the columns class_id, class, pixels, m2, ha, share. HECTARES is the mapped area."""


class AreasAlgorithm(MapAlgorithm):
    """Measures a map."""

    def name(self) -> str:
        return "areas"

    def displayName(self) -> str:
        return "Class areas of a map"

    def shortDescription(self) -> str:
        return "Measures each class of a map in hectares on the ground."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["area", "hectares", "statistics", "class", "land cover", "report", "ellipsoid"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_map()
        self.addParameter(QgsProcessingParameterFileDestination(OUTPUT, "Table of areas", "CSV (*.csv)"))
        self.addOutput(QgsProcessingOutputNumber(HECTARES, "Mapped area in hectares"))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = str(Path(self.parameterAsFileOutput(parameters, OUTPUT, context)).absolute())
        result = self.ask("areas", {"csv": output}, feedback)
        for item in result["classes"]:
            feedback.pushInfo(f"  {item['name']}: {item['ha']:,.2f} ha, {item['share']:.1%}")
        feedback.pushInfo(f"Mapped: {result['ha']:,.2f} ha")
        return {OUTPUT: result["csv"], HECTARES: result["ha"]}
