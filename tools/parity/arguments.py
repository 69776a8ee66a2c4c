"""From the official constructors' arguments to ours, refusing by name what ours do not know."""

from collections.abc import Collection, Mapping
from typing import Any

from parity.fixture import FixtureError

#: Arguments of the official transformers that only matter while training, or at these values change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "act_cfg": ({"type": "GELU"},),
    "attn_drop_rate": (0, None),
    "ccd_num": (0,),
    "drop_rate": (0, None),
    "frozen_stages": tuple(range(-1, 100)),
    "init_cfg": (None,),
    "norm_eval": (True, False),
    "num_fcs": (2,),
    "patch_cfg": ({}, None),
    "patch_norm": (False,),
    "pretrained": (None,),
    "qkv_bias": (True,),
    "stage_cfgs": ({}, None, {"downsample_cfg": {"is_post_norm": True}}),
    "use_abs_pos_embed": (False,),
    "use_ccd": (False,),
    "with_cp": (True, False),
}
_TRANSFORMER = (
    "drop_path_rate",
    "embed_dims",
    "num_heads",
    "num_layers",
    "output_cls_token",
    "with_cls_token",
)


def take_known(config: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The arguments named in `known`.

    Raises:
        FixtureError: there is another one, unless it is neutral.
    """
    for key, value in config.items():
        if key not in known and value not in NEUTRAL.get(key, ()):
            raise FixtureError(
                f"does not know {key} = {value!r}" if key in NEUTRAL else f"does not know {key}"
            )
    return {key: value for key, value in config.items() if key in known}


def need(config: Mapping[str, Any], *keys: str) -> None:
    """Raises FixtureError for an argument that is not there."""
    for key in keys:
        if key not in config:
            raise FixtureError(f"the configuration lacks {key}")


def norm_eps(norm_cfg: Any) -> float:
    """Epsilon of `norm_cfg`, {"type": "LN", "eps": …}."""
    if (
        not isinstance(norm_cfg, Mapping)
        or norm_cfg.get("type", "LN") != "LN"
        or set(norm_cfg) - {"type", "eps"}
    ):
        raise FixtureError(f"does not know norm_cfg = {norm_cfg!r}")
    return float(norm_cfg.get("eps", 1e-5))


def whole_numbers(value: Any, key: str, count: int) -> list[int]:
    """As many whole numbers, given as one for all or as a list."""
    numbers = value if isinstance(value, list) else [value] * count
    if len(numbers) != count or not all(type(number) is int for number in numbers):
        raise FixtureError(f"does not know {key} = {value!r}")
    return numbers


def one_side(value: Any, key: str) -> int:
    """A side in pixels, given as a number or as two equal ones."""
    side, other = whole_numbers(value, key, 2)
    if side != other:
        raise FixtureError(f"does not know {key} = {value!r}")
    return side


def transformer(config: Mapping[str, Any], *own: str) -> dict[str, Any]:
    """Arguments of our ViT or fusion from the official ones: those that both have, and their `own`."""
    ours = take_known(config, {*_TRANSFORMER, *own, "norm_cfg", "mlp_ratio"})
    need(ours, "embed_dims", "num_layers", "num_heads")
    ours["eps"] = norm_eps(ours.pop("norm_cfg", {}))
    if "mlp_ratio" in ours:
        if ours["mlp_ratio"] != int(ours["mlp_ratio"]):
            raise FixtureError(f"does not know mlp_ratio = {ours['mlp_ratio']!r}")
        ours["mlp_ratio"] = int(ours["mlp_ratio"])
    return ours
