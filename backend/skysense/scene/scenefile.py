"""Scene files (contract C3): reading, completing from the images themselves, and writing."""

import datetime
import json
import math
import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast, get_args

from skysense.errors import InputError
from skysense.scene.acquisition import Acquisition, BandRef, Labels, Scene, Units
from skysense.scene.archives import archive_of, gdal_name
from skysense.scene.bands import canonical_band
from skysense.scene.remote import address, exists, is_remote
from skysense.scene.sensors import SENSORS, Modality

VERSION = 1

#: Keys of a row that this version knows; the rest is kept in `extra`.
_ACQUISITION_KEYS = frozenset(item.name for item in fields(Acquisition)) - {"extra", "assumed"}


def load_scene(path: Path) -> Scene:
    """Read a scene file; what it leaves out (dates, bands, units) is found out from the images.

    Args:
        path: `scene.json`, or the folder that holds it.

    Raises:
        InputError: no such file, not JSON, not a scene of this version, or a row that is wrong.
    """
    path = Path(path)
    file = path / "scene.json" if path.is_dir() else path
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError("there is no such scene file", str(file), "Check the path") from None
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", str(file), "Check the file's permissions"
        ) from None
    except (ValueError, RecursionError) as error:  # wrong JSON, not UTF-8, or brackets without end
        raise InputError(
            f"is not a scene file: its text is not valid JSON ({error})",
            str(file),
            "Correct it or save the scene again",
        ) from None
    scene = parse_scene(data, file.absolute().parent)
    for number, item in enumerate(scene.acquisitions, start=1):
        _check_files(item, row_name(number, item.path))
    return scene


def parse_scene(obj: Any, root: Path) -> Scene:
    """Build a scene from its JSON and complete it from those of its files that can be read.

    A file that is missing or broken is no error here (see `skysense.scene.validate`).

    Args:
        obj: the decoded JSON.
        root: folder that relative paths start from.

    Raises:
        InputError: the JSON is no scene, quoting what was written.
    """
    if not isinstance(obj, dict):
        raise InputError(
            f"a scene is an object {{…}}, not {_quote(obj)}", "scene file", "See the scene format"
        )
    version = obj.get("version", VERSION)
    if isinstance(version, bool) or version != VERSION:
        raise InputError(
            f'has "version" {_quote(version)}, this program reads version {VERSION}',
            "scene file",
            "Update SkySense" if isinstance(version, int) and version > VERSION else 'Write "version": 1',
        )
    rows = obj.get("acquisitions")
    if not isinstance(rows, list):
        raise InputError(
            'has no list of "acquisitions"', "scene file", 'Add "acquisitions": [{"modality": …}]'
        )
    root = Path(root).absolute()
    known = ("version", "name", "acquisitions", "labels")
    return Scene(
        name=str(obj.get("name") or root.name),
        acquisitions=tuple(
            _complete(*_acquisition(row, number, root)) for number, row in enumerate(rows, start=1)
        ),
        labels=_labels(obj.get("labels"), root),
        root=root,
        extra={key: value for key, value in obj.items() if key not in known},
    )


def with_absolute_paths(obj: dict[str, Any], root: Path) -> dict[str, Any]:
    """A scene's JSON whose images, masks and labels are found from anywhere; what is no scene stays as it is.

    Args:
        root: folder that relative paths start from.
    """

    def rooted(row: Any, *keys: str) -> Any:
        if not isinstance(row, dict):
            return row
        return {
            **row,
            **{k: str(_path(row[k], root)) for k in keys if isinstance(row.get(k), str) and row[k]},
        }

    found = dict(obj)
    if isinstance(obj.get("acquisitions"), list):
        found["acquisitions"] = [rooted(row, "path", "mask") for row in obj["acquisitions"]]
    if "labels" in obj:
        found["labels"] = rooted(obj["labels"], "path")
    return found


