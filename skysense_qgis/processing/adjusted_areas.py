"""`skysense:adjustedareas`: a map's accuracy and the true areas of its classes, from a filled-in sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFileDestination,
    QgsProcessingUtils,
)

from .finetune import write_labels
from .map_algorithm import MapAlgorithm
from .verification_sample import REFERENCE

SAMPLE, FIELD, OUTPUT, OA, OA_CI95 = "SAMPLE", "FIELD", "OUTPUT", "OA", "OA_CI95"

_HELP = """Tells how good a map is, and how large its classes truly are, with 95 % intervals.

Give the map and the verification sample that was drawn from it, with the field "reference" filled in: the class's name, or its \
id. Points that are still empty are left out; edits that are not saved yet count. Each class of the map needs at least two \
points.

A map's areas are off where it confuses classes; the estimates correct that, and say how sure they are. User's accuracy: how much of \
what is mapped as a class is truly it. Producer's accuracy: how much of a class is mapped as such. Where all points of a class \
agree, its interval is 0, which only tells that the sample found no error.

The table is a CSV file: one row a class, at the end the error matrix (rows: map, columns: reference) as shares of the area and in \
points.

Estimators: Olofsson et al. 2014, Good practices for estimating area and assessing accuracy of land change, Remote Sensing of \
Environment 148, 42-57."""


class AdjustedAreasAlgorithm(MapAlgorithm):
    """Estimates accuracy and area."""

    def name(self) -> str:
        return "adjustedareas"

    def displayName(self) -> str:
        return "Adjust areas by a verification sample"

    def shortDescription(self) -> str:
        return "Estimates a map's accuracy and the true areas of its classes, with 95 % intervals."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return [
            "accuracy",
            "validation",
            "error matrix",
            "confusion",
            "area",
            "confidence interval",
            "olofsson",
        ]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_map()
        self.addParameter(
            QgsProcessingParameterFeatureSource(
                SAMPLE, "Filled-in verification sample", [QgsProcessing.TypeVectorPoint]
            )
        )
        self.addParameter(
            QgsProcessingParameterField(
                FIELD,
                "Field with what is truly there",
                defaultValue=REFERENCE,
                parentLayerParameterName=SAMPLE,
            )
        )
        self.addParameter(QgsProcessingParameterFileDestination(OUTPUT, "Table of estimates", "CSV (*.csv)"))
        self.addOutput(QgsProcessingOutputNumber(OA, "Overall accuracy"))
        self.addOutput(QgsProcessingOutputNumber(OA_CI95, "Half of its 95 % interval"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        if problem:
            return problem
        source = self.parameterAsSource(parameters, SAMPLE, context)
        field = self.parameterAsString(parameters, FIELD, context)
        if source is None:
            return "Choose the filled-in sample; the layer that is given cannot be opened."
        if source.fields().lookupField(field) < 0:
            return f"The sample has no field “{field}”; it has {', '.join(source.fields().names())}."
        return ""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        super().prepareAlgorithm(parameters, context, feedback)
        self.sample = self.parameterAsSource(parameters, SAMPLE, context)
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = str(Path(self.parameterAsFileOutput(parameters, OUTPUT, context)).absolute())
        # A copy as the user sees the layer now: with edits that are not saved yet, or the selection alone.
        copy = Path(QgsProcessingUtils.generateTempFilename("sample.gpkg"))
        write_labels(self.sample, copy, context.transformContext())
        field = self.parameterAsString(parameters, FIELD, context)
        result = self.ask("estimate", {"sample": str(copy), "field": field, "csv": output}, feedback)
        for item in result["classes"]:
            feedback.pushInfo(
                f"  {item['name']}: {item['ha']:,.2f} ± {item['ha_ci95']:,.2f} ha (the map shows {item['mapped_ha']:,.2f} ha); "
                f"user's accuracy {_told(item, 'users')}, producer's {_told(item, 'producers')}"
            )
        feedback.pushInfo(
            f"{result['points']} points; overall accuracy {result['overall']:.3f} ± {result['overall_ci95']:.3f} (95 %)."
        )
        return {OUTPUT: result["csv"], OA: result["overall"], OA_CI95: result["overall_ci95"]}


def _told(item: dict[str, Any], name: str) -> str:
    return "unknown" if item[name] is None else f"{item[name]:.2f} ± {item[name + '_ci95']:.2f}"
