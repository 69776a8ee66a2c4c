"""Which imagery a pretraining has: every scene below the given folders, opened by its headers only.

One broken file or scene among thousands is left out and named; that nothing at all can be used is an error.
"""

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from skysense.errors import InputError
from skysense.model.regions import region_id
from skysense.pretrain.found import Found, Omitted, summarise
from skysense.pretrain.sources import Source
from skysense.raster.crs import transformer
from skysense.raster.grid import Window
from skysense.raster.handles import grid_of, open_raster
from skysense.raster.layout import Layout, plan_layout
from skysense.scene.acquisition import Acquisition, Scene
from skysense.scene.scenefile import parse_scene
from skysense.scene.sensors import SENSORS

#: What a scene's windows are: HR alone, Sentinel series alone, or both together.
Kind = Literal["hr", "series", "fused"]
KINDS: tuple[Kind, ...] = ("hr", "series", "fused")


@dataclass(frozen=True)
class Entry:
    """A scene that windows are drawn from.

    Attributes:
        name: unique in the corpus, for messages.
        extent: what its imagery covers, in pixels of `layout.base`; where HR takes part, what HR covers.
        centre: (lon, lat) in degrees; region: the geo-context region that holds it.
        synthetic: made by this program.
    """

    name: str
    scene: Scene
    layout: Layout
    extent: Window
    centre: tuple[float, float]
    region: int
    synthetic: bool

    @property
    def kind(self) -> Kind:
        """See `Kind`."""
        if self.layout.modalities == ("hr",):
            return "hr"
        return "fused" if "hr" in self.layout.modalities else "series"

    @property
    def area_km2(self) -> float:
        """Of its extent."""
        return self.extent.height * self.extent.width * self.layout.base.gsd**2 / 1e6


@dataclass(frozen=True)
class Corpus:
    """The scenes of a run in a fixed order, and the report on how they were found."""

    entries: tuple[Entry, ...]
    found: Found


def find_corpus(
    data: Sequence[str | Path | Mapping[str, Any]],
    *,
    root: Path | None = None,
    sources: Mapping[str, Source] | None = None,
    leave_out: Collection[str] = (),
    progress: Callable[[str], None] = lambda text: None,
) -> Corpus:
    """Find and open the scenes of a pretraining; reads headers and nothing else.

    Args:
        data: folders that are searched at any depth (hidden ones are not), scene files, or scenes as JSON.
        root: folder that relative paths of `data`, also those within scenes given as JSON, start from; None =
            the current one.
        sources: if given, only scenes that it names under an allowed licence are used (and synthetic ones, which
            this program made). See `skysense.pretrain.sources`.
        leave_out: names of scenes, or places of `sources`, that are not used.
        progress: told each scene's place before it is opened; may raise to stop.

    Raises:
        InputError: a path does not exist, a name in `leave_out` is nowhere, or no scene can be used.
    """
    root = (root or Path.cwd()).absolute()
    entries: list[Entry] = []
    skipped: list[Omitted] = []
    left_out: list[Omitted] = []
    matched: set[str] = set()
    taken: set[str] = set()
    for where, content, folder in _scenes(data, root):
        progress(where)
        try:
            scene = _parse(content, folder)
            reasons = _why_not(scene, sources, leave_out, matched)
            if reasons:
                left_out.append(Omitted(scene.name, reasons))
                continue
            name = scene.name if scene.name not in taken else f"{scene.name} ({where})"
            scene, broken = _drop_broken(scene)
            skipped += [Omitted(f"{name}, {item.path.name}", reason) for item, reason in broken]
            if not scene.acquisitions and broken:
                raise InputError("none of its images can be used")
            entries.append(_entry(name, scene))
            taken.add(name)
        except InputError as error:
            skipped.append(Omitted(where, error.what))
    unknown = sorted(set(leave_out) - matched)
    if unknown:
        raise InputError(
            f"no scene or place is named {', '.join(unknown)}",
            "leave_out",
            "Check the names; nothing was left out for them",
        )
    found = summarise(entries, tuple(skipped), tuple(left_out))
    if not entries:
        raise InputError(
            "has no imagery to learn from: looked for scene.json files at any depth"
            + (f"; {found.omissions}" if skipped or left_out else " and found none"),
            ", ".join(
                str(item) if not isinstance(item, Mapping) else "a scene given as JSON" for item in data
            )
            or "data",
            "Give a folder of scenes, each with a scene.json, or a scene",
        )
    return Corpus(tuple(entries), found)


