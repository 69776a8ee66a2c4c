"""The paper's geo-context equations: attention to prototypes, assignment, update. One path, float64."""

import torch
from skysense.model.prototypes import (
    assigned_features,
    cosine_scores,
    geo_attention,
    geo_context,
    sinkhorn,
    updated_prototypes,
)

from parity.arguments import need
from parity.compare import Comparison
from parity.fixture import Case, FixtureError

#: The assignment is exp(cosine / epsilon): the fixtures state no agreement in float32.
TOLERANCE = {"float64": 1e-9}
PATHS = ("only",)

#: What our Sinkhorn does; the paper leaves both open.
_OURS = {"order": "prototypes then features", "S_scale": "rows sum to 1"}


def check(case: Case, comparison: Comparison, dtype: torch.dtype, fast: bool) -> None:
    """Run a case; names: `F`, `P`; `attn`, `F_fus`, `M`, `S_row_sum1`, `P_bar`, `P_new`.

    Other keys of its configuration inform people: nothing is built from them, and the numbers are compared anyway.
    """
    config = case.config
    need(config, "sinkhorn_eps", "sinkhorn_iters", "momentum")
    for key, value in _OURS.items():
        if config.get(key, value) != value:
            raise FixtureError(f"does not know {key} = {config[key]!r}")
    features, prototypes = comparison.input("F"), comparison.input("P")
    flat = features.flatten(0, -2)
    comparison.close("attn", geo_attention(features, prototypes))
    comparison.close("F_fus", geo_context(features, prototypes))
    scores = cosine_scores(flat, prototypes)
    comparison.close("M", scores)
    assignment = sinkhorn(scores, epsilon=config["sinkhorn_eps"], iterations=config["sinkhorn_iters"])
    comparison.close("S_row_sum1", assignment)
    assigned = assigned_features(assignment, flat)
    comparison.close("P_bar", assigned)
    comparison.close("P_new", updated_prototypes(prototypes, assigned, config["momentum"]))
