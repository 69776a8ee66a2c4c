"""A small model and the settings of a small run, for the tests that train."""

from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective.geo import with_regions

MINI = ModelConfig(
    SwinConfig(8, (1, 1, 1, 1), (1, 2, 2, 4), window=4),
    VitConfig(16, 2, 2, img_size=32),
    VitConfig(16, 2, 2, img_size=32),
    FusionConfig(24, 2, 2),
)
#: Settings beside which a step takes milliseconds.
SMALL = {
    "batch": 4, "window": 16, "crop": 8, "hr_window": 96, "hr_crop": 64, "s2_dates": 2, "s1_dates": 2,
    "pixels_per_view": 12, "head_hidden": 16, "head_bottleneck": 8, "head_outputs": 12, "object_clusters": 3,
    "geo_prototypes": 2, "structured": False,
}  # fmt: skip


def mini_config(places, config=PretrainConfig(**SMALL)):
    return with_regions(MINI, places, config)
