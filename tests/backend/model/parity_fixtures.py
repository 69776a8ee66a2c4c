"""A small folder of fixtures in the reference's layout, other shapes and configurations, from our own classes.

It cannot show that we agree with the official code; it shows that the runner reads what an index says, and that it
fails where it should. The plain path gives the numbers; the factorised path is composed here, part by part.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from skysense.model.attention import set_fast
from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.fusion import TransformerEncoder
from skysense.model.prototypes import (
    assigned_features,
    cosine_scores,
    geo_attention,
    geo_context,
    sinkhorn,
    updated_prototypes,
)
from skysense.model.skysense import SkySense
from skysense.model.swin_v2 import SwinTransformerV2
from skysense.model.uphead import UPHead
from skysense.model.vit import VisionTransformer
from torch import Tensor, nn

Arrays = dict[str, Tensor]


def write_fixtures(folder: Path) -> None:
    """Write one case of every kind, deterministic."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    index: dict[str, Any] = {}
    with torch.inference_mode():
        for name, make in (
            ("windows", _swin),
            ("patches", _vit),
            ("pixels", _uphead),
            ("tokens", _fusion),
            ("whole", _full),
            ("places", _geo),
        ):
            entry, arrays, weights = make()
            entry["io"] = f"{name}.io.npz"
            keep = torch.float64 if name == "places" else torch.float32
            stored = {k: v.to(keep) if v.is_floating_point() else v for k, v in arrays.items()}
            np.savez(folder / entry["io"], **{k: v.numpy() for k, v in stored.items()})
            if weights:
                entry["weights"] = f"{name}.weights.safetensors"
                save_file(weights, folder / entry["weights"])
            index[name] = entry
    (folder / "index.json").write_text(json.dumps(index))