def scene_to_json(scene: Scene, relative_to: Path | None) -> dict[str, Any]:
    """The scene as JSON (C3), unknown keys included.

    Args:
        relative_to: folder of the scene file to be written: paths become relative to it, with "/".
            None = absolute paths.
    """
    base = Path(relative_to).absolute() if relative_to is not None else None
    data: dict[str, Any] = {"version": VERSION, "name": scene.name, "acquisitions": []}
    for item in scene.acquisitions:
        row: dict[str, Any] = {
            "modality": item.modality,
            "path": _path_text(item.path, base),
            "date": item.date.isoformat() if item.date else None,
            "bands": {name: _band_value(item.path, band) for name, band in item.bands.items()},
        }
        for key in ("units", "scale", "offset", "orbit", "level", "alpha"):
            if getattr(item, key) is not None:
                row[key] = getattr(item, key)
        if item.nodata is not None:
            row["nodata"] = item.nodata if math.isfinite(item.nodata) else str(item.nodata)
        if item.mask is not None:
            row["mask"] = _path_text(item.mask, base)
        data["acquisitions"].append({**row, **item.extra})
    if scene.labels is not None:
        labels = {"path": _path_text(scene.labels.path, base), "field": scene.labels.field}
        if scene.labels.layer is not None:
            labels["layer"] = scene.labels.layer
        data["labels"] = {**labels, **scene.labels.extra}
    return {**data, **scene.extra}


def row_name(number: int, path: Path) -> str:
    """How messages name a row of the scene: 'row 3 (S2_x.tif)'."""
    return f"row {number} ({path.name})"


def _acquisition(row: Any, number: int, root: Path) -> tuple[Acquisition, set[str]]:
    """One row, and the keys that it states (a stated null is an answer: unknown)."""
    if not isinstance(row, dict):
        raise InputError(
            f"an image is an object {{…}}, not {_quote(row)}", f"row {number}", "Correct the scene file"
        )
    text = row.get("path")
    if not isinstance(text, str) or not text.strip():
        raise InputError('has no "path"', f"row {number}", "Write the path of its image")
    path = _path(text, root)
    where = row_name(number, path)
    modality = row.get("modality")
    if not isinstance(modality, str) or modality not in SENSORS:
        raise InputError(
            f"the modality {_quote(modality)} is not known" if modality is not None else 'has no "modality"',
            where,
            f"Write one of {', '.join(SENSORS)}",
        )
    alpha = row.get("alpha")
    if alpha is not None and (not isinstance(alpha, int) or isinstance(alpha, bool) or alpha < 1):
        raise InputError(
            f"the alpha band {_quote(alpha)} is not a band number", where, "Write a number from 1"
        )
    mask = row.get("mask")
    if mask is not None and not isinstance(mask, str):
        raise InputError(
            f"the mask {_quote(mask)} is not a path", where, "Write the path of the mask's raster"
        )
    item = Acquisition(
        modality=modality,
        path=path,
        date=_date(row.get("date"), where),
        bands=_bands(row.get("bands"), modality, path, where),
        units=_units(row.get("units"), modality, where),
        scale=_number(row, "scale", where),
        offset=_number(row, "offset", where),
        nodata=_number(row, "nodata", where),
        mask=_path(mask, root) if mask else None,
        orbit=_text(row, "orbit", where),
        level=_text(row, "level", where),
        alpha=alpha,
        extra={key: value for key, value in row.items() if key not in _ACQUISITION_KEYS},
    )
    return item, set(row)


def _complete(item: Acquisition, stated: set[str]) -> Acquisition:
    """Fill what the row leaves out from the image, as far as that can be known."""
    from skysense.scene.describe import describe

    if not exists(item.path):
        return item
    found = describe(item.path, item.modality)
    bands = item.bands
    if not bands:
        bands = {name: _band_ref(item.path, value) for name, value in found.bands.items()}
    declared = (
        not {"scale", "offset", "units"} & stated
    )  # these three are one statement: never mix two sources
    return replace(
        item,
        bands=bands,
        date=item.date if "date" in stated else found.date,
        units=item.units if "units" in stated else found.units,
        scale=found.scale if declared else item.scale,
        offset=found.offset if declared else item.offset,
        nodata=item.nodata if "nodata" in stated else found.nodata,
        alpha=item.alpha if "alpha" in stated else found.alpha,
        orbit=item.orbit if "orbit" in stated else found.orbit,
        level=item.level if "level" in stated else found.level,
        mask=_path(found.mask, item.path) if found.mask and "mask" not in stated else item.mask,
        assumed=found.assumed if not item.bands else (),
    )


