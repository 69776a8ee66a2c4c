"""VisionTransformer: every variant and shape, every output layer, cls tokens where they are given out."""

from typing import Any

import torch
from skysense.model.vit import VisionTransformer

from parity.arguments import need, one_side, transformer, whole_numbers
from parity.compare import Comparison
from parity.fixture import Case
from parity.loading import ready
from parity.naming import image_inputs, output_numbers

TOLERANCE = {"float64": 3e-6, "float32": 5e-5}
PATHS = ("plain", "fast")


def vit_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Our constructor's arguments from the official ones."""
    ours = transformer(
        config, "final_norm", "img_size", "in_channels", "interpolate_mode", "out_indices", "patch_size"
    )
    need(ours, "in_channels")
    if "img_size" in ours:
        ours["img_size"] = whole_numbers(ours["img_size"], "img_size", 2)
    if "patch_size" in ours:
        ours["patch_size"] = one_side(ours["patch_size"], "patch_size")
    return ours


def check(case: Case, comparison: Comparison, dtype: torch.dtype, fast: bool) -> None:
    """Run a case; names: `in_{H}x{W}`, `out_` and `cls_{H}x{W}[_{variant}]_l{i}`."""
    weights = case.weights()
    for variant, changes in case.variants.items():
        model = VisionTransformer(**vit_arguments(case.config | changes))
        unused = "mask_token$" if model.ln1 is not None else r"ln1\.|mask_token$"
        model = ready(model, weights, dtype, fast, unused=unused)
        for suffix in image_inputs(case, comparison):
            run = f"{suffix}{variant}_l"
            numbers = output_numbers(comparison, f"out{run}", sorted(model.out_indices))
            for number, output in zip(numbers, model(comparison.input(f"in{suffix}")), strict=True):
                patch_map, cls = output if isinstance(output, tuple) else (output, None)
                comparison.close(f"out{run}{number}", patch_map)
                if cls is not None:
                    comparison.close(f"cls{run}{number}", cls)