def _random(module: nn.Module) -> dict[str, Tensor]:
    """Give a module weights that all matter, round them to float32, return them; then double, plain, evaluated."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    weights = {key: value.clone() for key, value in module.state_dict().items()}
    set_fast(module, False)
    module.double().eval()
    return weights


def _input(*shape: int) -> Tensor:
    return torch.randn(*shape).double()


def _swin() -> tuple[dict[str, Any], Arrays, dict[str, Tensor]]:
    """Window 6, no extra norms, two of four stages or one, batch 3; one map is smaller than the window."""
    arch = {
        "embed_dims": 6,
        "depths": [1, 2, 2, 1],
        "num_heads": [1, 2, 3, 4],
        "extra_norm_every_n_blocks": 0,
    }
    config = {"arch": arch, "in_channels": 2, "window_size": 6, "out_indices": [1, 3], "img_size": 192}
    arrays, weights = {}, {}
    for height, width in ((192, 200), (42, 70)):
        arrays[f"in_{height}x{width}"] = _input(3, 2, height, width)
    variants: dict[str, dict[str, Any]] = {
        "all": {},
        "last": {"out_indices": [3], "window_size": 4, "pad_small_map": True},
        "strict": {"out_indices": [3], "pad_small_map": False},
    }
    for name, pad in (("all", False), ("all", True), ("last", True), ("strict", False)):
        changes = variants[name]
        stages = tuple(changes.get("out_indices", (1, 3)))
        model = SwinTransformerV2(
            6,
            (1, 2, 2, 1),
            (1, 2, 3, 4),
            extra_norm_every_n_blocks=None,
            window_size=changes.get("window_size", 6),
            out_indices=stages,
            pad_small_map=pad,
            in_channels=2,
        )
        weights = weights or _random(model)
        own = model.state_dict()
        model.load_state_dict({key: value for key, value in weights.items() if key in own}, strict=False)
        set_fast(model.double().eval(), False)
        run = name if name == "strict" else f"{name}_pad{int(pad)}"  # a variant's own needs no telling
        for size in ("192x200", "42x70"):
            if size == "42x70" and not pad:
                arrays[f"raises_42x70_{run}"] = torch.tensor(True)
                continue
            for stage, out in zip(stages, model(arrays[f"in_{size}"]), strict=True):
                arrays[f"out_{size}_{run}_s{stage}"] = out
    entry = {"cls": "SwinTransformerV2", "config": config, "pad_small_map": [False, True]}
    return entry | {"variants": variants, "shapes": [[192, 200], [42, 70]], "batch": 3}, arrays, weights


def _vit() -> tuple[dict[str, Any], Arrays, dict[str, Tensor]]:
    """Three heads, batch 3, FFN ratio 2, non-square and ragged images, outputs numbered by layer."""
    config = {
        "embed_dims": 24,
        "num_layers": 3,
        "num_heads": 3,
        "in_channels": 4,
        "img_size": 24,
        "mlp_ratio": 2,
    }
    variants: dict[str, dict[str, Any]] = {
        "two": {"out_indices": [0, 2], "output_cls_token": True, "final_norm": True},
        "lean": {
            "with_cls_token": False,
            "norm_cfg": {"type": "LN", "eps": 1e-3},
            "interpolate_mode": "bilinear",
        },
    }
    arrays, weights = {}, {}
    for height, width in ((24, 24), (12, 22)):
        arrays[f"in_{height}x{width}"] = _input(3, 4, height, width)
    for name, variant in variants.items():
        changes = {k: v for k, v in variant.items() if k != "norm_cfg"}
        model = VisionTransformer(**config, **changes, eps=variant.get("norm_cfg", {"eps": 1e-5})["eps"])
        weights = weights or _random(model)
        own = model.state_dict()
        model.load_state_dict({k: v for k, v in weights.items() if k in own})
        set_fast(model.double().eval(), False)
        for size in ("24x24", "12x22"):
            for layer, out in zip(
                (0, 2) if name == "two" else (0,), model(arrays[f"in_{size}"]), strict=True
            ):
                patch_map, cls = out if isinstance(out, tuple) else (out, None)
                arrays[f"out_{size}_{name}_l{layer}"] = patch_map
                if cls is not None:
                    arrays[f"cls_{size}_{name}_l{layer}"] = cls
    return {"cls": "VisionTransformer", "config": config, "variants": variants}, arrays, weights


def _uphead() -> tuple[dict[str, Any], Arrays, dict[str, Tensor]]:
    """Up by 2, an odd number of channels, two inputs."""
    model = UPHead(5, 7, 2)
    weights = _random(model)
    arrays = {"in_2x3": _input(2, 5, 2, 3), "in_4x1": _input(1, 5, 4, 1)}
    arrays |= {name.replace("in", "out"): model(x) for name, x in arrays.items()}
    return {"cls": "UPHead", "config": {"in_dim": 5, "out_dim": 7, "up_scale": 2}}, arrays, weights


def _fusion() -> tuple[dict[str, Any], Arrays, dict[str, Tensor]]:
    """One variant, under another name, and all its layers."""
    config = {"input_dims": 10, "embed_dims": 12, "num_layers": 2, "num_heads": 3, "drop_path_rate": 0.3}
    model = TransformerEncoder(**config)
    weights, x = _random(model), _input(4, 2, 10)
    layers = model.all_layers(model.with_cls(model.porj_linear(x)))
    arrays = {"in": x, "out_e": layers[-1][:, 0]} | {f"block_{i}": layer for i, layer in enumerate(layers)}
    entry = {"cls": "TransformerEncoder", "config": config, "variants": {"e": {"output_cls_token": True}}}
    return entry, arrays, weights


def _full() -> tuple[dict[str, Any], Arrays, dict[str, Tensor]]:
    """One S2 date, a tall area, cls tokens kept in the ViTs, other subsets and date rules."""
    config = {
        "arch": {
            "embed_dims": 4,
            "depths": [1, 1, 2, 1],
            "num_heads": [1, 1, 2, 2],
            "extra_norm_every_n_blocks": 2,
        },
        "window": 4,
        **{"vit_img": 8, "vit_dim": 12, "vit_layers": 2, "vit_heads": 3, "vit_cls": True},
        **{"f_dim": 20, "f_layers": 2, "f_heads": 2},
    }
    vit = VitConfig(12, 2, 3, 8, with_cls_token=True)
    swin = SwinConfig(4, (1, 1, 2, 1), (1, 1, 2, 2), 4, 2, out_indices=(3,))
    model = SkySense(ModelConfig(swin, vit, vit, FusionConfig(20, 2, 2)))
    weights = _random(model)
    arrays = {"hr": _input(1, 3, 256, 128), "s2": _input(1, 10, 1, 8, 4), "s1": _input(1, 2, 2, 8, 4)}
    arrays |= {
        "dates_hr": torch.tensor([[17]]),
        "dates_s2": torch.tensor([[364]]),
        "dates_s1": torch.tensor([[3, 99]]),
        "F_hr": model.backbone_gep(arrays["hr"])[0],
        "F_s2_up": model.head_s2(model.backbone_s2(arrays["s2"][0].transpose(0, 1))[-1]),
        "F_s1_up": model.head_s1(model.backbone_s1(arrays["s1"][0].transpose(0, 1))[-1]),
    }
    tokens = {"hr": arrays["F_hr"], "s2": arrays["F_s2_up"], "s1": arrays["F_s1_up"]}
    for name, subset, dated in (
        ("fused_dtpe_all", ("hr", "s2", "s1"), ("hr", "s2", "s1")),
        ("fused_hrs1_dtpe_all", ("hr", "s1"), ("hr", "s1")),
        ("fused_s2s1_dtpe_s2only", ("s2", "s1"), ("s2",)),
        ("fused_s1_dtpe_none", ("s1",), ()),
        ("fused_s2_only", ("s2",), ("s2",)),
    ):
        parts = []
        for modality in subset:
            part = tokens[modality].permute(2, 3, 0, 1).flatten(0, 1)  # (locations, dates, channels)
            parts.append(part + model.ctpe[0, arrays[f"dates_{modality}"][0]] if modality in dated else part)
        projected = F.linear(
            torch.cat(parts, 1), model.fusion.porj_linear.weight, model.fusion.porj_linear.bias
        )
        fused = model.fusion.all_layers(model.fusion.with_cls(projected))[-1][:, 0]
        arrays[name] = fused.T.reshape(1, 20, 8, 4)
    return {"cls": "factorized path", "config": config}, arrays, weights


def _geo() -> tuple[dict[str, Any], Arrays, dict[str, Tensor]]:
    """One scene, other settings of Sinkhorn."""
    features, prototypes = _input(9, 5), _input(4, 5)
    scores = cosine_scores(features, prototypes)
    assignment = sinkhorn(scores, epsilon=0.2, iterations=1)
    arrays = {
        "F": features,
        "P": prototypes,
        "attn": geo_attention(features, prototypes),
        "F_fus": geo_context(features, prototypes),
        "M": scores,
        "S_row_sum1": assignment,
        "P_bar": assigned_features(assignment, features),
    }
    arrays["P_new"] = updated_prototypes(prototypes, arrays["P_bar"], 0.5)
    config = {"sinkhorn_eps": 0.2, "sinkhorn_iters": 1, "momentum": 0.5, "S_scale": "rows sum to 1"}
    return {"cls": "paper equations", "config": config}, arrays, {}
