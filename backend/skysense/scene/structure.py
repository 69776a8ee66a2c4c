"""What makes an image unusable whatever the user says of it: no place on the Earth, or no picture in it."""

from skysense.errors import InputError
from skysense.scene.bands import is_landsat_band
from skysense.scene.header import RasterHeader
from skysense.scene.products import Product, ProductFolder

#: Smallest side (pixels) that can be used at all.
_MIN_SIDE = 4
#: GDAL drivers of containers: their layers are variables and dates, which nobody has assigned.
_CONTAINERS = ("netCDF", "HDF5", "HDF5Image", "HDF4", "HDF4Image", "Zarr", "GRIB")


def check_structure(
    header: RasterHeader, product: Product, folder: ProductFolder | None, *, bands_stated: bool
) -> None:
    """Stop at the first thing that prevents use.

    Args:
        bands_stated: the user has said which band is which, so that a by-product is meant to be used.

    Raises:
        InputError: what it is and how to mend it.
    """
    if header.driver in _CONTAINERS or header.count == 0:
        kind = "a NetCDF cube" if header.driver == "netCDF" else f"a {header.driver} container"
        raise InputError(f"is {kind}, not a raster layer", fix="Export each date as a GeoTIFF and add those")
    if header.dtype.startswith("complex"):
        raise InputError(
            "holds complex radar numbers, not calibrated VV and VH backscatter",
            fix="Use a Sentinel-1 product calibrated to sigma0 or gamma0 and geocoded",
        )
    if (folder is not None and folder.raw) or _raw_radar(product, header):
        lacks = "" if folder is None or "VH" in folder.files else ", and VH is missing"
        raise InputError(
            f"is Sentinel-1 as delivered, neither calibrated nor geocoded{lacks}",
            fix="Get the terrain-corrected (RTC) product, or make it, for example with SNAP",
        )
    foreign = "Landsat" if any(name and is_landsat_band(name) for name in header.names) else product.foreign
    if foreign:
        raise InputError(
            f"is a {foreign} product",
            fix="Use Sentinel-2, Sentinel-1 or a picture finer than 8 m",
        )
    if folder is not None and len(folder.granules) > 1 and not bands_stated:
        raise InputError(
            f"holds {len(folder.granules)} granules, each of another tile",
            fix=f"Choose one granule, a folder in GRANULE such as {folder.granules[0]}",
        )
    if not header.georeferenced:
        if header.gcps or header.rpcs:
            how = "ground control points" if header.gcps else "rational polynomials (RPC)"
            raise InputError(f"is located only by {how}", fix="Geocode it first: Raster > Projections > Warp")
        raise InputError("has no georeference", fix="Georeference it first: Layer > Georeferencer")
    if header.crs is None:
        raise InputError(
            "has no coordinate system (CRS)", fix="Assign one: Raster > Projections > Assign Projection"
        )
    if not header.earth:
        raise InputError("has a coordinate system of another planet", fix="Use imagery of the Earth")
    a, b, _, d, e, _ = header.transform
    if b or d:
        raise InputError(
            "has a rotated pixel grid", fix="Make it north-up first: Raster > Projections > Warp"
        )
    if a < 0 or e > 0:
        raise InputError(
            "is stored mirrored or upside down", fix="Make it north-up first: Raster > Projections > Warp"
        )
    if min(header.width, header.height) < _MIN_SIDE:
        raise InputError(f"is too small ({header.width} x {header.height} pixels)", fix="Use a larger image")
    if "palette" in header.colours:
        raise InputError(
            "is a palette image (numbers of colours, not brightness)",
            fix="Expand it first: Raster > Conversion > PCT to RGB",
        )
    if product.side_layer and folder is None and not bands_stated:
        what, _, fix = product.side_layer.partition(": ")
        raise InputError(f"is {what}", fix=fix[:1].upper() + fix[1:])


def _raw_radar(product: Product, header: RasterHeader) -> bool:
    return product.modality == "s1" and not header.georeferenced and header.dtype in ("uint16", "int16")
