"""What the algorithms share: help, device, the hand-over to the worker, and errors as one sentence."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)
from qgis.PyQt.QtGui import QIcon

from ..crs import crs_text
from .inputs import SceneProblem, add_scene_parameters, read_scene
from .series import add_series, series_option

DEVICE, PRECISION, EXTENT, WORKERS = "DEVICE", "PRECISION", "EXTENT", "WORKERS"
#: Of the recipe, with the words for it; the first leaves it to the worker.
_PRECISIONS = {
    "": "what suits the device",
    "float32": "float32: exact",
    "bfloat16": "bfloat16: faster on most GPUs, a little coarser",
}


class SkySenseAlgorithm(QgsProcessingAlgorithm):
    """A job of the worker as a Processing algorithm: layers are read on the main thread, the work runs in another."""

    def createInstance(self) -> QgsProcessingAlgorithm:
        return type(self)()

    def icon(self) -> QIcon:
        provider = self.provider()
        return provider.icon() if provider else super().icon()

    def helpUrl(self) -> str:
        return ""

    def add_scene(self) -> None:
        """Add the scene's parameters."""
        add_scene_parameters(self)
        add_series(self)

    def add_advanced(self, parameter: QgsProcessingParameterDefinition) -> None:
        """Add a parameter under "Advanced"."""
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
        self.addParameter(parameter)

    def add_device(self) -> None:
        """Add the choice of the device, and of what it computes in."""
        self.add_advanced(
            QgsProcessingParameterString(DEVICE, "Device: auto, cpu, cuda or cuda:n", defaultValue="auto")
        )
        self.add_advanced(
            QgsProcessingParameterEnum(PRECISION, "Precision", list(_PRECISIONS.values()), defaultValue=0)
        )

    def add_workers(self, text: str) -> None:
        """Add the number of processes."""
        self.add_advanced(
            QgsProcessingParameterNumber(WORKERS, text, defaultValue=1, minValue=1, maxValue=64)
        )

    def add_extent(self) -> None:
        """Add the choice of a part of the scene."""
        self.addParameter(QgsProcessingParameterExtent(EXTENT, "Only this extent", optional=True))

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        # Ours first: QGIS's own check says no more than which parameter is wrong.
        try:
            problem = self.problem(parameters, context)
        except SceneProblem as error:
            problem = str(error)
        return (False, problem) if problem else super().checkParameterValues(parameters, context)

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """What the user has to mend before the algorithm can run, as one sentence; "" = nothing."""
        read_scene(self, parameters, context)
        return ""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        # Layers live on the main thread, so all that is needed of them is read here.
        try:
            self.scene = read_scene(self, parameters, context)
        except SceneProblem as error:
            raise QgsProcessingException(str(error)) from None
        return True

    def options(self, parameters: dict[str, Any], context: QgsProcessingContext) -> dict[str, Any]:
        """The recipe's options that every job has; what is at its default is left out, as in every recipe."""
        device = self.parameterAsString(parameters, DEVICE, context).strip()
        options: dict[str, Any] = {} if device in ("", "auto") else {"device": device}
        precision = list(_PRECISIONS)[self.parameterAsEnum(parameters, PRECISION, context)]
        if precision:
            options["precision"] = precision
        workers = self.parameterAsInt(parameters, WORKERS, context)  # 0 of an algorithm that has none
        if workers > 1:
            options["workers"] = workers
        options |= series_option(self, parameters, context)
        if parameters.get(EXTENT):
            area = self.parameterAsExtent(parameters, EXTENT, context)
            crs = self.parameterAsExtentCrs(parameters, EXTENT, context)
            options["area"] = [area.xMinimum(), area.yMinimum(), area.xMaximum(), area.yMaximum()]
            options["area_crs"] = crs_text(crs)
        return options

    def run_recipe(self, recipe: dict[str, Any], feedback: QgsProcessingFeedback) -> dict[str, Any]:
        """Run a recipe in the worker and wait for its result; progress and Cancel go through `feedback`.

        Raises:
            QgsProcessingException: one sentence on what went wrong.
        """
        from ..worker.blocking import WorkerError, run_blocking

        try:
            return run_blocking(recipe, feedback)
        except WorkerError as error:
            raise QgsProcessingException(str(error)) from None
