"""A small Sentinel-2 product as it is delivered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Writer = Callable[..., Path]
BASELINE_04 = "S2B_MSIL2A_20220615T101559_N0400_R065_T32UPC_20220615T122549"


def write_safe(write: Writer, tmp_path: Path, data: np.ndarray[Any, Any]) -> Path:
    """A SAFE of baseline 04.00 with one band, whose metadata state the offset."""
    safe = f"{BASELINE_04}.SAFE"
    granule = f"{safe}/GRANULE/L2A_T32UPC_A027529_20220615T101559/IMG_DATA/R10m"
    write(f"{granule}/T32UPC_20220615T101559_B02_10m.tif", data=data)
    (tmp_path / safe / "MTD_MSIL2A.xml").write_text("<a><BOA_ADD_OFFSET>-1000</BOA_ADD_OFFSET></a>")
    return tmp_path / safe
