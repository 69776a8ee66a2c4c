"""The provider under which SkySense stands in the Processing toolbox."""

from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .adjusted_areas import AdjustedAreasAlgorithm
from .areas import AreasAlgorithm
from .change import ChangeAlgorithm
from .classify_polygons import ClassifyPolygonsAlgorithm
from .clusters import ClustersAlgorithm
from .detect_objects import DetectObjectsAlgorithm
from .embed import EmbedAlgorithm
from .finetune import FinetuneAlgorithm
from .predict import PredictAlgorithm
from .similarity import SimilarityAlgorithm
from .suggest import SuggestAlgorithm
from .vectorize import VectorizeAlgorithm
from .verification_sample import VerificationSampleAlgorithm

_ICON = Path(__file__).resolve().parent.parent / "resources" / "icons" / "skysense.svg"


class SkySenseProvider(QgsProcessingProvider):
    """Provider `skysense`: from training over the map to its areas."""

    def loadAlgorithms(self) -> None:
        for algorithm in (
            FinetuneAlgorithm,
            PredictAlgorithm,
            ClassifyPolygonsAlgorithm,
            DetectObjectsAlgorithm,
            ChangeAlgorithm,
            AreasAlgorithm,
            VerificationSampleAlgorithm,
            AdjustedAreasAlgorithm,
            VectorizeAlgorithm,
            SuggestAlgorithm,
            EmbedAlgorithm,
            SimilarityAlgorithm,
            ClustersAlgorithm,
        ):
            self.addAlgorithm(algorithm())

    def supportsNonFileBasedOutput(self) -> bool:
        """Results are files: tables in databases cannot be written, and so are not offered."""
        return False

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        return ["gpkg"]

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return ["tif"]

    def id(self) -> str:
        return "skysense"

    def name(self) -> str:
        return "SkySense"

    def icon(self) -> QIcon:
        return QIcon(str(_ICON))
