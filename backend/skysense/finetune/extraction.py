"""The features of a scene as every job gets them: a backbone, the scene's reader, and the store of what is known already."""

from skysense.finetune.features import FeatureExtractor
from skysense.finetune.series import Anchors
from skysense.finetune.store import open_store
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Options
from skysense.model.backbone import Backbone
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tiling
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import Modality

#: Bytes of new features from which the user is told of them.
_MUCH = 1e9


def open_extractor(
    scene: Scene,
    reader: SceneReader,
    tiling: Tiling,
    backbone: Backbone,
    precision: str,
    options: Options,
    encoded: tuple[Modality, ...],
    anchors: dict[Modality, Anchors],
    hr_bands: tuple[str, ...],
) -> FeatureExtractor:
    """An extractor with the scene's store; the arguments are those of `features.FeatureExtractor` and `store.open_store`.

    Raises:
        InputError: a file of the scene is gone.
    """
    model = backbone.in_precision(precision)
    device = next(model.parameters()).device
    stride = options.fusion_stride
    store = open_store(
        scene, tiling, backbone.identity, device, precision, stride, encoded, anchors, options.verify
    )
    return FeatureExtractor(
        model, reader, tiling.layout, tiling, anchors, hr_bands, stride, encoded, store=store
    )


def tell_size(extractor: FeatureExtractor, tiling: Tiling, control: JobControl) -> None:
    """Before a run over the whole area: a note where the features that it will keep take much of the disk."""
    if extractor.store is None:
        return
    new = sum(not extractor.store.has(tile) for tile in tiling.over(tiling.layout.area))
    size = new * extractor.kept_bytes
    if size >= _MUCH:
        control.note(
            f"The features of this area take {size / 1e9:.0f} GB; up to {extractor.store.limit / 1e9:.0f} GB are kept in "
            f"{extractor.store.folder}, so that the next map of it takes seconds. `skysense cache --clear` removes them."
        )
