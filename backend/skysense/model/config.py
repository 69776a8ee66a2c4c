"""The shape of a model, as plain frozen data that a model file's header can hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from skysense.scene.sensors import SENSORS, Modality

DateEncoding = Literal["all", "s2", "none"]


#: The bands that an encoder can take: those of the released weights, or four (reference specification 3).
ENCODER_BANDS: dict[Modality, tuple[tuple[str, ...], ...]] = {
    "hr": (SENSORS["hr"].bands, (*SENSORS["hr"].bands, "NIR")),
    "s2": (SENSORS["s2"].bands, ("B2", "B3", "B4", "B8")),
}
#: What each encoder of a model takes.
EncoderBands = Mapping[Modality, tuple[str, ...]]
#: The bands of the released weights.
USUAL_BANDS: EncoderBands = {modality: sensor.bands for modality, sensor in SENSORS.items()}


@dataclass(frozen=True)
class SwinConfig:
    """The HR encoder; see `swin_v2.SwinTransformerV2`."""

    dim: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int = 8
    extra_norm_every: int | None = 6
    out_indices: tuple[int, ...] = (0, 1, 2, 3)
    pad_small_map: bool = True
    drop_path: float = 0.0


@dataclass(frozen=True)
class VitConfig:
    """The S2 or the S1 encoder; see `vit.VisionTransformer`."""

    dim: int
    layers: int
    heads: int
    img_size: int = 64
    with_cls_token: bool = False
    interpolate_mode: str = "bicubic"
    eps: float = 1e-5
    drop_path: float = 0.0


@dataclass(frozen=True)
class FusionConfig:
    """The fusion transformer; its input dim is that of the last Swin stage."""

    dim: int
    layers: int
    heads: int
    drop_path: float = 0.0


@dataclass(frozen=True)
class GeoConfig:
    """Geo-context: prototypes per region, and the trained regions (ids of `regions.region_id`)."""

    prototypes: int = 100
    regions: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelConfig:
    """A whole model.

    Attributes:
        date_encoding: which tokens get the date encoding: all (the paper), S2 only (the public SkySense++
            code), none.
        geo: None switches geo-context off.
        official_validity: True is the official rule: invalid pixels become zero before normalising, and
            nothing is masked. False: they become zero after normalising, and patches and tokens without
            enough valid pixels are masked.
        hr_bands, s2_bands: what these encoders take, one of `ENCODER_BANDS`.

    Raises:
        ValueError: there is no encoder for such bands.
    """

    hr: SwinConfig
    s2: VitConfig
    s1: VitConfig
    fusion: FusionConfig
    date_encoding: DateEncoding = "all"
    geo: GeoConfig | None = None
    official_validity: bool = False
    hr_bands: tuple[str, ...] = SENSORS["hr"].bands
    s2_bands: tuple[str, ...] = SENSORS["s2"].bands

    def __post_init__(self) -> None:
        for modality in ENCODER_BANDS:
            if self.bands(modality) not in ENCODER_BANDS[modality]:
                raise ValueError(f"no {modality} encoder takes the bands {self.bands(modality)}")

    @property
    def encoder_bands(self) -> EncoderBands:
        """What the encoder of each modality takes."""
        return {**USUAL_BANDS, "hr": self.hr_bands, "s2": self.s2_bands}

    def bands(self, modality: Modality) -> tuple[str, ...]:
        """What the encoder of a modality takes."""
        return self.encoder_bands[modality]

    def usual_bands(self, modality: Modality) -> bool:
        """Whether the encoder of a modality takes the bands of the released weights."""
        return self.bands(modality) == USUAL_BANDS[modality]

    @property
    def token_dim(self) -> int:
        """Channels of the tokens before the fusion's projection: those of the last Swin stage."""
        return self.hr.dim * 2 ** (len(self.hr.depths) - 1)

    @property
    def fused_dim(self) -> int:
        """Channels of `Features.fused`: twice the fusion's with geo-context."""
        return self.fusion.dim * (1 if self.geo is None else 2)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; the usual bands go unsaid, as in files that are older than the choice."""
        unsaid = {f"{modality}_bands" for modality in ENCODER_BANDS if self.usual_bands(modality)}
        return {name: value for name, value in asdict(self).items() if name not in unsaid}

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> "ModelConfig":
        """Inverse of `to_json`; raises TypeError, KeyError or ValueError for what `to_json` cannot have written."""

        def fields(part: dict[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()}

        rest = {k: v for k, v in obj.items() if k not in ("hr", "s2", "s1", "fusion", "geo")}
        return cls(
            hr=SwinConfig(**fields(obj["hr"])),
            s2=VitConfig(**fields(obj["s2"])),
            s1=VitConfig(**fields(obj["s1"])),
            fusion=FusionConfig(**fields(obj["fusion"])),
            geo=None if obj.get("geo") is None else GeoConfig(**fields(obj["geo"])),
            **fields(rest),
        )
