"""Grids, aligned reading and map writing, on rasterio."""

import os

# GDAL's block cache is process-wide and grows to 5 % of the memory unless told otherwise; it reads this once.
# 64 MB hold the blocks that neighbouring tiles share, and no more: the memory of a map must not grow with it. (With 256 MB a map of a
# year of Sentinel-2 takes 3 % less processor time.)
os.environ.setdefault("GDAL_CACHEMAX", "64")
