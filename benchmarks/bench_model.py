"""The model's fast paths against their plain twins, `huge` with random weights, in one process and alternating.

On a CPU: float32 both, and the fast path in bfloat16. On CUDA: bfloat16 both, and the fast path compiled. Every case
tells what share of the machine's matrix product it reaches, measured in the same run, so that a ratio is not bought by
a slow twin.
Run: .venv/bin/python benchmarks/bench_model.py [cpu] [cuda] (default: the CPU, then CUDA where there is one; each has its
own result file. QUICK=1: the first layers only, 2 rounds).
"""

import copy
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from hardware import write_result
from skysense.model.attention import set_fast
from skysense.model.budget import fusion_flops, swin_flops, vit_flops
from skysense.model.compiled import can_compile, compile_blocks
from skysense.model.config import FusionConfig, ModelConfig
from skysense.model.device import pick_device
from skysense.model.fuse import CellWindow, fuse_tile
from skysense.model.fusion import TransformerEncoder
from skysense.model.presets import PRESETS
from skysense.model.swin_v2 import SwinTransformerV2
from skysense.model.tokens import MapTokens, SeriesTokens, folded_projection, plain_projection
from skysense.model.uphead import UPHead
from skysense.model.vit import VisionTransformer
from torch import Tensor, nn

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = 2 if QUICK else 6
HUGE: ModelConfig = PRESETS["huge"]
DATES = {"s2": 20, "s1": 10}

Run = Callable[[], Tensor]


def random_weights(build: Callable[[], nn.Module], device: torch.device) -> nn.Module:
    """The module with small random weights, without the minutes that proper initial values take."""
    with torch.device("meta"):
        model = build()
    model = model.to_empty(device=device).eval()
    for name, tensor in model.state_dict().items():
        if name.endswith(("norm.weight", "ln1.weight", "ln2.weight", "logit_scale")) or ".norm" in name:
            tensor.fill_(1.0)
        else:
            tensor.uniform_(-0.03, 0.03)
    return model


