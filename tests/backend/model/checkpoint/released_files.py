"""A small model, saved in every layout in which SkySense's weights came out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from skysense.jobs.control import JobControl
from skysense.model.config import ModelConfig
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from torch import Tensor

QUIET = JobControl(lambda event: None)

State = dict[str, Tensor]

OUTPUT_NORMS = tuple(f"backbone_gep.norm{i}." for i in range(3))


def small_config() -> ModelConfig:
    """`tiny` with few layers, but deep enough in stage 2 for one of the extra norms."""
    tiny = PRESETS["tiny"]
    return replace(
        tiny,
        hr=replace(tiny.hr, depths=(1, 1, 6, 1)),
        s2=replace(tiny.s2, layers=2),
        s1=replace(tiny.s1, layers=1),
        fusion=replace(tiny.fusion, layers=1),
    )


def trained_model(config: ModelConfig | None = None) -> SkySense:
    """A model none of whose tensors is at its initial value."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = SkySense(config or small_config()).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def part_of(state: State, part: str) -> State:
    """One part's tensors by the keys of its own module."""
    return {key.removeprefix(f"{part}."): x for key, x in state.items() if key.startswith(f"{part}.")}


def buffers(window: int = 8) -> State:
    """What the official Swin has beside its weights, for one block."""
    side = 2 * window - 1
    return {
        "stages.0.blocks.0.attn.w_msa.relative_coords_table": torch.zeros(1, side, side, 2),
        "stages.0.blocks.0.attn.w_msa.relative_position_index": torch.zeros(window**2, window**2).long(),
    }


def combined(state: State, gep: str = "backbone_gep") -> dict[str, Any]:
    """The combined file: prefixed parts, pre-training's own heads, and the state of the training."""
    renamed = {key.replace("backbone_gep.", f"{gep}.", 1): x for key, x in state.items()}
    extra = {
        f"{gep}.mask_token": torch.zeros(1, 1, 32),
        "head_gep.mlp.0.weight": torch.zeros(4, 4),
        "head_gep.last_layer.weight": torch.zeros(4, 4),
    }
    return {"model": renamed | extra | {f"{gep}.{k}": x for k, x in buffers().items()}, "epoch": 3}


def singles(state: State) -> dict[str, State]:
    """The single files by name, as released: of the output norms only norm3, ctpe inside the S2 file."""
    hr = {k: x for k, x in state.items() if not k.startswith(OUTPUT_NORMS)}
    hr = {f"backbone.{k}": x for k, x in part_of(hr, "backbone_gep").items()}
    return {
        "skysense_model_backbone_hr.pth": hr | {"backbone.mask_token": torch.zeros(1, 1, 32)},
        "skysense_model_backbone_s2.pth": part_of(state, "backbone_s2") | {"ctpe": state["ctpe"]},
        "skysense_model_backbone_s1.pth": part_of(state, "backbone_s1"),
        "skysense_model_head_s2.pth": part_of(state, "head_s2"),
        "skysense_model_head_s1.pth": {f"backbone.{k}": x for k, x in part_of(state, "head_s1").items()},
        "skysense_model_fusion.pth": part_of(state, "fusion"),
    }


def plus_plus(state: State) -> dict[str, Any]:
    """The combined file of SkySense++, with its annotation tokens and modality completion."""
    data = combined(state, gep="backbone_hr")
    for encoder in ("backbone_hr", "backbone_s2", "backbone_s1"):
        data["model"] |= {
            f"{encoder}.vocabulary_token": torch.zeros(65, 32),
            f"{encoder}.vocabulary_weight": torch.zeros(1, 16),
            f"{encoder}.mask_token": torch.zeros(1, 1, 32),
        }
    data["model"] |= {
        "backbone_hr.attn1.proj_in.weight": torch.zeros(2, 2),
        "backbone_hr.attn3.proj_out.bias": torch.zeros(2),
        "backbone_hr.norm_attn.weight": torch.zeros(2),
        "modality_vae.codebook.weight": torch.zeros(2, 2),
        "head_rec_hr.conv_seg.weight": torch.zeros(2, 2),
    }
    for encoder in ("backbone_s2", "backbone_s1"):  # no position for the cls token
        key = f"{encoder}.pos_embed"
        data["model"][key] = data["model"][key][:, 1:].clone()
    return data


def save(content: Any, path: Path) -> Path:
    """Save as torch does, each tensor with its own storage."""
    torch.save(content, path)
    return path
