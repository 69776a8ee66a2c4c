"""A scene of two crops and three Sentinel-2 dates, written with the GDAL of QGIS: 64 x 64 pixels."""

import json
from array import array
from pathlib import Path

from osgeo import gdal, osr
from qgis.core import QgsFeature, QgsGeometry, QgsRectangle, QgsVectorLayer

BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
SIZE, GSD, X0, Y0 = 64, 10.0, 500_000.0, 5_600_000.0
DATES = ("2021-04-10", "2021-06-19", "2021-08-28")


def make_image(path: Path, level: int, size: int = SIZE) -> Path:
    """An image whose left half has `level` in all bands and whose right half has twice that."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), size, size, len(BANDS), gdal.GDT_UInt16)
    dataset.SetGeoTransform((X0, GSD, 0, Y0, 0, -GSD))
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32631)
    dataset.SetProjection(crs.ExportToWkt())
    for number, name in enumerate(BANDS, start=1):
        row = array("H", [level + 40 * number + (level if col >= size // 2 else 0) for col in range(size)])
        texture = [array("H", [v + (7 * (r + i)) % 50 for i, v in enumerate(row)]) for r in range(size)]
        band = dataset.GetRasterBand(number)
        band.SetDescription(name)
        band.WriteRaster(0, 0, size, size, b"".join(line.tobytes() for line in texture))
    dataset.FlushCache()
    return path


def make_images(folder: Path, size: int = SIZE) -> list[str]:
    return [
        str(make_image(folder / f"S2_small_{date.replace('-', '')}.tif", 600 + 300 * number, size))
        for number, date in enumerate(DATES)
    ]


def make_scene(folder: Path) -> Path:
    """A scene.json over the images, without labels."""
    acquisitions = [
        {"modality": "s2", "path": Path(path).name, "date": date}
        for path, date in zip(make_images(folder), DATES)
    ]
    path = folder / "scene.json"
    path.write_text(json.dumps({"version": 1, "name": "small", "acquisitions": acquisitions}))
    return path


def make_labels(size: int = SIZE) -> QgsVectorLayer:
    """A scratch layer with two polygons in each half, the last of them not saved yet."""
    layer = QgsVectorLayer(
        "Polygon?crs=EPSG:32631&field=class:string(40)&field=note:string(40)", "fields", "memory"
    )
    features = []
    for name, col in (("wheat", 5), ("wheat", 15), ("maize", size // 2 + 5), ("maize", size // 2 + 15)):
        for row in (10, 40):
            x, y = X0 + col * GSD, Y0 - row * GSD
            feature = QgsFeature(layer.fields())
            feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, y - 60, x + 60, y)))
            feature.setAttributes([name, f"seen at {col}"])
            features.append(feature)
    layer.dataProvider().addFeatures(features[:-1])
    layer.updateExtents()
    layer.startEditing()
    layer.addFeature(features[-1])
    return layer
