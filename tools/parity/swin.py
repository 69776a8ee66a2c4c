"""SwinTransformerV2: every shape, with and without padding of small maps, every output stage."""

import re
from typing import Any

import torch
from skysense.model.swin_v2 import SwinTransformerV2

from parity.arguments import need, norm_eps, one_side, take_known, whole_numbers
from parity.compare import Comparison
from parity.fixture import Case, FixtureError
from parity.loading import ready
from parity.naming import image_inputs, output_numbers

#: Cosine attention with a scale of 100 is ill-conditioned: the official code itself moves by 1.6e-3 in float32.
TOLERANCE = {"float64": 3e-5, "float32": 5e-3}
PATHS = ("plain", "fast")

_KNOWN = {
    "arch",
    "drop_path_rate",
    "img_size",
    "in_channels",
    "interpolate_mode",
    "norm_cfg",
    "out_indices",
    "pad_small_map",
    "patch_size",
    "pretrained_window_sizes",
    "window_size",
}
_ARCH = {"embed_dims", "depths", "num_heads", "extra_norm_every_n_blocks"}


def swin_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Our constructor's arguments from the official ones."""
    known = take_known(config, _KNOWN)
    need(known, "arch")
    arch = known.pop("arch")
    if not isinstance(arch, dict):
        raise FixtureError(f"does not know arch = {arch!r}")
    ours = take_known(arch, _ARCH)
    need(ours, "embed_dims", "depths", "num_heads")
    ours.setdefault("extra_norm_every_n_blocks", 0)
    # Positions are relative, so neither an image size nor how to resize positions changes anything.
    known.pop("img_size", None)
    known.pop("interpolate_mode", None)
    if norm_eps(known.pop("norm_cfg", {})) != 1e-5:
        raise FixtureError(f"does not know norm_cfg = {config['norm_cfg']!r}")
    if any(known.pop("pretrained_window_sizes", ())):
        raise FixtureError(f"does not know pretrained_window_sizes = {config['pretrained_window_sizes']!r}")
    if "window_size" in known:
        known["window_size"] = whole_numbers(known["window_size"], "window_size", len(ours["depths"]))
    if "patch_size" in known:
        known["patch_size"] = one_side(known["patch_size"], "patch_size")
    known["out_indices"] = sorted(known.get("out_indices", (3,)))
    return ours | known


def check(case: Case, comparison: Comparison, dtype: torch.dtype, fast: bool) -> None:
    """Run a case.

    Names: `in_{H}x{W}`, `out_{H}x{W}[_{variant}]_pad{0|1}_s{stage}`, `raises_{H}x{W}[_{variant}]_pad{0|1}`. A variant's
    own `pad_small_map` counts before the case's; as it is then alone, names may leave the `_pad{0|1}` out.
    """
    weights = case.weights()
    for variant, changes in case.variants.items():
        arguments = swin_arguments(case.config | changes)
        stages: list[int] = arguments["out_indices"]
        own = arguments.pop("pad_small_map", False)
        pads = own if "pad_small_map" in changes else case.entry.get("pad_small_map", own)
        for pad in pads if isinstance(pads, list) else [pads]:
            model = SwinTransformerV2(**arguments | {"pad_small_map": pad})
            model = ready(model, weights, dtype, fast, unused=r"norm\d\.|mask_token$")
            tag = f"{variant}_pad{int(pad)}"
            if "pad_small_map" in changes and not any(f"{tag}_s" in name for name in comparison.names):
                tag = variant
            _check_maps(model, case, comparison, tag, stages)
            _check_refused(model, comparison, tag, arguments.get("in_channels", 3), dtype)


def _check_maps(
    model: SwinTransformerV2, case: Case, comparison: Comparison, tag: str, stages: list[int]
) -> None:
    for suffix in image_inputs(case, comparison):
        run, x = f"{suffix}{tag}", comparison.input(f"in{suffix}")
        if comparison.has(f"raises{run}") and bool(comparison.array(f"raises{run}").all()):
            _must_refuse(model, x, run)
            comparison.seen(f"raises{run}")
            continue
        numbers = output_numbers(comparison, f"out{run}_s", stages)
        for number, actual in zip(numbers, model(x), strict=True):
            comparison.close(f"out{run}_s{number}", actual)


def _check_refused(
    model: SwinTransformerV2, comparison: Comparison, tag: str, channels: int, dtype: torch.dtype
) -> None:
    """Refused maps whose pixels, which do not matter, are not stored."""
    for name in comparison.names:
        size = re.fullmatch(rf"raises_((\d+)x(\d+)){re.escape(tag)}", name)
        if size and not comparison.has(f"in_{size[1]}") and bool(comparison.array(name).all()):
            x = torch.zeros(1, channels, int(size[2]), int(size[3]), dtype=dtype)
            _must_refuse(model, x, name.removeprefix("raises"))
            comparison.seen(name)


def _must_refuse(model: SwinTransformerV2, x: torch.Tensor, run: str) -> None:
    try:
        model(x)
    except ValueError:
        return
    raise FixtureError(f"raises{run}: the official class refuses this map, ours does not")
