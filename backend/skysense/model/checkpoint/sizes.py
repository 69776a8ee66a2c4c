"""The shape of a model, read off the shapes of its tensors."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from skysense.errors import InputError
from skysense.model.checkpoint.layout import PARTS
from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.presets import PRESETS
from skysense.model.tokens import PATCH

#: Shapes by our names.
Shapes = Mapping[str, tuple[int, ...]]

#: LayerNorm's eps in the S2 and S1 encoders of SkySense++.
PLUS_PLUS_EPS = 1e-6


def infer_config(
    shapes: Shapes, where: Mapping[str, str], plus_plus: frozenset[str], window: int | None
) -> tuple[str, ModelConfig]:
    """The configuration that the given parts have; parts that are not given are sized as the preset's nearest to them.

    Args:
        shapes: of every tensor given, by our names.
        where: part -> the file that holds it, for messages.
        plus_plus: parts that come from SkySense++.
        window: the Swin's window side, where known; else the released 8.

    Returns:
        The name of the preset whose dimensions they are, or "custom", and the configuration.

    Raises:
        InputError: the sizes cannot be told, or a tensor that tells them is missing or misshapen.
    """
    seen = _Seen(shapes, where)
    given = {part: getattr(seen, part)() for part in where if part in _SIZES}
    name = next((name for name, config in PRESETS.items() if _agrees(config, given, seen, depths=True)), None)
    near = name or next(
        (name for name, config in PRESETS.items() if _agrees(config, given, seen, depths=False)), "tiny"
    )
    config = PRESETS[near]
    if name is None:
        config = replace(config, **{_SIZES[part]: size for part, size in given.items()})
        if "backbone_gep" not in given:
            config = replace(config, hr=_hr_for(seen, config))
    if window is not None:
        config = replace(config, hr=replace(config.hr, window=window))
    for part in ("backbone_s2", "backbone_s1"):
        vit = getattr(config, _SIZES[part])
        if part in plus_plus:
            vit = replace(vit, eps=PLUS_PLUS_EPS)
        if (side := seen.grid_side(part)) is not None:
            vit = replace(vit, img_size=PATCH * side)
        config = replace(config, **{_SIZES[part]: vit})
    return name or "custom", config


def fewer_layers(config: ModelConfig) -> str:
    """A sentence where a model is a preset but for fewer layers, as one is whose file was cut off; else ""."""
    for name, preset in PRESETS.items():
        if any(getattr(config, part).dim != getattr(preset, part).dim for part in _SIZES.values()):
            continue
        told = [
            f"{PARTS[part]} {have} instead of {usual}"
            for part, field in _SIZES.items()
            if (have := _depth(getattr(config, field))) < (usual := _depth(getattr(preset, field)))
        ]
        return (
            f"Fewer layers than {name} has: {', '.join(told)}. Check that the files are whole."
            if told
            else ""
        )
    return ""


def _depth(size: SwinConfig | VitConfig | FusionConfig) -> int:
    return sum(size.depths) if isinstance(size, SwinConfig) else size.layers


#: The parts with a configuration of their own, and its field in ModelConfig.
_SIZES = {"backbone_gep": "hr", "backbone_s2": "s2", "backbone_s1": "s1", "fusion": "fusion"}


class _Seen:
    """What the shapes tell of each part."""

    def __init__(self, shapes: Shapes, where: Mapping[str, str]) -> None:
        self._shapes, self._where = shapes, where

    def backbone_gep(self) -> SwinConfig:
        part = "backbone_gep"
        dim = self._dim(f"{part}.patch_embed.projection", 4)
        blocks = self._indices(rf"{part}\.stages\.(\d+)\.blocks\.(\d+)\.")
        depths = tuple(1 + max((b for s, b in blocks if s == stage), default=0) for stage in range(4))
        if {stage for stage, _ in blocks} - set(range(4)):
            raise InputError("has more than four stages", self._where[part], "Choose a SkySense HR encoder")
        heads = tuple(
            self._shape(f"{part}.stages.{stage}.blocks.0.attn.w_msa.logit_scale", 3)[0] for stage in range(4)
        )
        for stage, count in enumerate(heads):
            if not count or (dim << stage) % count:
                raise InputError(
                    f"has {count} heads for {dim << stage} channels "
                    f"({part}.stages.{stage}.blocks.0.attn.w_msa.logit_scale)",
                    self._where[part],
                    "Choose a SkySense HR encoder",
                )
        norms = self._indices(rf"{part}\.stages\.(\d+)\.blocks\.(\d+)\.norm3\.")
        # No norm3 at all is no sign that there should be none: every SkySense has one each six blocks.
        every = math.gcd(*(block + 1 for _, block in norms)) if norms else 6
        return SwinConfig(dim, (*depths,), (*heads,), extra_norm_every=every)  # type: ignore[arg-type]

    def backbone_s2(self) -> VitConfig:
        return self._vit("backbone_s2")

    def backbone_s1(self) -> VitConfig:
        return self._vit("backbone_s1")

    def fusion(self) -> FusionConfig:
        dim = self._dim("fusion.porj_linear", 2)
        return FusionConfig(dim, self._layers("fusion"), self._heads("fusion", dim))

    def dims(self) -> dict[str, int]:
        """Channels that link the parts: "token" before the fusion's projection, "s2" and "s1" patch tokens."""
        found = {}
        for part in ("head_s2", "head_s1"):
            if part in self._where:
                out, dim = self._shape(f"{part}.decoder.0.weight", 4)[:2]
                found["token"], found[part[-2:]] = out // 16, dim
        if "ctpe" in self._where:
            found["token"] = self._shape("ctpe", 3)[2]
        if "fusion" in self._where:
            found["token"] = self._shape("fusion.porj_linear.weight", 2)[1]
        return found

    def grid_side(self, part: str) -> int | None:
        """Side of the square grid of a ViT's positions, with or without one for the cls token; None: they fit none."""
        shape = self._shapes.get(f"{part}.pos_embed", ())
        counts = (shape[1], shape[1] - 1) if len(shape) == 3 else ()
        return next((side for n in counts if n > 0 and (side := math.isqrt(n)) ** 2 == n), None)

    def _vit(self, part: str) -> VitConfig:
        dim = self._dim(f"{part}.patch_embed.projection", 4)
        return VitConfig(dim, self._layers(part), self._heads(part, dim))

    def _dim(self, name: str, axes: int) -> int:
        """Output channels of a linear map or convolution, on which its weight and its bias agree."""
        dim, bias = self._shape(f"{name}.weight", axes)[0], self._shape(f"{name}.bias", 1)
        if not dim or bias != (dim,):
            raise misshapen(
                f"{name}.bias", bias, f"({dim},) as {name}.weight has", self._where[name.split(".")[0]]
            )
        return dim

    def _layers(self, part: str) -> int:
        return 1 + max((i for (i,) in self._indices(rf"{part}\.layers\.(\d+)\.")), default=0)

    def _heads(self, part: str, dim: int) -> int:
        """No tensor tells the heads of a ViT: they are those of the preset with this many channels."""
        field = _SIZES[part]
        for config in PRESETS.values():
            size = getattr(config, field)
            if size.dim == dim:
                heads: int = size.heads
                return heads
        known = sorted({getattr(config, field).dim for config in PRESETS.values()})
        raise InputError(
            f"has a {PARTS[part]} of {dim} channels, and its number of heads cannot be told",
            self._where[part],
            f"Known are those of {', '.join(map(str, known))} channels",
        )

    def _indices(self, pattern: str) -> set[tuple[int, ...]]:
        return {
            tuple(map(int, match.groups())) for name in self._shapes if (match := re.match(pattern, name))
        }

    def _shape(self, name: str, axes: int) -> tuple[int, ...]:
        part = name.split(".")[0]
        if name not in self._shapes:
            raise missing(name, self._where[part])
        shape = self._shapes[name]
        if len(shape) != axes:
            raise misshapen(name, shape, f"{axes} axes", self._where[part])
        return shape


