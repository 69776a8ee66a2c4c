"""Which part of the model a checkpoint's tensors are, in every layout in which SkySense and SkySense++ came out.

Source: reference specification 4; for SkySense++ the public pre-training code's module names.
"""

import re
from dataclasses import dataclass

from skysense.errors import InputError
from skysense.model.checkpoint.reading import Opened

#: The model's parts, by the prefix of their tensors, and what people call them.
PARTS = {
    "backbone_gep": "HR encoder",
    "backbone_s2": "Sentinel-2 encoder",
    "backbone_s1": "Sentinel-1 encoder",
    "head_s2": "Sentinel-2 upsampling head",
    "head_s1": "Sentinel-1 upsampling head",
    "fusion": "fusion transformer",
    "ctpe": "date encoding",
}

#: Names of the single released files, for a file whose content does not tell (`--part`).
FILE_PARTS = {
    "backbone_hr": "backbone_gep",
    **{part: part for part in ("backbone_s2", "backbone_s1", "head_s2", "head_s1", "fusion")},
}

_PREFIXES = {**{part: part for part in PARTS if part != "ctpe"}, "backbone_hr": "backbone_gep"}

_ANNOTATION = "SkySense++'s annotation tokens, which this model has not got"
#: Tensors inside a part that it does without, and why. Anything else without a place stops the conversion.
_UNUSED = (
    (r"(.*\.)?relative_(coords_table|position_index)", "follows from the window size, computed anew"),
    (r"mask_token", "stands for masked pixels, in pre-training only"),
    (r"vocabulary_(token|weight)|attn[123]\..*|norm_attn\..*", _ANNOTATION),
)
#: Whatever it belongs to: no layer norm and no positions are ever passed over.
_NEVER_BESIDE = re.compile(r"norm|ln(_|\d|$)|pos_embed")
#: Modules of each part's official class.
_TRANSFORMER = r"patch_embed|layers|cls_token|pos_embed"
_MODULES = {
    "backbone_gep": r"patch_embed|stages",
    "backbone_s2": _TRANSFORMER,
    "backbone_s1": _TRANSFORMER,
    "head_s2": "decoder",
    "head_s1": "decoder",
    "fusion": f"porj_linear|{_TRANSFORMER}",
}
#: Of copies for the transformers library, whose converter is known to have lost layer norms.
_TRANSFORMERS_COPY = re.compile(
    r"((backbone\w*|fusion)\.)?(layers|stages\.\d+\.blocks)\.\d+\.(attn\.in_proj_|ffn\.layers\.[03]\.[wb])"
)
_RELEASED = "Choose a released SkySense or SkySense++ file"
_PRETRAINING = "belongs to pre-training or to another task"
_BESIDE = {"modality_vae": "SkySense++'s modality completion, which this model has not got"}


@dataclass(frozen=True)
class LeftOut:
    """A tensor or entry that is not used.

    Attributes:
        key: as in `Opened`.
        reason: why.
        outside: it belongs to a module that is no part of this model.
    """

    key: str
    reason: str
    outside: bool = False


