"""What tests of whole maps compare."""

from pathlib import Path


def same(one: Path, two: Path) -> bool:
    def beside(path: Path) -> Path:
        return path.with_name(f"{path.stem}_confidence.tif")

    return one.read_bytes() == two.read_bytes() and beside(one).read_bytes() == beside(two).read_bytes()


def chunks(out: Path) -> dict[str, int]:
    """Whole chunks on disk and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(f"{out}.parts").glob("*_class.tif")}
