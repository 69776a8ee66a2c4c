"""How good frozen features are on the labelled scenes: random weights of the same size, the built-in model, the forest.

With `--left-out FOLDER` (of `make pretrain-left-out`) also the built-in model's twins, each on the scenes of the place that it
has not seen. QUICK=1 runs one seed of random weights. An interrupted run goes on where it was.
Run: .venv/bin/python benchmarks/bench_probe.py [FOLDER OF DATA] [--left-out FOLDER] [--also NAME=BACKBONE ...]
"""

import argparse
import os
from pathlib import Path

import torch
from bench_quality import forest_scores
from probing import Scores, Table, labelled_scenes, probe_all, probe_each
from skysense.model.backbone import Backbone, default_backbone, open_backbone
from skysense.model.device import pick_device
from skysense.model.folder import built_in_model
from skysense.model.modelfile import read_header
from skysense.model.presets import seeded_model
from skysense.pretrain.sources import read_sources

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "resources" / "pretrain" / "sources.json"
SEEDS = range(1 if os.environ.get("QUICK") else 5)


def twins(folder: Path, scenes: list[Path]) -> Scores:
    """Scores of each scene by the model that was made as the built-in one, but without the scene's place."""
    built_in, sources, files = built_in_model(), read_sources(SOURCES), {}
    assert built_in is not None
    settings = read_header(built_in)["source"]["training"]["config"]
    for scene in scenes:
        files[scene] = folder / f"without-{sources[scene.name].place}" / "model.safetensors"
        training = read_header(files[scene])["source"]["training"]
        if training["config"] != settings or scene.name in {source["name"] for source in training["sources"]}:
            raise SystemExit(f"{files[scene]} is not the built-in model without {scene.name}")
    cpu = torch.device("cpu")
    return probe_each({scene: open_backbone(file, cpu).model for scene, file in files.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=ROOT.parent / "shared" / "data")
    parser.add_argument("--left-out", type=Path, help="has without-PLACE/model.safetensors")
    parser.add_argument("--also", nargs="+", default=[], metavar="NAME=BACKBONE")
    args = parser.parse_args()
    data = args.data.resolve()
    scenes = labelled_scenes(data) if (data / "scenes").is_dir() else []
    if not scenes:
        print(f"No labelled scenes at {data}: features are not scored.")
        return
    device = pick_device("cpu")
    table = Table("probe", {"scenes": [scene.name for scene in scenes]})
    for seed in SEEDS:
        table.fill("random weights", seed, lambda seed=seed: probe_all(seeded_model("tiny", seed), scenes))  # type: ignore[misc]
    rows = ["random weights"]

    def score(name: str, backbone: Backbone) -> None:
        rows.append(f"{name} {backbone.sha256[:8]}")
        table.fill(rows[-1], 0, lambda: probe_all(backbone.model, scenes))

    built_in = default_backbone(device)
    score("built-in", built_in)
    left_out = f"place left out of {built_in.sha256[:8]}"
    if args.left_out is not None:
        table.fill(left_out, 0, lambda: twins(args.left_out, scenes))
    if table.scenes(left_out, "linear"):
        rows.append(left_out)
    for item in args.also:
        name, _, path = item.partition("=")
        score(name, open_backbone(Path(path), device))
    forest = {scene.name: forest_scores(data, scene.name)["0"] for scene in scenes}
    print(table.text())
    print(f"{'linear mIoU':<28}" + "".join(f"{row:>28}" for row in rows) + f"{'forest':>28}")
    for scene in scenes:
        values = [table.scenes(row, "linear")[scene.name] for row in rows]
        print(f"{scene.name:<28}" + "".join(f"{value:>28.3f}" for value in (*values, forest[scene.name])))


if __name__ == "__main__":
    main()
