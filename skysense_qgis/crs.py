"""Coordinate systems as the worker is told of them."""

from __future__ import annotations

from qgis.core import QgsCoordinateReferenceSystem


def crs_text(crs: QgsCoordinateReferenceSystem) -> str:
    """An authority's code, else WKT: codes of the user's own are known to this QGIS alone."""
    code = crs.authid()
    return code if code and not code.startswith("USER:") else crs.toWkt()
