"""SkySense: the three encoders, the fusion and the geo-context as one model.

Submodules carry the prefixes of the released combined checkpoint. Shapes: see `inputs`.
Source: reference specification 1; Guo et al. 2024, "SkySense".
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.attention import WeightCache, set_fast
from skysense.model.config import ModelConfig, VitConfig
from skysense.model.dates import DAYS, date_encoding, is_dated
from skysense.model.fuse import CellWindow, fuse_tile, fuse_tiles
from skysense.model.fusion import TransformerEncoder
from skysense.model.geocontext import GeoContext
from skysense.model.inputs import Features, Inputs, Series, channel_statistics
from skysense.model.sparse import fuse_cells
from skysense.model.swin_v2 import SwinTransformerV2
from skysense.model.tokens import (
    PATCH,
    MapTokens,
    PatchSeries,
    SeriesTokens,
    TokenSource,
    encode_series,
    folded_projection,
    plain_projection,
    resample_hr,
)
from skysense.model.uphead import UPHead
from skysense.model.validity import block_valid, fill_invalid
from skysense.model.vit import VisionTransformer
from skysense.scene.sensors import Modality

SERIES: tuple[Modality, ...] = ("s2", "s1")


class SkySense(nn.Module):
    """Any subset of HR, Sentinel-2 and Sentinel-1, to features.

    `fast` (see `set_fast`) chooses between the fast and the spelled-out path; they agree to rounding.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.fast = config, True
        hr, fusion = config.hr, config.fusion
        self.backbone_gep = SwinTransformerV2(
            hr.dim,
            hr.depths,
            hr.heads,
            extra_norm_every_n_blocks=hr.extra_norm_every,
            window_size=hr.window,
            out_indices=hr.out_indices,
            pad_small_map=hr.pad_small_map,
            drop_path_rate=hr.drop_path,
            in_channels=len(config.hr_bands),
        )
        self.backbone_s2 = _vit(config.s2, len(config.s2_bands))
        self.backbone_s1 = _vit(config.s1, len(config.bands("s1")))
        self.head_s2 = UPHead(config.s2.dim, config.token_dim, PATCH)
        self.head_s1 = UPHead(config.s1.dim, config.token_dim, PATCH)
        self.fusion = TransformerEncoder(
            config.token_dim, fusion.dim, fusion.layers, fusion.heads, drop_path_rate=fusion.drop_path
        )
        self.ctpe = nn.Parameter(torch.zeros(1, DAYS, config.token_dim))
        self.geo_context = (
            None if config.geo is None else GeoContext(fusion.dim, config.geo.prototypes, config.geo.regions)
        )
        self._folds = {modality: WeightCache() for modality in SERIES}
        self.locations: int | None = None  # fused at a time, see `fuse.fuse_tile`

    def train(self, mode: bool = True) -> "SkySense":
        for fold in self._folds.values():
            fold.reset(keep=not mode)
        return super().train(mode)

    def set_fast(self, fast: bool) -> None:
        """Choose the fast (default) or the spelled-out path everywhere."""
        set_fast(self, fast)

    def encode_hr(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, ...]:
        """HR images to Swin maps.

        Args:
            x: (B, 3, H, W) normalised; 4 bands where `config.hr_bands` are.
            valid: (B, H, W) bool; invalid pixels are filled with 0 (the official rule: with black).

        Returns:
            Per stage of `config.hr.out_indices` a map (B, C_i, ceil H/s, ceil W/s), s = 4, 8, 16, 32.
        """
        fill = self._official_fill("hr", x)
        maps: tuple[Tensor, ...] = self.backbone_gep(fill_invalid(x, valid, 0.0 if fill is None else fill))
        return maps

    def encode_series(self, modality: Modality, series: Series) -> PatchSeries:
        """S2 or S1 acquisitions, each by itself, to patch tokens (B, T, h/4, w/4, C)."""
        vit = self.backbone_s2 if modality == "s2" else self.backbone_s1
        return encode_series(vit, series, self._official_fill(modality, series.x))

    def upsample(self, modality: Modality, series: PatchSeries) -> Tensor:
        """Patch tokens -> F_i at 10 m, (B, T, token_dim, h, w) with h and w rounded up to whole patches."""
        batch = series.patches.shape[:2]
        up: Tensor = self._head(modality)(series.patches.flatten(0, 1).permute(0, 3, 1, 2))
        return up.unflatten(0, batch)

    def forward(
        self, inputs: Inputs, *, crop: int = 0, fusion_stride: int = 1, series_maps: bool = False
    ) -> Features:
        """Features of a batch of tiles.

        Args:
            crop: 10 m pixels dropped at each side of the tile before fusion.
            fusion_stride: 1, 2 or 4: fuse means over s x s pixels, interpolated back to 10 m.
            series_maps: give `Features.s2` and `Features.s1` as well.

        Raises:
            ValueError: sizes that do not fit together, or nothing to encode.
        """
        size = _base_size(inputs)
        hr_maps = None if inputs.hr is None else self.encode_hr(inputs.hr, inputs.hr_valid)
        if size is None:
            return Features(hr=hr_maps)
        window = CellWindow(fusion_stride, crop, *size)
        encoded, hr_cells = self._encode(inputs, hr_maps, window)
        features = Features(hr=hr_maps)
        features.fused, features.fused_valid = self._fuse(hr_cells, encoded, inputs.region, window)
        if series_maps:
            for modality, patches in encoded.items():
                setattr(features, modality, self.upsample(modality, patches)[..., : size[0], : size[1]])
        return features

    def forward_at(
        self, inputs: Inputs, rows: Tensor, cols: Tensor, *, fusion_stride: int = 1
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...] | None]:
        """Features of a few 10 m pixels of one tile: those of `forward`, without fusing the rest.

        Args:
            inputs: of one tile, with something to fuse.
            rows, cols: (N,) int64 pixels of the whole tile.
            fusion_stride: 2 or 4: the features are those of the cell that holds the pixel, not interpolated.

        Returns:
            (N, D), zeros where no token is valid; validity (N,); and the Swin maps, see `encode_hr`, or None.
        """
        size = _base_size(inputs)
        assert size is not None
        hr_maps = None if inputs.hr is None else self.encode_hr(inputs.hr, inputs.hr_valid)
        window = CellWindow(fusion_stride, 0, *size)
        encoded, hr_cells = self._encode(inputs, hr_maps, window)
        like = _like(hr_cells, encoded)
        sources = self._sources(hr_cells, encoded, self._folded(encoded, window), 0, window)
        rows, cols = (places.to(like.device) // fusion_stride for places in (rows, cols))
        fused, valid = fuse_cells(self.fusion, sources, rows, cols, window.per_patch, like)
        if self.geo_context is not None:
            fused = self.geo_context(fused, self.geo_context.matches(inputs.region, 1)[0]) * valid[:, None]
        return fused, valid, hr_maps

    def _encode(
        self, inputs: Inputs, hr_maps: tuple[Tensor, ...] | None, window: CellWindow
    ) -> tuple[dict[Modality, PatchSeries], tuple[Tensor, Tensor | None] | None]:
        """What is fused: the series' patch tokens, and HR tokens of all cells with their validity."""
        encoded = {
            modality: self.encode_series(modality, series)
            for modality in SERIES
            if (series := inputs.series(modality)) is not None
        }
        if hr_maps is None or inputs.hr_per_base is None:
            return encoded, None
        return encoded, self._hr_cells(hr_maps[-1], inputs, window)

    def _fuse(
        self,
        hr_cells: tuple[Tensor, Tensor | None] | None,
        encoded: dict[Modality, PatchSeries],
        region: Tensor | None,
        window: CellWindow,
    ) -> tuple[Tensor, Tensor]:
        like = _like(hr_cells, encoded)
        matches = None if self.geo_context is None else self.geo_context.matches(region, len(like))
        folds = self._folded(encoded, window)
        sources = [self._sources(hr_cells, encoded, folds, b, window) for b in range(len(like))]
        if len(sources) > 1 and like.device.type != "cpu":
            tiles = fuse_tiles(self.fusion, sources, window, like)
        else:
            # Tile by tile: a tile's features then depend on no other tile of the batch, and its cloudy dates cost
            # nothing.
            tiles = [fuse_tile(self.fusion, own, window, like, self.locations) for own in sources]
        if self.geo_context is not None and matches is not None:
            tiles = [
                (self.geo_context(fused, match) * valid[..., None], valid)
                for (fused, valid), match in zip(tiles, matches, strict=True)
            ]
        return window.to_pixels(torch.stack([f for f, _ in tiles]), torch.stack([v for _, v in tiles]))

    def _sources(
        self,
        hr_cells: tuple[Tensor, Tensor | None] | None,
        encoded: dict[Modality, PatchSeries],
        folds: dict[Modality, tuple[Tensor, Tensor]],
        b: int,
        window: CellWindow,
    ) -> list[TokenSource]:
        """The modalities that have a valid token in tile b."""
        sources: list[TokenSource] = []
        if hr_cells is not None:
            cells, valid = hr_cells[0][b], None if hr_cells[1] is None else hr_cells[1][b]
            if valid is None or bool(valid.any()):
                sources.append(MapTokens(cells, valid, window.per_patch))
        for modality, series in encoded.items():
            source = self._series_tokens(modality, series, b, window.stride, folds.get(modality))
            if source is not None:
                sources.append(source)
        return sources

    def _folded(
        self, encoded: dict[Modality, PatchSeries], window: CellWindow
    ) -> dict[Modality, tuple[Tensor, Tensor]]:
        return {modality: self._fold(modality, window.stride) for modality in encoded} if self.fast else {}

    def _fold(self, modality: Modality, stride: int) -> tuple[Tensor, Tensor]:
        """See `UPHead.fold`."""
        linear, head = self.fusion.porj_linear, self._head(modality)
        folded: tuple[Tensor, Tensor] = self._folds[modality].get(
            [*linear.parameters(), *head.parameters()],
            lambda: head.fold(linear.weight, linear.bias, stride),
            extra=stride,
        )
        return folded

    def _series_tokens(
        self,
        modality: Modality,
        series: PatchSeries,
        b: int,
        stride: int,
        fold: tuple[Tensor, Tensor] | None,
    ) -> SeriesTokens | None:
        """Tokens of tile b, by way of `fold` where given; dates without a valid patch are left out, None when nothing is left."""
        patches, valid, day = series.patches[b], None, None if series.day is None else series.day[b]
        if series.valid is not None:
            valid = series.valid[b]
            alive = valid.flatten(1).any(1)
            if not bool(alive.any()):
                return None
            if not bool(alive.all()):
                patches, valid, day = patches[alive], valid[alive], None if day is None else day[alive]
            valid = None if bool(valid.all()) else valid
        date = self._date(modality, day)
        linear, head = self.fusion.porj_linear, self._head(modality)
        if fold is None:
            return SeriesTokens(patches, valid, plain_projection(head, linear, date, stride), PATCH // stride)
        projected = None if date is None else F.linear(date, linear.weight)
        return SeriesTokens(
            patches, valid, folded_projection(*fold, projected, PATCH // stride), PATCH // stride
        )

    def _hr_cells(self, hr_map: Tensor, inputs: Inputs, window: CellWindow) -> tuple[Tensor, Tensor | None]:
        """Projected HR tokens (B, y, x, D) of all cells and their validity (B, y, x), None for all valid."""
        factor, size, linear = (
            cast(int, inputs.hr_per_base),
            (window.height, window.width),
            self.fusion.porj_linear,
        )
        date = self._date("hr", inputs.hr_day)
        if self.fast:  # the projection is linear: before the resampling it has fewer pixels to do
            projected = linear(hr_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            cells = resample_hr(projected, factor, size, window.stride).permute(0, 2, 3, 1)
            if date is not None:
                cells = cells + F.linear(date, linear.weight)[:, None, None]
        else:
            cells = resample_hr(hr_map, factor, size, window.stride).permute(0, 2, 3, 1)
            cells = linear(cells if date is None else cells + date[:, None, None])
        if inputs.hr_valid is None or self.config.official_validity or bool(inputs.hr_valid.all()):
            return cells, None
        valid = block_valid(inputs.hr_valid, factor * window.stride)
        pad = (0, cells.shape[2] - valid.shape[2], 0, cells.shape[1] - valid.shape[1])
        return cells, F.pad(valid, pad)

    def _date(self, modality: Modality, day: Tensor | None) -> Tensor | None:
        if day is None or not is_dated(modality, self.config.date_encoding):
            return None
        return date_encoding(self.ctpe, day)

    def _head(self, modality: Modality) -> UPHead:
        return self.head_s2 if modality == "s2" else self.head_s1

    def _official_fill(self, modality: Modality, like: Tensor) -> Tensor | None:
        if not self.config.official_validity:
            return None
        mean, std = channel_statistics(modality, like, self.config.bands(modality))
        return -mean / std


def _like(hr_cells: tuple[Tensor, Tensor | None] | None, encoded: dict[Modality, PatchSeries]) -> Tensor:
    """A tensor of the features' dtype and device."""
    return (
        next(iter(encoded.values())).patches if encoded else cast(tuple[Tensor, Tensor | None], hr_cells)[0]
    )


def _vit(config: VitConfig, bands: int) -> VisionTransformer:
    return VisionTransformer(
        config.dim,
        config.layers,
        config.heads,
        bands,
        img_size=config.img_size,
        patch_size=PATCH,
        with_cls_token=config.with_cls_token,
        drop_path_rate=config.drop_path,
        eps=config.eps,
        interpolate_mode=config.interpolate_mode,
    )


def _base_size(inputs: Inputs) -> tuple[int, int] | None:
    """Height and width of the tiles in 10 m pixels; None when HR stands alone."""
    sizes = {
        modality: tuple(series.x.shape[-2:])
        for modality in SERIES
        if (series := inputs.series(modality)) is not None
    }
    if inputs.hr is None and not sizes:
        raise ValueError("no modality to encode")
    factor = inputs.hr_per_base
    if inputs.hr is not None and factor is not None:
        height, width = inputs.hr.shape[-2:]
        if factor < 1 or factor & (factor - 1) or height % factor or width % factor:
            raise ValueError(
                f"hr_per_base must be a power of two that divides {height} x {width} HR pixels, not {factor}"
            )
        sizes["hr"] = (height // factor, width // factor)
    elif inputs.hr is not None and sizes:
        raise ValueError("hr_per_base is needed to fuse HR with Sentinel images")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"tiles differ in size: {sizes} (10 m pixels)")
    return cast(tuple[int, int], next(iter(sizes.values()))) if sizes else None