class Fusing(nn.Module):
    """UPHeads, projections and fusion of one tile of side x side pixels: the work between the encoders' tokens and
    the fused features."""

    def __init__(self, config: FusionConfig, layers: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.fusion = TransformerEncoder(HUGE.token_dim, config.dim, layers, config.heads)
        self.heads = nn.ModuleDict(
            {"s2": UPHead(HUGE.s2.dim, HUGE.token_dim), "s1": UPHead(HUGE.s1.dim, HUGE.token_dim)}
        )
        self.folds: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(self, hr: Tensor, patches: dict[str, Tensor]) -> Tensor:
        linear = self.fusion.porj_linear
        sources: list[Any] = [MapTokens(linear(hr), None, 4)]
        for modality, tokens in patches.items():
            head: Any = self.heads[modality]
            if self.fusion.fast:
                if modality not in self.folds:
                    self.folds[modality] = head.fold(linear.weight, linear.bias)
                project = folded_projection(*self.folds[modality], None, 4)
            else:
                project = plain_projection(head, linear, None, 1)
            sources.append(SeriesTokens(tokens, None, project, 4))
        return fuse_tile(self.fusion, sources, CellWindow(1, 0, self.side, self.side), hr)[0]


def ceiling(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of the best of three matrix products of the model's sizes, into memory that is there already."""
    best = 0.0
    for m, k, n in ((2048, 2048, 2048), (4096, 1024, 4096), (4096, 4096, 1024)):
        if device.type == "cuda":
            m *= 8
        a, b = (torch.randn(*shape, device=device).to(dtype) for shape in ((m, k), (k, n)))
        out = torch.empty(m, n, device=device, dtype=dtype)
        for _ in range(ROUNDS + 1):
            wall, _ = timed(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device)
            best = max(best, 2 * m * k * n / wall)
    return best


def timed(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(name: str, model: nn.Module, inputs: tuple[Any, ...], flops: dict[str, float]) -> dict[str, Any]:
    """Alternate the twins of one case.

    Args:
        flops: operations of "plain" and of "fast".
    """

    def cast(value: Any, dtype: torch.dtype) -> Any:
        return {k: cast(v, dtype) for k, v in value.items()} if isinstance(value, dict) else value.to(dtype)

    device = next(model.parameters()).device
    cuda = device.type == "cuda"

    def variant(dtype: torch.dtype, fast: bool, compiled: bool = False) -> Run:
        twin = copy.deepcopy(model).to(dtype) if fast else model.to(dtype)
        set_fast(twin, fast)
        given = tuple(cast(value, dtype) for value in inputs)

        def run() -> Tensor:
            out = twin(*given)
            return out[-1] if isinstance(out, tuple) else out

        if compiled:
            with torch.inference_mode():
                run()
            compile_blocks(twin)
        return run

    base = torch.bfloat16 if cuda else torch.float32
    runs = {"plain": variant(base, False), "fast": variant(base, True)}
    if cuda and can_compile(device):
        runs["compiled"] = variant(base, True, compiled=True)
    elif not cuda:
        runs["bfloat16"] = variant(torch.bfloat16, True)
    with torch.inference_mode():
        outputs = {key: run().double() for key, run in runs.items()}
        times: dict[str, list[tuple[float, float]]] = {key: [] for key in runs}
        for _ in range(ROUNDS):
            for key, run in runs.items():
                times[key].append(timed(run, device))
    best = {key: tuple(min(column) for column in zip(*values, strict=True)) for key, values in times.items()}
    ratios = {
        key: (best["plain"][0] / best[key][0], best["plain"][1] / best[key][1])
        for key in runs
        if key != "plain"
    }
    row: dict[str, Any] = {"case": name}
    for key in runs:
        wall, cpu = best[key]
        done = flops["plain" if key == "plain" else "fast"]
        share = done / wall / CEILING[torch.bfloat16 if cuda or key == "bfloat16" else torch.float32]
        row[key] = {
            "wall_s": round(wall, 4),
            "cpu_s": round(cpu, 3),
            "gflop_per_s": round(done / wall / 1e9),
            "share_of_ceiling": round(share, 3),
        }
        if key != "plain":
            by_wall, by_cpu = ratios[key]
            used = "wall" if cuda or abs(by_wall / by_cpu - 1) <= 0.1 else "cpu"
            row[key] |= {"over_plain": round(by_wall if used == "wall" else by_cpu, 3), "judged_by": used}
            error = (outputs[key] - outputs["plain"]).norm() / outputs["plain"].norm()
            row[key]["relative_error"] = float(f"{error:.2e}")
    print(row, flush=True)
    return row


def bench(device: torch.device) -> None:
    """Measure all cases on a device and write the result."""
    cuda = device.type == "cuda"
    torch.manual_seed(0)
    CEILING.clear()
    with torch.inference_mode():
        CEILING.update({dtype: ceiling(dtype, device) for dtype in (torch.float32, torch.bfloat16)})
    print({str(k): f"{v / 1e9:.0f} GFLOP/s" for k, v in CEILING.items()}, flush=True)
    batch = 16 if cuda else 1
    hr, vit, fusion = HUGE.hr, HUGE.s2, HUGE.fusion
    depths = (2, 2, 2, 2) if QUICK else hr.depths
    layers = 2 if QUICK else vit.layers
    rows = []

    side = 512 if cuda else 256
    swin = random_weights(lambda: SwinTransformerV2(hr.dim, depths, hr.heads), device)
    work = batch * swin_flops(type(hr)(hr.dim, depths, hr.heads), side)
    rows.append(
        measure(
            f"Swin-H, {batch} x 3 x {side} x {side}",
            swin,
            (torch.randn(batch, 3, side, side, device=device),),
            {"plain": work, "fast": work},
        )
    )
    del swin

    images = 128 if cuda else 4
    encoder = random_weights(
        lambda: VisionTransformer(vit.dim, layers, vit.heads, 10, with_cls_token=False), device
    )
    work = images * vit_flops(type(vit)(vit.dim, layers, vit.heads), 10, 64)
    rows.append(
        measure(
            f"ViT-L, {images} x 10 x 64 x 64",
            encoder,
            (torch.randn(images, 10, 64, 64, device=device),),
            {"plain": work, "fast": work},
        )
    )
    del encoder

    tile = 64 if cuda else 16  # pixels along the tile whose locations are fused
    dim, cells, tokens = fusion.dim, tile**2, 1 + sum(DATES.values())
    fusing = random_weights(lambda: Fusing(fusion, layers, tile), device)
    patches = {m: torch.randn(t, tile // 4, tile // 4, HUGE.s2.dim, device=device) for m, t in DATES.items()}
    up = 2 * sum(DATES.values()) * cells * HUGE.token_dim * (HUGE.s2.dim + dim)
    hr_projection = 2 * cells * HUGE.token_dim * dim
    rest = layers * (24 * (tokens + 1) * dim**2 + 4 * (tokens + 1) ** 2 * dim) * cells
    folded = 2 * sum(DATES.values()) * cells * HUGE.s2.dim * dim
    fast = folded + hr_projection + cells * fusion_flops(FusionConfig(dim, layers, fusion.heads), tokens)
    name = f"Fusion with UPHead, {cells} locations x {tokens} tokens"
    given = (torch.randn(tile, tile, HUGE.token_dim, device=device), patches)
    work = {"plain": up + hr_projection + rest, "fast": fast}
    rows.append(measure(name, fusing, given, work))

    if not QUICK:
        write_result(
            "model",
            {
                "device": torch.cuda.get_device_name() if cuda else "cpu",
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "rounds": ROUNDS,
                "ceiling_gflop_per_s": {
                    str(k).removeprefix("torch."): round(v / 1e9) for k, v in CEILING.items()
                },
                "rows": rows,
            },
            gpu=cuda,
        )


def main() -> None:
    """Measure on the devices that are named, or that are there."""
    pick_device("cpu")  # sets threads and heap as jobs do
    there = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for name in sys.argv[1:] or there:
        bench(torch.device(name))


CEILING: dict[torch.dtype, float] = {}

if __name__ == "__main__":
    main()
