"""TransformerEncoder: the fused token, the other tokens, and the outputs of all layers."""

import re
from typing import Any

import torch
from skysense.model.fusion import TransformerEncoder

from parity.arguments import need, transformer
from parity.compare import Comparison
from parity.fixture import Case
from parity.loading import ready
from parity.naming import input_suffixes

TOLERANCE = {"float64": 3e-6, "float32": 5e-5}
PATHS = ("plain", "fast")


def fusion_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Our constructor's arguments from the official ones."""
    ours = transformer(config, "input_dims")
    need(ours, "input_dims")
    return ours


def check(case: Case, comparison: Comparison, dtype: torch.dtype, fast: bool) -> None:
    """Run a case.

    Names, each perhaps with a size after its first word (`in_4x9`): `in`, `out_{variant}`,
    `out_{variant}_require_two` (F_e and the first token), and `block_{i}`: all tokens after layer i, of the variants
    that give out F_e.
    """
    weights = case.weights()
    for variant, changes in case.variants.items():
        model = TransformerEncoder(**fusion_arguments(case.config | changes))
        model = ready(model, weights, dtype, fast, unused="(?!)" if model.with_cls_token else "cls_token$")
        for suffix in input_suffixes(comparison.names):
            x = comparison.input(f"in{suffix}")
            name = f"out{suffix}{variant}"
            comparison.close(name, model(x))
            blocks = [n for n in comparison.names if re.fullmatch(rf"block{suffix}_\d+", n)]
            two = f"{name}_require_two"
            if not model.output_cls_token or not (blocks or comparison.has(two)):
                continue
            layers = model.all_layers(model.with_cls(model.porj_linear(x)))
            if comparison.has(two):
                comparison.close(two, layers[-1][:, :2])
            for i, layer in enumerate(layers):
                if blocks:
                    comparison.close(f"block{suffix}_{i}", layer)
