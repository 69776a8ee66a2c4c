"""Grids, aligned reading and map writing, on rasterio."""

import os

# GDAL's block cache is process-wide and grows to 5 % of the memory unless told otherwise; it reads this once. The memory of a map must
# not grow with it, so the cache is small, but for a series of which neighbouring tiles share more (see `handles.hold_blocks`).
CACHE_MB = 64
CACHE_IS_OURS = os.environ.setdefault("GDAL_CACHEMAX", str(CACHE_MB)) == str(
    CACHE_MB
)  # also in a process that we start