@dataclass(frozen=True)
class Recognised:
    """What a file holds of the model.

    Attributes:
        keys: our name of each tensor -> its key in `Opened`.
        left_out: everything else.
        plus_plus: it is of SkySense++.
        window: the Swin's window side, where the file tells; else None.
    """

    keys: dict[str, str]
    left_out: tuple[LeftOut, ...]
    plus_plus: bool
    window: int | None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the model that it holds."""
        return tuple(part for part in PARTS if any(name.split(".")[0] == part for name in self.keys))


def recognise(opened: Opened, part: str | None = None) -> Recognised:
    """Sort a file's tensors into the model's parts.

    Args:
        part: which single released file it is (a key of `FILE_PARTS`); None: the content tells.

    Raises:
        InputError: it is of another architecture, or its part cannot be told.
    """
    if part is not None and part not in FILE_PARTS:
        raise InputError(f"unknown part {part!r}", "--part", f"Use one of {', '.join(FILE_PARTS)}")
    if strange := next(filter(_TRANSFORMERS_COPY.match, opened.tensors), None):
        raise InputError(
            f"is a copy in the layout of a *-transformers repository (it holds {strange}, for one), whose layer norms "
            "need not be those of the release",
            str(opened.path),
            _RELEASED,
        )
    placed = _combined(opened)
    if placed is not None:
        if part is not None:
            raise InputError("holds several parts", str(opened.path), "Leave --part out")
    else:
        placed = _single(opened, None if part is None else FILE_PARTS[part])
    keys: dict[str, str] = {}
    left_out, plus_plus = [LeftOut(key, "no weights") for key in opened.other], False
    for key, (own, rest) in placed.items():
        if own is None:
            module = key.split(".")[0]
            left_out.append(LeftOut(key, _BESIDE.get(module, _PRETRAINING), outside=True))
            plus_plus |= module in _BESIDE
        elif reason := _unused(rest):
            left_out.append(LeftOut(key, reason))
            plus_plus |= reason == _ANNOTATION
        else:
            name = "ctpe" if rest == "ctpe" else f"{own}.{rest}"
            if name in keys:
                raise InputError(
                    f"holds {name} twice, as {keys[name]} and as {key}", str(opened.path), _RELEASED
                )
            keys[name] = key
    if not keys:
        raise InputError("holds no weights of this model", str(opened.path), _RELEASED)
    plus_plus |= "skysensepp" in opened.path.name.lower().replace("_", "").replace("-", "")
    return Recognised(keys, tuple(left_out), plus_plus, _window(opened))


def _combined(opened: Opened) -> dict[str, tuple[str | None, str]] | None:
    """(part, rest of the name) by key for a file of several prefixed parts; None if it is not one."""
    split = {key: key.partition(".") for key in opened.tensors}
    if not any(head in _PREFIXES and rest for head, _, rest in split.values()):
        return None
    if strange := next((key for key, (head, _, rest) in split.items() if head == "backbone" and rest), None):
        raise InputError(
            f"holds parts by name and beside them one that does not say which it is ({strange}, for one)",
            str(opened.path),
            "Give each part as a file of its own",
        )
    return {
        key: ("ctpe", "ctpe") if key == "ctpe" else (_PREFIXES.get(head), rest)
        for key, (head, _, rest) in split.items()
    }


def _single(opened: Opened, wanted: str | None) -> dict[str, tuple[str | None, str]]:
    """(part, rest of the name) by key for a file of one part.

    A fine-tuned file's own heads may stand beside it, and what the official extractors leave of pre-training.
    """
    prefixed = any(key.startswith("backbone.") for key in opened.tensors)
    beside = {
        key
        for key in opened.tensors
        if prefixed and not key.startswith("backbone.") and key != "ctpe" and not _unused(key)
    }
    rest = {key: key.removeprefix("backbone.") for key in opened.tensors if key not in beside}
    shapes = {name: tuple(opened.tensors[key].shape) for key, name in rest.items()}
    found = _part_of(shapes, opened, wanted)
    if wanted is not None and found != wanted:
        raise InputError(
            f"is the {PARTS[found]}, not the {PARTS[wanted]}", str(opened.path), "Correct --part"
        )
    if not prefixed:
        beside = {
            key
            for key in rest
            if not re.fullmatch(_MODULES[found], key.split(".")[0])
            and not _NEVER_BESIDE.search(key.split(".")[0])
            and key != "ctpe"
            and not _unused(key)
        }
    return {key: (None, key) if key in beside else (found, rest[key]) for key in opened.tensors}


def _part_of(shapes: dict[str, tuple[int, ...]], opened: Opened, wanted: str | None) -> str:
    if any(name.startswith("stages.") for name in shapes):
        return "backbone_gep"
    if any(name.startswith("porj_linear.") for name in shapes):
        return "fusion"
    if "decoder.0.weight" in shapes:
        return _head_of(opened, wanted)
    if any(name.startswith("layers.") for name in shapes) and "pos_embed" in shapes:
        patch = shapes.get("patch_embed.projection.weight", ())
        bands = patch[1] if len(patch) == 4 else None
        if bands in (2, 10, 4):
            return "backbone_s1" if bands == 2 else "backbone_s2"
        if wanted in ("backbone_s1", "backbone_s2"):
            return wanted
    example = next(iter(shapes))
    raise InputError(
        f"is not of the SkySense architecture (it holds {example}, for one)",
        str(opened.path),
        _RELEASED,
    )


def _head_of(opened: Opened, wanted: str | None) -> str:
    """The two heads look alike: only the file's name or the user can tell them apart."""
    if wanted in ("head_s2", "head_s1"):
        return wanted
    named = [part for part in ("head_s2", "head_s1") if part in opened.path.name.lower()]
    if len(named) == 1:
        return named[0]
    raise InputError(
        "is an upsampling head, and whether for Sentinel-2 or for Sentinel-1 cannot be told",
        str(opened.path),
        f"Give it as --part head_s2={opened.path} or --part head_s1={opened.path}",
    )


def _unused(name: str) -> str | None:
    return next((reason for pattern, reason in _UNUSED if re.fullmatch(pattern, name)), None)


def _window(opened: Opened) -> int | None:
    for key, tensor in opened.tensors.items():
        if key.endswith(".relative_coords_table") and tensor.ndim == 4:
            return (tensor.shape[1] + 1) // 2
    return None
