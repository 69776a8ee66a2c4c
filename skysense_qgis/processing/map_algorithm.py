"""What the algorithms share that look at a finished map instead of a scene."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterRasterLayer,
)

from ..dock.row import RowError
from ..dock.sources import layer_path
from .algorithm import SkySenseAlgorithm

MAP = "MAP"


class MapAlgorithm(SkySenseAlgorithm):
    """A request to the worker about a class map."""

    def add_map(self) -> None:
        """Add the parameter of the map."""
        self.addParameter(QgsProcessingParameterRasterLayer(MAP, "Class map"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        layer = self.parameterAsRasterLayer(parameters, MAP, context)
        if layer is None:
            return "Choose the class map; the one that is given cannot be opened."
        try:
            layer_path(layer)
        except RowError as error:
            return str(error)
        return ""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        # Layers live on the main thread, so all that is needed of them is read here.
        layer = self.parameterAsRasterLayer(parameters, MAP, context)
        try:
            if layer is None:
                raise RowError("The class map cannot be opened.")
            self.map = layer_path(layer)
        except RowError as error:
            raise QgsProcessingException(str(error)) from None
        return True

    def ask(self, method: str, params: dict[str, Any], feedback: QgsProcessingFeedback) -> dict[str, Any]:
        """Ask a worker about the map and wait; progress, notes and Cancel go through `feedback`.

        Raises:
            QgsProcessingException: one sentence on what went wrong.
        """
        from ..worker.blocking import BlockingWorker, WorkerError

        try:
            with BlockingWorker() as worker:
                return worker.call(method, {"map": self.map, **params}, feedback)
        except WorkerError as error:
            raise QgsProcessingException(str(error)) from None
