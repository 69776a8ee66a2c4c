"""The provider under which SkySense stands in the Processing toolbox."""

from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .finetune import FinetuneAlgorithm
from .predict import PredictAlgorithm

_ICON = Path(__file__).resolve().parent.parent / "resources" / "icons" / "skysense.svg"


class SkySenseProvider(QgsProcessingProvider):
    """Provider `skysense`: `skysense:finetune` and `skysense:predict`."""

    def loadAlgorithms(self) -> None:
        for algorithm in (FinetuneAlgorithm, PredictAlgorithm):
            self.addAlgorithm(algorithm())

    def id(self) -> str:
        return "skysense"

    def name(self) -> str:
        return "SkySense"

    def icon(self) -> QIcon:
        return QIcon(str(_ICON))
