"""`skysense:clusters`: a map without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
)

from .embedding_algorithm import EmbeddingAlgorithm, add_embedding
from .styling import style_when_loaded

CLASSES, SEED, OUTPUT = "CLASSES", "SEED", "OUTPUT"

_HELP = """Sorts the pixels of an embedding into clusters of like ground, without any labels: a first look at what there is.

Clusters are numbered by size, 1 = the largest; 0 is where nothing was seen. What they are is for you to say: compare them \
with the imagery, then draw polygons of the classes that you want. The same seed gives the same map.

k-means on standardised features, fitted to a sample."""


class ClustersAlgorithm(EmbeddingAlgorithm):
    """Clusters an embedding."""

    def name(self) -> str:
        return "clusters"

    def displayName(self) -> str:
        return "Cluster a scene without labels"

    def shortDescription(self) -> str:
        return "Sorts the pixels of an embedding into clusters of like ground."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["cluster", "k-means", "unsupervised", "classification", "embedding", "isodata"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        add_embedding(self)
        integer = QgsProcessingParameterNumber.Integer
        self.addParameter(
            QgsProcessingParameterNumber(
                CLASSES, "Number of clusters", integer, defaultValue=8, minValue=2, maxValue=255
            )
        )
        self.add_advanced(QgsProcessingParameterNumber(SEED, "Seed", integer, defaultValue=0, minValue=0))
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, "Clusters"))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        params = {
            "out": str(Path(output).absolute()),
            "classes": self.parameterAsInt(parameters, CLASSES, context),
            "seed": self.parameterAsInt(parameters, SEED, context),
        }
        result = self.ask("cluster", params, feedback)
        for item in result["classes"]:
            feedback.pushInfo(f"  {item['name']}: {item['pixels']:,} pixels")
        if context.willLoadLayerOnCompletion(output):
            style_when_loaded(context, output, "class")
        return {OUTPUT: output}
