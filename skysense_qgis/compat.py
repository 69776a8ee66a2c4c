"""Names that moved between QGIS 3.22 and 4."""

from __future__ import annotations

from qgis.core import Qgis, QgsMapLayerProxyModel, QgsRasterLayerTemporalProperties, QgsUnitTypes

#: Only these differ; everything else in the plugin is spelt the same in all versions.
if hasattr(Qgis, "RasterTemporalMode"):
    FIXED_RANGE = Qgis.RasterTemporalMode.FixedTemporalRange
else:
    FIXED_RANGE = QgsRasterLayerTemporalProperties.TemporalMode.ModeFixedTemporalRange

if hasattr(Qgis, "LayerFilter"):
    POLYGON_LAYERS = Qgis.LayerFilter.PolygonLayer
    LABEL_LAYERS = Qgis.LayerFilter.PolygonLayer | Qgis.LayerFilter.PointLayer
else:
    POLYGON_LAYERS = QgsMapLayerProxyModel.Filter.PolygonLayer
    LABEL_LAYERS = QgsMapLayerProxyModel.Filter.PolygonLayer | QgsMapLayerProxyModel.Filter.PointLayer

if hasattr(Qgis, "DistanceUnit"):
    METRES = Qgis.DistanceUnit.Meters
else:
    METRES = QgsUnitTypes.DistanceUnit.DistanceMeters