def missing(name: str, where: str) -> InputError:
    """The error for a tensor that is not there."""
    return InputError(f"lacks the tensor {name}", where, "Choose a complete SkySense file")


def misshapen(name: str, shape: tuple[int, ...], expected: object, where: str) -> InputError:
    """The error for a tensor of another shape."""
    return InputError(
        f"has {name} of shape {shape}, expected {expected}", where, "Choose files that belong together"
    )


def _agrees(
    config: ModelConfig, given: Mapping[str, SwinConfig | VitConfig | FusionConfig], seen: _Seen, depths: bool
) -> bool:
    """Whether the given parts have a preset's sizes, or all but its depths."""
    for part, size in given.items():
        own = getattr(config, _SIZES[part])
        if size.dim != own.dim or size.heads != own.heads:
            return False
        depth = "depths" if part == "backbone_gep" else "layers"
        if depths and getattr(size, depth) != getattr(own, depth):
            return False
    links = {"token": config.token_dim, "s2": config.s2.dim, "s1": config.s1.dim}
    return all(links[name] == dim for name, dim in seen.dims().items())


def _hr_for(seen: _Seen, config: ModelConfig) -> SwinConfig:
    """An HR encoder for parts that come without one: the preset's whose last stage feeds the fusion."""
    token = seen.dims().get("token", config.token_dim)
    for other in (config, *PRESETS.values()):
        if other.token_dim == token:
            return other.hr
    raise InputError(
        f"needs an HR encoder of {token} channels, and no preset has one",
        ", ".join(sorted(set(seen._where.values()))),
        "Give the HR encoder's file as well",
    )
