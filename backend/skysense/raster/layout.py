"""Which grids a scene is read, computed and written on (docs/architecture.md, "Raster")."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from skysense.errors import InputError
from skysense.raster.crs import bounds_in, is_metric, pixel_metres, read_crs, utm_crs
from skysense.raster.grid import Bounds, Grid, Lattice, Window
from skysense.raster.handles import grid_of, open_raster
from skysense.scene.acquisition import Acquisition, Scene
from skysense.scene.sensors import SENSORS, Modality

#: Pixel side of the fusion lattice in metres.
FUSION_GSD = 10.0
#: Compute pixels around an output that is resampled: its edge pixels are interpolated between them.
_HALO = 2
#: The pixel size that an HR lattice in another CRS gets is rounded to so many digits, so that it can be told.
_GSD_DIGITS = 4


@dataclass(frozen=True)
class Layout:
    """The grids of a scene.

    Attributes:
        modalities: those that the scene has, in the order of `SENSORS`.
        base: the 10 m fusion lattice; the HR pixels' own (or their size in UTM) when HR is alone.
        hr_factor: HR pixels per base pixel side: 2^k in a fused scene, 1 when HR is alone, 0 without HR.
        area: what is computed, in pixels of `compute`.
        output: the grid of the map.
        aligned: each output pixel is the compute pixel at the same place in `area`.
    """

    modalities: tuple[Modality, ...]
    base: Lattice
    hr_factor: int
    area: Window
    output: Grid
    aligned: bool

    @property
    def compute(self) -> Lattice:
        """The lattice of class scores: HR pixels where HR is used, base pixels otherwise."""
        return self.base.refine(max(self.hr_factor, 1))


def plan_layout(
    scene: Scene, *, area: Bounds | None = None, area_crs: str | None = None, hr_cap_m: float = 0.3125
) -> Layout:
    """Plan the grids of a scene from its files' headers.

    Args:
        area: part to be mapped (west, south, east, north), cut to what the imagery covers; None = all of it.
        area_crs: its CRS, any text that PROJ knows; None = that of the map.
        hr_cap_m: in a fused scene HR is computed at 10 / 2^k m, never finer than this.

    Raises:
        InputError: no acquisition, a file without a place on the Earth, or an area beside the imagery.
    """
    grids = {modality: layer_grids(scene.modality(modality)) for modality in get_args(Modality)}
    modalities = tuple(modality for modality in SENSORS if grids[modality])
    if not modalities:
        raise InputError("has no imagery", scene.name, "Add at least one layer")
    if not grids["hr"]:
        base = _fusion_lattice(grids["s2"], grids["s1"], ())
        extent = _extent(grids["s2"] or grids["s1"], base.crs)
        window = base.window_of(_cut(extent, area, area_crs, base.crs, scene.name))
        return Layout(modalities, base, 0, window, base.grid(window), True)
    whole = _hr_output(grids["hr"])
    output = whole.sub(_pixels(whole, _cut(whole.bounds, area, area_crs, whole.crs, scene.name)))
    # The lattice of a part is that of the whole: pixel sizes and zones are taken from the whole's centre.
    if modalities == ("hr",):
        base, factor = _hr_lattice(whole), 1
    else:
        base = _fusion_lattice(grids["s2"], grids["s1"], grids["hr"])
        factor = _hr_factor(min(pixel_metres(whole)), hr_cap_m)
    compute = base.refine(factor)
    located = compute.locate(output)
    if located is not None:
        return Layout(modalities, base, factor, located, output, True)
    covering = compute.window_of(bounds_in(output.bounds, output.crs, base.crs)).grow(_HALO)
    return Layout(modalities, base, factor, covering, output, False)


def layer_grids(acquisitions: Iterable[Acquisition]) -> list[Grid]:
    """For each acquisition the grid of its finest band.

    Raises:
        InputError: a file cannot be opened or has no place on the Earth.
    """
    found = []
    for item in acquisitions:
        paths = sorted({band.path for band in item.bands.values()} or {item.path})
        if len(paths) > 1 and item.modality == "s2":
            # Where each band has its own file, B2 (else the first there is) speaks for its pixel size.
            names = [name for name in SENSORS["s2"].bands if name in item.bands]
            preferred = [name for name in ("B2", "B3", "B4", "B8") if name in names] or names
            paths = [item.bands[preferred[0]].path] if preferred else paths
        with open_raster(paths[0]) as dataset:
            found.append(grid_of(dataset, paths[0]))
    return found


def _fusion_lattice(s2: list[Grid], s1: list[Grid], hr: Iterable[Grid]) -> Lattice:
    """10 m pixels in the CRS of Sentinel-2 or else Sentinel-1 if metric; else in the centre's UTM zone."""
    for grids in (s2, s1):
        usable = {grid for grid in set(grids) if is_metric(grid)}
        metric = [grid for grid in grids if grid in usable]
        # The CRS that most dates share: a site between two UTM zones may have a few of the other.
        if metric:
            crs = Counter(grid.crs for grid in metric).most_common(1)[0][0]
            reference = next(grid for grid in metric if grid.crs == crs)
            return _ten_metres(reference)
    crs = utm_crs(next(iter([*s2, *hr, *s1])))
    same = [grid for grid in (*s2, *s1) if grid.crs == crs]
    return _ten_metres(same[0]) if same else Lattice(crs, FUSION_GSD)


