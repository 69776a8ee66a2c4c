"""`make package`: the plugin's zip under dist/, and the checks that the QGIS plugin repository makes on upload.

Standard library only. The zip has one folder, `skysense_qgis`, with the plugin, `metadata.txt`, `LICENSE`, the backend
and the resources inside. Only files that git knows go in; the bytes are a function of their content.
"""

import argparse
import configparser
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = "skysense_qgis"
#: Source path -> place in the plugin's folder. In the repository the last three are links in `skysense_qgis/`.
PLACES = {
    PLUGIN: "",
    "metadata.txt": "metadata.txt",
    "LICENSE": "LICENSE",
    "resources": "resources",
    "backend": "backend",
}

LARGEST = 25_000_000
REQUIRED = (
    "name", "description", "version", "qgisMinimumVersion", "author", "email", "about", "tracker", "repository",
)  # fmt: skip
REFUSED_SUFFIXES = {".pyc", ".so", ".dll", ".dylib", ".exe", ".bat", ".cmd", ".sh", ".ps1"}
REFUSED_FOLDERS = {"__pycache__", "__MACOSX", ".git", "tests", ".venv"}
_TIME = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    """Build, check, print the path; 1 and the reasons if the repository would refuse the zip."""
    parser = argparse.ArgumentParser(description="Build the plugin's zip.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the zip")
    folder = parser.parse_args().out
    metadata = read_metadata((ROOT / "metadata.txt").read_text(encoding="utf-8"))
    path = folder / f"{PLUGIN}-{metadata.get('version', '0')}.zip"
    build(path)
    problems = check(path)
    for problem in problems:
        print(f"{path.name}: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    return 0


def build(path: Path) -> None:
    """Write the zip: sorted names, one time, the same bytes for the same files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for place, source in sorted(members()):
            entry = zipfile.ZipInfo(f"{PLUGIN}/{place}", _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, source.read_bytes())


def members() -> Iterator[tuple[str, Path]]:
    """(place in the plugin's folder, file) of everything that goes in."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PLACES],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        # Links in the plugin's folder stand for files that come from their own place; a deleted file is still listed.
        if source.is_symlink() or not source.is_file():
            continue
        top = next(top for top in PLACES if name == top or name.startswith(f"{top}/"))
        rest = name[len(top) :].lstrip("/")
        yield str(PurePosixPath(PLACES[top]) / rest) if rest else PLACES[top], source


def read_metadata(text: str) -> dict[str, str]:
    """The section [general] of a metadata.txt."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read_string(text)
    return dict(parser["general"])


def check(path: Path) -> list[str]:
    """What the plugin repository would refuse, each as a sentence; empty = nothing."""
    problems = []
    size = path.stat().st_size
    if size > LARGEST:
        problems.append(f"{size} bytes are more than the {LARGEST} that are allowed")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        tops = {name.split("/")[0] for name in names}
        if tops != {PLUGIN} or not PLUGIN.isidentifier():
            problems.append(f"must hold the one folder {PLUGIN}, holds {sorted(tops)}")
        for entry in archive.infolist():
            place = PurePosixPath(entry.filename)
            if "\\" in entry.filename or ".." in place.parts or place.is_absolute():
                problems.append(f"{entry.filename} is no plain path")
            if place.suffix in REFUSED_SUFFIXES or REFUSED_FOLDERS & set(place.parts[:-1]):
                problems.append(f"{entry.filename} must not be in it")
            if entry.external_attr >> 16 & 0o170000 == 0o120000:
                problems.append(f"{entry.filename} is a link")
        needed = (
            "__init__.py",
            "metadata.txt",
            "LICENSE",
            "backend/pyproject.toml",
            "backend/skysense/__init__.py",
            "resources/models/skysense-tiny.safetensors",
        )
        problems += [f"{name} is missing" for name in needed if f"{PLUGIN}/{name}" not in names]
        if f"{PLUGIN}/metadata.txt" in names:
            metadata = read_metadata(archive.read(f"{PLUGIN}/metadata.txt").decode("utf-8"))
            problems += check_metadata(metadata)
            icon = metadata.get("icon", "")
            if icon and f"{PLUGIN}/{icon}" not in names:
                problems.append(f"the icon {icon} is missing")
    return problems


def check_metadata(metadata: dict[str, str]) -> list[str]:
    """What the plugin repository would refuse in a metadata.txt, each as a sentence."""
    problems = [f"metadata.txt has no {key}" for key in REQUIRED if not metadata.get(key, "").strip()]
    parts = metadata.get("version", "").split(".")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        problems.append("metadata.txt must give the version as X.Y.Z: versions are compared as text")
    if "plugin" in metadata.get("name", "").lower():
        problems.append('metadata.txt has the word "plugin" in the name')
    if "/" in metadata.get("author", ""):
        problems.append('metadata.txt has a "/" in the author')
    if "supportsQt6" in metadata:
        problems.append("metadata.txt has supportsQt6, which is no longer used: qgisMaximumVersion tells it")
    return problems


if __name__ == "__main__":
    sys.exit(main())
