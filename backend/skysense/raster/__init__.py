"""Grids, aligned reading and map writing, on rasterio."""

import os

# GDAL's block cache is process-wide and grows to 5 % of the memory unless told otherwise; it reads this once.
# 256 MB hold the blocks that neighbouring tiles of a year of Sentinel-2 share (with 64 MB each was decoded several times), and no
# more: the memory of a map must not grow with it.
os.environ.setdefault("GDAL_CACHEMAX", "256")
