"""The factorised path: HR, Sentinel-2 and Sentinel-1 series with their dates to fused maps."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from skysense.model.config import DateEncoding, FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.dates import is_dated
from skysense.model.inputs import Features, Inputs
from skysense.model.skysense import SkySense
from skysense.model.tokens import HR_STRIDE
from skysense.scene.sensors import Modality

from parity.arguments import need, take_known
from parity.compare import Comparison
from parity.fixture import Case, FixtureError
from parity.loading import ready
from parity.swin import swin_arguments

#: Its HR part is a Swin, with a Swin's conditioning.
TOLERANCE = {"float64": 1e-4, "float32": 1e-2}
PATHS = ("plain", "fast")

_NEEDED = ("arch", "window", "vit_img", "vit_dim", "vit_layers", "vit_heads", "f_dim", "f_layers", "f_heads")
_RULES: dict[str, DateEncoding] = {"all": "all", "s2only": "s2", "none": "none"}
_FUSED = re.compile(r"fused(?P<subset>(?:_(?:hr|s2|s1)+)*)(?P<only>_only)?(?:_dtpe_(?P<rule>[a-z0-9]+))?$")
_MODALITIES: tuple[Modality, ...] = ("hr", "s2", "s1")
_WEIGHTS = {"hr": r"backbone_gep\.", **{m: rf"(backbone|head)_{m}\." for m in ("s2", "s1")}}
_MAPS = {"hr": "F_hr", "s2": "F_s2_up", "s1": "F_s1_up"}


def model_config(config: dict[str, Any]) -> ModelConfig:
    """Our configuration from the fixture's."""
    known = take_known(config, {*_NEEDED, "vit_cls", "vit_eps", "pad_small_map"})
    need(known, *_NEEDED)
    swin = swin_arguments({"arch": known["arch"], "window_size": known["window"], "out_indices": [3]})
    vit = VitConfig(
        known["vit_dim"],
        known["vit_layers"],
        known["vit_heads"],
        known["vit_img"],
        with_cls_token=known.get("vit_cls", False),
        eps=known.get("vit_eps", 1e-5),
    )
    return ModelConfig(
        SwinConfig(
            swin["embed_dims"],
            swin["depths"],
            swin["num_heads"],
            swin["window_size"],
            swin["extra_norm_every_n_blocks"],
            out_indices=(3,),
            pad_small_map=known.get("pad_small_map", True),
        ),
        vit,
        vit,
        FusionConfig(known["f_dim"], known["f_layers"], known["f_heads"]),
    )


def parse_fused(name: str, present: Sequence[Modality]) -> tuple[list[Modality], DateEncoding] | None:
    """Modalities and date rule that the name of a fused map tells; None for any other name.

    `fused_dtpe_all`: all that are there. `fused_s2s1_dtpe_none`: those named. `fused_hr_only`: that alone, under the
    public code's rule, which dates S2 only.
    """
    match = _FUSED.match(name)
    if match is None:
        return None
    named = re.findall("hr|s2|s1", match["subset"])
    rule = _RULES.get(match["rule"] or "s2only")
    if rule is None or len(set(named)) < len(named) or not (match["rule"] or (match["only"] and named)):
        return None
    return [m for m in _MODALITIES if m in named] or list(present), rule


def check(case: Case, comparison: Comparison, dtype: torch.dtype, fast: bool) -> None:
    """Run a case.

    Names: `hr` (B, 3, H, W) or (B, 3, 1, H, W), `s2` and `s1` (B, C, T, h, w), `dates_*` (B, T) or, alike in all, (T,)
    0-based days; `F_hr`, `F_s2_up`, `F_s1_up` (B T, D, h, w); fused maps as in `parse_fused`. What no run looks at
    needs no weights.
    """
    config, weights = model_config(case.config), case.weights()
    present = [m for m in _MODALITIES if comparison.has(m)]
    fused = {n: parsed for n in comparison.names if (parsed := parse_fused(n, present)) is not None}
    runs: dict[tuple[tuple[Modality, ...], DateEncoding], list[str]] = {}
    for name, (modalities, rule) in fused.items():
        runs.setdefault((tuple(modalities), rule), []).append(name)
    unread = [_WEIGHTS[m] for m in _MODALITIES if m not in present]
    if not any(is_dated(m, rule) for chosen, rule in runs for m in chosen):
        unread.append("ctpe$")
    absent = "|".join(unread) or "(?!)"
    for (chosen, rule), names in runs.items():
        model = SkySense(replace(config, date_encoding=rule))
        model = ready(
            model, weights, dtype, fast, unused=r"backbone_gep\.(norm\d\.|mask_token$)", absent=absent
        )
        features = model(_inputs(comparison, chosen, rule), series_maps=True)
        for name in names:
            comparison.close(name, features.fused)
        _compare_maps(comparison, features, chosen)
        if not bool(features.fused_valid.all()):
            raise FixtureError(f"{names[0]}: ours marks locations as invalid")


def _inputs(comparison: Comparison, modalities: Sequence[Modality], rule: DateEncoding) -> Inputs:
    inputs = Inputs(hr_per_base=HR_STRIDE if "hr" in modalities else None)
    for modality in modalities:
        x = comparison.input(modality)
        if modality == "hr" and x.ndim == 5:
            _need_one("hr", x.shape[2])
            x = x[:, :, 0]
        setattr(inputs, modality, x if modality == "hr" else x.transpose(1, 2))
        if comparison.has(f"dates_{modality}") or is_dated(modality, rule):
            day = comparison.array(f"dates_{modality}").long()
            if modality == "hr":
                _need_one("dates_hr", day.shape[1] if day.ndim == 2 else 1)
                day = day.flatten().expand(len(x))
            elif day.ndim == 1:
                day = day.expand(len(x), -1)
            setattr(inputs, f"{modality}_day", day)
    return inputs


def _need_one(name: str, count: int) -> None:
    if count != 1:
        raise FixtureError(f"{name} has {count} dates; there is one HR image")


def _compare_maps(comparison: Comparison, features: Features, modalities: Sequence[Modality]) -> None:
    for modality in modalities:
        if comparison.has(_MAPS[modality]):
            maps = features.hr[-1] if modality == "hr" and features.hr else getattr(features, modality)
            comparison.close(_MAPS[modality], maps if modality == "hr" else maps.flatten(0, 1))