def _scenes(data: Sequence[str | Path | Mapping[str, Any]], root: Path) -> Iterator[tuple[str, Any, Path]]:
    """Where each scene stands, its JSON or its file, and the folder that its paths start from; each file once."""
    seen: set[Path] = set()
    for number, item in enumerate(data, start=1):
        if isinstance(item, Mapping):
            yield f"scene {number} of the data", dict(item), root
            continue
        start = root / item
        if not start.exists():
            raise InputError("there is no such folder or scene file", str(item), "Check the path")
        for file in [start] if start.is_file() else _below(start):
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield str(file), file, file.parent


def _below(folder: Path) -> Iterator[Path]:
    """Scene files below a folder, in the order of their paths, also behind links."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to where it has been, perhaps to a folder above itself
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "scene.json" in files:
            yield Path(place) / "scene.json"


def _parse(content: Any, folder: Path) -> Scene:
    if isinstance(content, Path):
        try:
            content = json.loads(content.read_bytes())
        except (OSError, ValueError, RecursionError) as error:  # the last: brackets in brackets without end
            raise InputError(f"cannot be read as a scene file ({error})") from None
    return parse_scene(content, folder)


def _why_not(
    scene: Scene, sources: Mapping[str, Source] | None, leave_out: Collection[str], matched: set[str]
) -> str:
    """Why a scene is left out on purpose, "" if it is not; adds the names of `leave_out` that it answers to."""
    source = (sources or {}).get(scene.name)
    names = {scene.name, *([source.place] if source else [])} & set(leave_out)
    matched |= names
    if names:
        return "left out by name"
    if sources is None or scene.extra.get("synthetic") is True:
        return ""
    if source is None:
        return "not in the list of sources"
    return "" if source.allowed else f"licence {source.licence}"


def files_of(item: Acquisition) -> set[Path]:
    """Every file that an acquisition is read from."""
    files = {band.path for band in item.bands.values()} or {item.path}
    return files | ({item.mask} if item.mask is not None else set())


def without_file(scene: Scene, path: Path) -> Scene:
    """The scene without the acquisitions that are read from a file."""
    return replace(
        scene, acquisitions=tuple(item for item in scene.acquisitions if path not in files_of(item))
    )


def _drop_broken(scene: Scene) -> tuple[Scene, list[tuple[Acquisition, str]]]:
    """The scene with those of its images that open, and the others with the reason."""
    whole: list[Acquisition] = []
    broken: list[tuple[Acquisition, str]] = []
    for item in scene.acquisitions:
        try:
            for path in sorted(files_of(item)):
                with open_raster(path) as dataset:
                    grid_of(dataset, path)
            if not item.bands.keys() & set(SENSORS[item.modality].bands):
                raise InputError("which band is which is not known")
            whole.append(item)
        except InputError as error:
            broken.append((item, error.what))
    return replace(scene, acquisitions=tuple(whole)), broken


def _entry(name: str, scene: Scene) -> Entry:
    layout = plan_layout(scene)
    factor = max(layout.hr_factor, 1)
    row, col = layout.area.row // factor, layout.area.col // factor
    bottom, right = layout.area.row + layout.area.height, layout.area.col + layout.area.width
    extent = Window(row, col, -(-bottom // factor) - row, -(-right // factor) - col)
    centre = place_of(layout, extent)
    return Entry(
        name, scene, layout, extent, centre, region_id(*centre), scene.extra.get("synthetic") is True
    )


def place_of(layout: Layout, window: Window) -> tuple[float, float]:
    """(lon, lat) of the centre of a window of the base lattice.

    Raises:
        InputError: it is not on the Earth.
    """
    x, y = layout.base.grid(window).xy(window.width / 2, window.height / 2)
    lon, lat = transformer(layout.base.crs, "EPSG:4326").transform(x, y)
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise InputError("lies off the Earth", None, "Check its coordinate system")
    return float(lon), float(lat)