def _ten_metres(reference: Grid) -> Lattice:
    """The 10 m lattice through the reference's pixel edges, if its pixels are multiples or parts of 10 m."""
    ratio = reference.gsd / FUSION_GSD
    ratio = ratio if ratio >= 1 else 1 / ratio
    if reference.square and abs(ratio - round(ratio)) < 1e-4:
        return Lattice.of(reference, FUSION_GSD)
    return Lattice(reference.crs, FUSION_GSD)


def _hr_lattice(output: Grid) -> Lattice:
    """HR alone: its own pixels in a metric CRS; else square pixels of their mean size in the UTM zone."""
    if is_metric(output):
        if output.square:
            return Lattice.of(output)
        return Lattice(output.crs, _rounded(output.gsd))
    across, down = pixel_metres(output)
    return Lattice(utm_crs(output), _rounded(math.sqrt(across * down)))


def _rounded(gsd: float) -> float:
    return float(f"{gsd:.{_GSD_DIGITS}g}")


def _hr_factor(gsd: float, cap: float) -> int:
    """2^k with 10 / 2^k nearest to the HR pixel size in metres, and not below the cap."""
    sizes = [k for k in range(12) if k == 0 or FUSION_GSD / 2**k >= cap * (1 - 1e-9)]
    return int(2 ** min(sizes, key=lambda k: abs(FUSION_GSD / 2**k - gsd)))


def _hr_output(grids: list[Grid]) -> Grid:
    """The first HR layer's grid, widened to hold all HR layers."""
    first = grids[0]
    window = first.window
    for grid in grids[1:]:
        window = window.union(_pixels(first, bounds_in(grid.bounds, grid.crs, first.crs)))
    return first if window == first.window else first.sub(window)


def _pixels(grid: Grid, bounds: Bounds) -> Window:
    """The window of a grid that covers bounds in its CRS; the grid may be rotated."""
    west, south, east, north = bounds
    corners = [grid.place(*corner) for corner in ((west, north), (east, north), (west, south), (east, south))]
    return Lattice(grid.crs, 1.0).window_of(
        (
            min(col for col, _ in corners),
            -max(row for _, row in corners),
            max(col for col, _ in corners),
            -min(row for _, row in corners),
        )
    )


def _extent(grids: list[Grid], crs: str) -> Bounds:
    """The rectangle around all grids."""
    every = [bounds_in(grid.bounds, grid.crs, crs) for grid in dict.fromkeys(grids)]
    return (
        min(bounds[0] for bounds in every),
        min(bounds[1] for bounds in every),
        max(bounds[2] for bounds in every),
        max(bounds[3] for bounds in every),
    )


def _cut(extent: Bounds, area: Bounds | None, area_crs: str | None, crs: str, name: str) -> Bounds:
    """The area that was asked for, as far as the imagery reaches."""
    if area is None:
        return extent
    wanted = bounds_in(area, read_crs(area_crs, "area"), crs) if area_crs else area
    west, south = max(extent[0], wanted[0]), max(extent[1], wanted[1])
    east, north = min(extent[2], wanted[2]), min(extent[3], wanted[3])
    if not (west < east and south < north):
        raise InputError("the area lies outside the imagery", name, "Choose an area that the imagery covers")
    return west, south, east, north