def _check_files(item: Acquisition, where: str) -> None:
    from skysense.scene.header import band_count

    if not exists(item.path):
        raise InputError(f"there is no such file: {item.path}", where, "Correct the path or remove the row")
    if item.mask is not None and not exists(item.mask):
        raise InputError(f"there is no such mask: {item.mask}", where, "Correct the path or remove the mask")
    for name, band in item.bands.items():
        if not exists(band.path):
            raise InputError(f"the file of band {name} is missing: {band.path}", where, "Correct the path")
        count = band_count(band.path)
        if count is not None and band.index > count:
            bands = "1 band" if count == 1 else f"{count} bands"
            raise InputError(
                f"band {name} is given as number {band.index}, but {band.path.name} has {bands}",
                where,
                "Correct the band number",
            )


def _date(value: Any, where: str) -> datetime.date | None:
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else ""
    if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])", text):
        try:
            return datetime.date.fromisoformat(text[:10])
        except ValueError:
            pass
    raise InputError(f"the date {_quote(value)} cannot be read", where, "Write it as YYYY-MM-DD")


def _bands(value: Any, modality: Modality, path: Path, where: str) -> dict[str, BandRef]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f'"bands" is {_quote(value)}', where, 'Write it as {"name": number, …}')
    bands: dict[str, BandRef] = {}
    for text, source in value.items():
        name = canonical_band(text, modality) or text
        if name in bands:
            raise InputError(f"band {name} is given twice", where, "Keep one of them")
        if (
            isinstance(source, bool)
            or not isinstance(source, int | str)
            or (isinstance(source, int) and source < 1)
        ):
            raise InputError(
                f"band {text} is {_quote(source)}", where, "Write a band number from 1, or the band's file"
            )
        bands[name] = _band_ref(path, source)
    return bands


def _band_ref(path: Path, value: int | str) -> BandRef:
    """A band as the scene file states it: a number in `path`, or "file", "file:number" beside or below it."""
    if isinstance(value, int):
        return BandRef(path, value)
    name, colon, number = value.rpartition(":")
    if not (colon and name and number.isdecimal() and int(number) > 0):
        name, number = value, "1"
    return BandRef(_path(name, path if path.is_dir() else path.parent), int(number))


def _band_value(path: Path, band: BandRef) -> int | str:
    if band.path == path:
        return band.index
    text = _path_text(band.path, path if path.is_dir() else path.parent)
    return text if band.index == 1 else f"{text}:{band.index}"


def _labels(value: Any, root: Path) -> Labels | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        raise InputError('"labels" has no "path"', "scene file", 'Write {"path": …, "field": …}')
    field, layer = value.get("field"), value.get("layer")
    if not isinstance(field, str) or not field:
        raise InputError('"labels" has no "field"', "scene file", "Name the field that holds the class")
    if layer is not None and not isinstance(layer, str):
        raise InputError(
            f'the "layer" of the labels is {_quote(layer)}', "scene file", "Write the layer's name"
        )
    extra = {key: item for key, item in value.items() if key not in ("path", "field", "layer")}
    return Labels(_path(value["path"], root), field, layer, extra)


def _units(value: Any, modality: Modality, where: str) -> Units | None:
    if value is None:
        return None
    if value not in get_args(Units):
        units = ", ".join(get_args(Units))
        raise InputError(f"the units {_quote(value)} are not known", where, f"Write one of {units}")
    # Backscatter in "dn" has a message of its own, on how to calibrate it.
    own = ("db", "linear") if modality == "s1" else ("dn", "reflectance")
    if value not in own and value != "dn":
        raise InputError(
            f"{SENSORS[modality].title} does not come in the units {_quote(value)}",
            where,
            f"Write {' or '.join(own)}, or leave the units out",
        )
    return cast(Units, value)


def _number(row: dict[str, Any], key: str, where: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        return math.nan if math.isnan(float(value)) else float(value)  # one NaN, so that rows compare equal
    except (TypeError, ValueError):
        raise InputError(f"the {key} {_quote(value)} is not a number", where, "Write a number") from None


def _text(row: dict[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f"the {key} {_quote(value)} is not text", where, "Write it in quotes")
    return value or None


def _path(text: str, root: Path) -> Path:
    path = Path(text)
    return path if is_remote(path) or archive_of(path) else root / path


def _path_text(path: Path, base: Path | None) -> str:
    if is_remote(path):
        return address(path)
    if archive_of(path):
        return gdal_name(path)
    if base is None:
        return str(path)
    try:
        return Path(os.path.relpath(path, base)).as_posix()
    except ValueError:  # another drive on Windows
        return path.as_posix()


def _quote(value: Any) -> str:
    """What the user wrote, short enough for one line."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…" + text[-1]
