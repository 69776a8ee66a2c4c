"""Make a whole synthetic scene folder: pictures, dates, radar, labels and truth."""

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import rasterio.crs
import rasterio.errors
from numpy.typing import NDArray
from shapely import Polygon

from skysense.errors import InputError, StorageError
from skysense.scene.sensors import SENSORS, Modality
from skysense.synthetic.clouds import make_clouds
from skysense.synthetic.coarse import Coarse, coarsen
from skysense.synthetic.files import colour_table, write_polygons, write_raster
from skysense.synthetic.legend import CLASSES, NOTICE
from skysense.synthetic.noise import stream
from skysense.synthetic.optical import HR_BANDS, orthophoto, sentinel2
from skysense.synthetic.plan import make_plan
from skysense.synthetic.radar import sentinel1
from skysense.synthetic.surface import Surface, make_surface
from skysense.synthetic.town import make_town
from skysense.synthetic.training import draw_training, evaluation_mask

#: Upper left corner in the CRS (metres); in EPSG:32632 a place in southern Germany.
ORIGIN = (500_000.0, 5_400_000.0)
#: Smallest side that has room for every class, and the day of the orthophoto.
SMALLEST, FLIGHT = 320, (6, 17)


def make_landscape(
    out: Path,
    *,
    seed: int = 0,
    size_m: int = 1280,
    hr_gsd_m: float = 1.25,
    n_s2: int = 12,
    n_s1: int = 6,
    crs: str = "EPSG:32632",
    year: int = 2023,
) -> Path:
    """Make a believable landscape with known truth, in the layout of a scene folder.

    A river and a lake, two forests, a town, roads, and fields of winter cereals, maize and grassland, seen by
    an orthophoto in June, by Sentinel-2 through the year (up to four dates with clouds) and by Sentinel-1.
    Writes `hr/`, `s2/`, `s1/`, `train.gpkg`, `truth.tif`, `eval_mask.tif`, `classes.json`, `README.txt` and
    `scene.json`. Rasters, layer and scene say of themselves that they are synthetic. The pixels are a
    function of the arguments.

    Args:
        out: folder to write into; made if missing, files in it are replaced.
        seed: 0 or more; another seed is another landscape.
        size_m: side of the square area: a multiple of 20 m, at least 320 m.
        hr_gsd_m: HR pixel size, of which 10 m is a whole multiple.
        n_s2, n_s1: number of dates, 0 or more; spread over the year.
        crs: any projected CRS in metres.
        year: of all the dates.

    Returns:
        The path of `scene.json`.

    Raises:
        InputError: an argument is out of range, or the area too small for training polygons.
        StorageError: the folder cannot be written.
    """
    k = _check(seed, size_m, hr_gsd_m, n_s2, n_s1, crs, year)
    plan = make_plan(float(size_m), seed)
    surface = make_surface(plan, make_town(plan.town, plan.roads, seed, float(size_m)), 10 / k, seed)
    coarse = coarsen(surface, k)
    training = draw_training(coarse.truth, surface.parcel[k // 2 :: k, k // 2 :: k], stream(seed, "training"))
    try:
        acquisitions = _write_pictures(out, surface, coarse, k, seed, n_s2, n_s1, crs, year)
        _write_labels(out, coarse, training, crs)
        scene = {
            "version": 1,
            "name": "synthetic",
            "synthetic": True,
            "acquisitions": acquisitions,
            "labels": {"path": "train.gpkg", "field": "class", "layer": "train"},
            "info": {"note": NOTICE, "seed": seed, "size_m": size_m},
        }
        (out / "README.txt").write_text(NOTICE + "\n", encoding="utf-8")
        path = out / "scene.json"
        path.write_text(json.dumps(scene, indent=1) + "\n", encoding="utf-8")
    except (OSError, rasterio.errors.RasterioError) as error:
        raise StorageError(
            f"cannot write the synthetic scene ({error})", str(out), "Choose another folder"
        ) from error
    return path


def _check(seed: int, size_m: int, hr_gsd_m: float, n_s2: int, n_s1: int, crs: str, year: int) -> int:
    """HR pixels per side of a 10 m pixel, or InputError."""
    if size_m < SMALLEST or size_m % 20:
        raise InputError(
            f"{size_m} m is no usable side", "size_m", f"Take a multiple of 20 m, at least {SMALLEST} m"
        )
    k = round(10 / hr_gsd_m) if 0 < hr_gsd_m <= 10 else 0
    if k < 1 or not math.isclose(k * hr_gsd_m, 10):
        raise InputError(
            f"10 m is not a whole multiple of {hr_gsd_m} m", "hr_gsd_m", "Take 10, 5, 2.5, 2, 1.25, 1 ..."
        )
    if seed < 0 or not 0 <= n_s2 <= 73 or not 0 <= n_s1 <= 30:
        raise InputError(
            f"seed {seed}, {n_s2} Sentinel-2 and {n_s1} Sentinel-1 dates are out of range",
            "seed, n_s2, n_s1",
            "Take a seed of 0 or more, at most 73 Sentinel-2 dates and at most 30 Sentinel-1 dates",
        )
    if not 2015 <= year <= 2100:
        raise InputError(f"{year} is out of range", "year", "Take a year from 2015 to 2100")
    try:
        system = rasterio.crs.CRS.from_user_input(crs)
        metric = system.is_projected and math.isclose(system.linear_units_factor[1], 1.0)
    except rasterio.errors.CRSError as error:
        raise InputError(f"{crs!r} is no coordinate system", "crs", "Take one such as EPSG:32632") from error
    if not metric:
        raise InputError(
            f"{crs!r} does not count in metres", "crs", "Take a projected one such as EPSG:32632"
        )
    return k


def overpasses(count: int, repeat: int, first: int) -> list[int]:
    """Days of the year of `count` acquisitions, evenly spread; passes: every `repeat` days from `first`."""
    slots = list(range(first, 366, repeat))
    return [slots[int((i + 0.5) * len(slots) / count)] for i in range(count)]


def _write_pictures(
    out: Path, surface: Surface, coarse: Coarse, k: int, seed: int, n_s2: int, n_s1: int, crs: str, year: int
) -> list[dict[str, Any]]:
    """Write every acquisition; returns their entries for scene.json."""
    entries: list[dict[str, Any]] = []

    def add(
        modality: Modality,
        date: dt.date,
        values: NDArray[Any],
        bands: tuple[str, ...],
        gsd: float,
        **more: Any,
    ) -> None:
        path = f"{modality}/{modality.upper()}_synthetic_{date:%Y%m%d}.tif"
        nodata = {"hr": None, "s2": 0.0, "s1": math.nan}[modality]
        write_raster(out / path, values, bands, crs=crs, origin=ORIGIN, gsd=gsd, nodata=nodata)
        numbers = {band: i + 1 for i, band in enumerate(bands)}
        entries.append(
            {"modality": modality, "path": path, "date": date.isoformat(), "bands": numbers, **more}
        )

    flight = dt.date(year, *FLIGHT)
    photo = orthophoto(surface, flight.timetuple().tm_yday, stream(seed, "hr"))
    add("hr", flight, photo, tuple(HR_BANDS), 10 / k)

    days = overpasses(n_s2, 5, 4)
    weather = stream(seed, "weather")
    cloudy = weather.permutation(n_s2)[: min(4, n_s2 // 3)]
    for i, day in enumerate(days):
        rng = stream(seed, f"s2 {day}")
        cover = float(weather.uniform(0.08, 0.32))
        clouds = make_clouds(coarse.truth.shape, cover, rng) if i in cloudy else None
        date = dt.date(year, 1, 1) + dt.timedelta(day - 1)
        add("s2", date, sentinel2(surface, coarse, day, clouds, rng), SENSORS["s2"].bands, 10.0)

    for day in overpasses(n_s1, 12, 9):
        date = dt.date(year, 1, 1) + dt.timedelta(day - 1)
        radar = sentinel1(surface, coarse, day, seed, stream(seed, f"s1 {day}"))
        add("s1", date, radar, SENSORS["s1"].bands, 10.0, units="db", orbit="asc")
    return entries


def _write_labels(out: Path, coarse: Coarse, training: list[tuple[int, Polygon]], crs: str) -> None:
    """Write truth, evaluation mask, class names and training polygons."""
    mask = evaluation_mask(coarse.truth, training)
    write_raster(
        out / "truth.tif",
        coarse.truth[None],
        ("class",),
        crs=crs,
        origin=ORIGIN,
        gsd=10.0,
        nodata=0.0,
        colours=colour_table(),
    )
    write_raster(out / "eval_mask.tif", mask[None], ("eval",), crs=crs, origin=ORIGIN, gsd=10.0)
    names = {str(value): name for value, (name, _) in CLASSES.items()}
    (out / "classes.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    write_polygons(out / "train.gpkg", training, crs=crs, origin=ORIGIN)
