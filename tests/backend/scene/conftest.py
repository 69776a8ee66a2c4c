"""Small generated rasters for the scene's tests."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
S2_BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")

Writer = Callable[..., Path]


def values_of(count: int, side: int, dtype: str, low: float, high: float) -> NDArray[Any]:
    """A ramp from low to high in every band, (count, side, side)."""
    ramp = np.linspace(low, high, side * side).reshape(side, side)
    return np.repeat(ramp[None], count, axis=0).astype(dtype)


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """A function that writes a GeoTIFF below the test's folder and returns its path."""

    def write_file(
        name: str,
        count: int = 10,
        *,
        dtype: str = "uint16",
        low: float = 300,
        high: float = 3000,
        side: int = 32,
        gsd: float = 10.0,
        crs: str | None = "EPSG:32631",
        origin: tuple[float, float] = (500_000.0, 5_600_000.0),
        names: Sequence[str | None] = (),
        colours: Sequence[str] = (),
        tags: dict[str, str] | None = None,
        data: NDArray[Any] | None = None,
        transform: Affine | None = None,
        **options: Any,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            data = values_of(count, side, dtype, low, high)
        place = transform or Affine(gsd, 0, origin[0], 0, -gsd, origin[1])
        profile = {"driver": "GTiff", "count": data.shape[0], "height": data.shape[1], "width": data.shape[2]}
        with rasterio.open(
            path, "w", dtype=data.dtype.name, crs=crs, transform=place, **profile, **options
        ) as file:
            file.write(data)
            for number, text in enumerate(names, start=1):
                if text:
                    file.set_band_description(number, text)
            if colours:
                file.colorinterp = [ColorInterp[colour] for colour in colours]
            if tags:
                file.update_tags(**tags)
        return path

    return write_file


@pytest.fixture
def s2(write: Writer) -> Writer:
    """A function that writes a named 10-band Sentinel-2 image."""

    def write_s2(name: str, **options: Any) -> Path:
        return write(name, 10, names=S2_BANDS, **options)

    return write_s2


@pytest.fixture
def s1(write: Writer) -> Writer:
    """A function that writes a named Sentinel-1 image in dB."""

    def write_s1(name: str, **options: Any) -> Path:
        settings = {"dtype": "float32", "low": -25.0, "high": -3.0, "names": ("VV", "VH"), **options}
        return write(name, 2, **settings)

    return write_s1
