"""Writes the card of the built-in model, resources/models/skysense-tiny.md, from the file's own header and recorded scores.

Run after `make pretrain-tiny` and `benchmarks/bench_probe.py`: .venv/bin/python tools/model_card.py [PROBE RESULT.json]
"""

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from skysense.model.backbone import BUILT_IN_WEAK
from skysense.model.modelfile import read_header
from skysense.scene.sensors import SENSORS

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "resources" / "models" / "skysense-tiny.safetensors"
RESULTS = ROOT / "benchmarks" / "results"


def card(header: dict[str, Any], size: int, probe: dict[str, Any] | None) -> str:
    """The card as Markdown."""
    entry, training = header["backbone"], header["source"]["training"]
    settings = training["config"]
    lines = [
        "# skysense-tiny, the built-in model",
        "",
        f"SkySense in the size `{entry['preset']}`: {size / 1e6:.1f} MB of float16 weights, {entry['weights']}. "
        f"{header['licence']['terms']}",
        "",
        "## How it was made",
        "",
        f"`make pretrain-tiny` with this project's own code: {training['steps']} steps of {settings['batch']} windows, "
        f"{training['seconds'] / 3600:.1f} hours on {training['processes']} process ({training['device']}), learning rate "
        f"{settings['lr']:g}. It began with the values of `seasons.py` and `scales.py` in `backend/skysense/pretrain`, not with the specification's; "
        "most of what its features are good for was there before the first step.",
        "",
        training["found"],
        "",
        "## What it is worth",
        "",
        *_scores(entry["sha256"], probe),
        "",
        "## Limits",
        "",
        "- It saw a few dozen places, most of them in Europe, and few high-resolution images. Judge its maps on your own labels.",
        *(
            f"- {SENSORS[modality].title}: maps of the labelled scenes are better without its features, and training does without them."
            for modality in BUILT_IN_WEAK
        ),
        "- Geo-context is switched off in it (no prototypes)." if entry["config"]["geo"] is None else "",
        "- It is a small model for a laptop; the released weights are a hundred times as large.",
        "",
        "## Imagery",
        "",
        "| scene | origin | licence | attribution |",
        "|---|---|---|---|",
        *(
            f"| {source['name']} | {source['origin']} | {source['licence']} | {source['attribution']} |"
            for source in training["sources"]
        ),
        "",
        f"SHA-256 of the tensors: `{entry['sha256']}`",
        "",
    ]
    return "\n".join(lines)


def _scores(sha256: str, probe: dict[str, Any] | None) -> list[str]:
    rows = {} if probe is None else probe["rows"]
    if probe is None or f"built-in {sha256[:8]}" not in rows:
        return ["Not scored yet."]
    random, own = list(rows["random weights"].values()), rows[f"built-in {sha256[:8]}"]["0"]
    twins = rows.get(f"place left out of {sha256[:8]}", {}).get("0")
    lines = [
        f"`skysense probe` on frozen features alone, mIoU; random weights as in the specification, {len(random)} seeds. "
        "These scenes' imagery, without its labels, was among what the model learned from. "
        + (
            "The honest number is that of the twins: made in the same way, each without the place that it is scored on."
            if twins
            else "Scores with each place left out are still to be measured."
        ),
        "",
        "| scene | random, linear | built-in, linear | twin, linear | random, kNN | built-in, kNN | twin, kNN |",
        "|---|---|---|---|---|---|---|",
    ]
    for scene in (*own, "mean"):
        cells = []
        for kind in ("linear", "knn"):
            seeds = [_value(cell, scene, kind) for cell in random]
            spread = f" ± {stdev(seeds):.3f}" if len(seeds) > 1 else ""
            cells += [f"{mean(seeds):.3f}{spread}", f"{_value(own, scene, kind):.3f}"]
            cells.append(f"{_value(twins, scene, kind):.3f}" if twins else "")
        lines.append(f"| {scene} | {' | '.join(cells)} |")
    return [*lines, "", f"Hardware of the scores: {probe['hardware']}."]


def _value(cell: dict[str, Any], scene: str, kind: str) -> float:
    return mean(item[kind] for item in cell.values()) if scene == "mean" else float(cell[scene][kind])


def main() -> None:
    recorded = [Path(sys.argv[1])] if len(sys.argv) > 1 else sorted(RESULTS.glob("probe-*.json"))
    probe = json.loads(recorded[-1].read_text()) if recorded else None
    MODEL.with_suffix(".md").write_text(card(read_header(MODEL), MODEL.stat().st_size, probe))
    print(MODEL.with_suffix(".md"))


if __name__ == "__main__":
    main()
