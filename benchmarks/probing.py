"""Frozen features on the labelled scenes, as `skysense probe` scores them, and tables that can be filled bit by bit."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hardware import RESULTS, hardware
from skysense.aside import write_aside
from skysense.finetune.probe import probe_scene
from skysense.jobs.control import JobControl
from skysense.model.skysense import SkySense
from skysense.scene.scenefile import load_scene

#: Linear and kNN mIoU by scene.
Scores = dict[str, dict[str, float]]


def labelled_scenes(data: Path) -> list[Path]:
    """The scenes with labels and truth."""
    return [path.parent for path in sorted((data / "scenes").glob("*/truth.tif"))]


def probe_all(model: SkySense, scenes: list[Path], seed: int = 0) -> Scores:
    """Scores of a model in evaluation mode on every scene."""
    return probe_each(dict.fromkeys(scenes, model), seed)


def probe_each(models: dict[Path, SkySense], seed: int = 0) -> Scores:
    """Scores of each scene's own model on it."""
    found: Scores = {}
    for path, model in models.items():
        scene = load_scene(path)
        assert scene.labels is not None
        result = probe_scene(scene, scene.labels, model, JobControl(lambda event: None), seed=seed)
        found[path.name] = {"linear": result["linear"]["miou"], "knn": result["knn"]["miou"]}
        print(f"  {path.name}: {found[path.name]}", flush=True)
    return found


class Table:
    """Results by row and seed, on the disk after each: an interrupted benchmark goes on where it was."""

    def __init__(self, name: str, about: dict[str, Any]) -> None:
        RESULTS.mkdir(exist_ok=True)
        self.path = RESULTS / f"{name}-{hardware()}.json"
        old = json.loads(self.path.read_text()) if self.path.exists() else {}
        rows = old.get("rows", {}) if old.get("about") == about else {}
        self._content: dict[str, Any] = {"hardware": hardware(), "about": about, "rows": rows}

    def fill(self, row: str, seed: int, scores: Callable[[], Scores]) -> None:
        """Compute what is missing."""
        cells = self._content["rows"].setdefault(row, {})
        if str(seed) not in cells:
            print(f"{row}, seed {seed}", flush=True)
            cells[str(seed)] = scores()
            write_aside(self.path, (json.dumps(self._content, indent=1) + "\n").encode())

    def means(self, row: str, kind: str) -> dict[str, float]:
        """Mean mIoU over scenes, by seed."""
        return {
            seed: mean(scene[kind] for scene in scenes.values())
            for seed, scenes in self._content["rows"].get(row, {}).items()
        }

    def scenes(self, row: str, kind: str) -> dict[str, float]:
        """Mean mIoU over seeds, by scene."""
        cells = list(self._content["rows"].get(row, {}).values())
        return {scene: mean(cell[scene][kind] for cell in cells) for scene in (cells[0] if cells else ())}

    def text(self) -> str:
        """Rows with mean ± sd over seeds of the mean over scenes, and each row's paired gain over the one before."""
        lines, before = [], ""
        for row in self._content["rows"]:
            parts = [f"{row:<28}"]
            for kind in ("linear", "knn"):
                now = self.means(row, kind)
                parts.append(f"{kind} {mean(now.values()):.3f} ± {_sd(list(now.values())):.3f}")
                last = self.means(before, kind) if before else {}
                gains = [now[seed] - last[seed] for seed in now.keys() & last.keys()]
                if len(gains) > 1:
                    error = _sd(gains) / len(gains) ** 0.5
                    word = "helps" if mean(gains) > 2 * error else "no gain shown"
                    parts.append(f"({mean(gains):+.3f} ± {error:.3f} s.e., {word})")
            lines.append("  ".join(parts))
            before = row
        return "\n".join(lines)


def _sd(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
