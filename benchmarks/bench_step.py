"""A pretraining step of `huge` on a GPU: its time, its memory, and its share of the matrix product measured in the same run.

The step is the trainer's own: student and EMA teacher, all losses, backward, clipping, AdamW and the teacher's update. Its
windows are random numbers of the paper's kinds (20 Sentinel-2 dates, 10 of Sentinel-1, HR, fused over 16 x 16 pixels), so that
no time goes to reading. The largest batch of a list that the GPU's memory holds is measured. Operations are what the
models need (`pretrain.flops`): what is computed a second time to save memory is not counted.
Run: .venv/bin/python benchmarks/bench_step.py (without a GPU: `tiny`, to see that it runs, and no result file.)
"""

import sys
import time
from typing import Any

import torch
from bench_model import ceiling
from hardware import write_result
from skysense.model.config import ModelConfig
from skysense.model.device import pick_device
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from skysense.pretrain.augment_optical import HrView
from skysense.pretrain.augment_series import SeriesView
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective.geo import with_regions
from skysense.pretrain.trainer import Trainer
from skysense.pretrain.views import Sample, View

HR_PER_BASE = 16
PLACE = (10.0, 50.0)
#: Batches that are tried, the largest first, with all activations kept and with some computed again.
BATCHES = {False: (6, 4, 2, 1), True: (32, 16, 8, 4)}


def random_model(config: ModelConfig, device: torch.device) -> SkySense:
    """Random weights, made on the device: on a CPU those of `huge` take minutes."""
    with device:
        return SkySense(config)


def sample(config: PretrainConfig, seed: int) -> Sample:
    """Two views that show the same place, all pixels valid."""
    random = torch.Generator().manual_seed(seed)
    size = config.crop

    def series(dates: int, bands: int) -> SeriesView:
        day = torch.arange(dates) * (365 // dates)
        return SeriesView(
            torch.randn(dates, bands, size, size, generator=random),
            torch.ones(dates, size, size, dtype=torch.bool),
            day,
            day + 18_000,
        )

    def view() -> View:
        side = size * HR_PER_BASE
        hr = HrView(
            torch.randn(3, side, side, generator=random), torch.ones(side, side, dtype=torch.bool), 180
        )
        to_window = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
        return View(series(config.s2_dates, 10), series(config.s1_dates, 2), hr, to_window)

    return Sample((view(), view()), PLACE, f"random {seed}", HR_PER_BASE)


def measure(preset: str, batch: int, recomputing: bool, device: torch.device) -> dict[str, Any]:
    """Steps of one batch; raises torch.OutOfMemoryError."""
    config = PretrainConfig(
        batch=batch, s2_dates=20, s1_dates=10, structured=False, bfloat16=True, checkpoint_activations=recomputing,
        drop_modality=0.0, geo_prototypes=100, steps=100_000,
    )  # fmt: skip
    torch.manual_seed(0)
    trainer = Trainer(random_model(with_regions(PRESETS[preset], [PLACE], config), device), config, device)
    samples = [sample(config, number) for number in range(batch)]
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds, report = [], None
    for number in range(4):
        begun = time.perf_counter()
        report = trainer.step(number, samples)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    assert report is not None and report.finite
    best = min(seconds[1:])
    row = {
        "preset": preset, "batch": batch, "recomputing": recomputing, "seconds": round(best, 3),
        "tflop": round(report.flops / 1e12, 2), "tflop_per_s": round(report.flops / best / 1e12, 1),
        "share_of_ceiling": round(report.flops / best / BEST[0], 3),
        "memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1) if cuda else None,
    }  # fmt: skip
    print(row, flush=True)
    return row


def main() -> None:
    device = pick_device("auto")
    cuda = device.type == "cuda"
    with torch.inference_mode():
        BEST[0] = ceiling(torch.bfloat16, device)
    rows = []
    for recomputing, batches in BATCHES.items():
        for batch in batches if cuda else (1,):
            try:
                rows.append(measure("huge" if cuda else "tiny", batch, recomputing, device))
                break
            except torch.OutOfMemoryError:
                print(f"batch {batch} does not fit", flush=True)
            finally:
                if cuda:
                    torch.cuda.empty_cache()
    if cuda:
        result = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "ceiling_gflop_per_s": round(BEST[0] / 1e9), "rows": rows}  # fmt: skip
        write_result("step", result, gpu=True)


BEST = [0.0]

if __name__ == "__main__":
    sys.exit(main())
