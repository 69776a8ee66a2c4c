"""Grids, aligned reading and map writing, on rasterio."""

import os

# GDAL's block cache is process-wide and grows to 5 % of the memory unless told otherwise; it reads this once.
os.environ.setdefault("GDAL_CACHEMAX", "128")
