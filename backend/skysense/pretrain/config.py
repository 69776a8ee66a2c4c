"""Every setting of a pretraining, with the reason for what the paper leaves open.

"Paper" is Guo et al. 2024, SkySense (CVPR); "spec" the reference specification, section 2.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from skysense.errors import InputError


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a run; the defaults are those of the shipped `tiny`.

    Sizes are in pixels of 10 m for Sentinel, in HR pixels where HR stands alone.
    """

    # What fresh weights are.
    structured: bool = True  # `seasons` and `scales`; False: the specification's, from which it is far longer to useful features

    # What a step sees.
    steps: int = 2000
    batch: int = 16  # windows per step over all processes; the paper has 240
    accumulate: int = 1  # micro-batches per step
    window: int = 32  # read around a place; views are cropped from it
    crop: int = 16  # a global view, a multiple of the 4-pixel patch; HR views keep the paper's ratio
    hr_window: int = 384
    hr_crop: int = 256  # whole windows of Swin's last stage (8 x 32 pixels)
    s2_dates: int = 8  # the paper samples 20 of 65
    s1_dates: int = 4  # the paper samples 10 of 13
    pixels_per_view: int = 64  # locations of the pixel level; all of them would cost more than the encoders
    seed: int = 0

    # Augmentation; the paper names the kinds only (spec 2.3).
    local_views: int = 0  # multi-crop: half the side, student only; each adds about 1/8 of a step
    drop_modality: float = 0.1  # per modality and view, never the last one; scenes of one sensor exist
    drop_place: float = 0.1  # the geo-context's constant learns what serves a place whose region was never trained
    drop_date: float = 0.1  # per drawn acquisition, never the last one; series have gaps
    date_jitter: int = 5  # days either way, the revisit time of Sentinel-2
    s2_gain: float = 0.05  # sd per acquisition and band; about what surface reflectance is accurate to
    s2_noise: float = 50.0  # sd per pixel in reflectance x 10,000; below the spread inside a field
    s1_gain: float = 0.5  # sd in dB per acquisition and band; between relative orbits
    s1_noise: float = 0.5  # sd in dB per pixel; a quarter of the speckle of a 10 m product
    hr_scale: float = 0.5  # smallest source side of an HR view over `hr_window`; DINO's areas start at 0.25
    hr_colour_chance: float = 0.8  # DINO
    hr_brightness: float = 0.4  # and contrast, DINO; no hue: it would swap soil and vegetation
    hr_saturation: float = 0.2  # DINO
    hr_grey_chance: float = 0.1  # half of DINO's: seen from above, colour is much of what there is
    hr_blur: float = 2.0  # largest sd of the kernel in pixels, DINO
    hr_solarise_chance: float = 0.2  # second view only, DINO
    hr_noise: float = 0.01  # sd per pixel on 0..1; 2.5 grey levels of 256

    # L_CL: self-distillation without negatives, DINO family (spec 2.1).
    head_hidden: int = 256
    head_bottleneck: int = 64
    head_outputs: int = 1024  # DINO's 65,536 is for a million images
    student_temperature: float = 0.1  # DINO
    teacher_temperature: float = 0.04  # DINO
    teacher_temperature_start: float = 0.03
    object_clusters: int = 8  # N_C; about the fields and surfaces in a view of 160 m
    cluster_rounds: int = 3  # centres settle within three rounds of assignment and mean
    sinkhorn_epsilon: float = 0.05  # SwAV
    sinkhorn_iterations: int = 3  # SwAV

    # Which terms; a weight of 0 switches one off.
    pixel_weight: float = 1.0  # the article adds the levels without weights
    object_weight: float = 1.0
    image_weight: float = 1.0
    align_weight: float = 0.1  # beta; alpha is 1
    align_temperature: float = 0.1
    geo_prototypes: int = 16  # per region; 0 switches geo-context off; `huge` has 100
    geo_momentum: float = 0.996

    # Optimisation: AdamW with cosine schedules (DINO).
    lr: float = 5e-4  # at `batch` 16; scaled by hand
    lr_end: float = 1e-6
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.04
    weight_decay_end: float = 0.2
    teacher_momentum: float = 0.99  # DINO has 0.996 for 100 times as many steps
    clip: float = 3.0
    bfloat16: bool = False
    checkpoint_activations: bool = False

    # Reading.
    area_exponent: float = 0.5  # of a scene's size in windows: 1 draws by area alone, 0 every place alike
    min_valid: float = 0.25  # share of a window that a modality must show; below, it is left out of the window
    cache_mb: int = 1024  # decoded imagery kept in memory by each process
    block_mb: int = 16  # decoded at once: about a square of 128 pixels of a year's series
    block_steps: int = 8  # windows from one block where the imagery is larger than the cache
    workers: int = 2  # threads that read and augment beside the training

    # Keeping.
    save_every: int = 200
    probe_every: int = 0  # steps between probes on labelled scenes; 0 = never

    def check(self, processes: int) -> None:
        """Raise InputError for settings that do not fit together, in a run of so many processes."""
        if self.crop > self.window or self.crop % 4:
            raise InputError(
                f"views of {self.crop} pixels cannot be cropped from windows of {self.window}",
                "recipe",
                "Choose a crop of a multiple of 4, at most the window",
            )
        if self.batch < self.accumulate * processes:
            raise InputError(
                f"a batch of {self.batch} windows cannot be dealt to {self.accumulate} micro-batches of {processes} processes",
                "recipe",
                "Choose a larger batch, or accumulate less",
            )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The settings' names."""
        return tuple(item.name for item in fields(cls))
