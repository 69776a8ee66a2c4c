"""Two processes equal one, whatever each of them sees; weights are whole inside a step and rows outside."""

from pathlib import Path

import torch
from processes import in_processes
from safetensors.torch import load_file, save_file
from skysense.model.config import FusionConfig, GeoConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.inputs import Inputs
from skysense.model.skysense import SkySense
from skysense.pretrain.optimiser import clip, make_optimiser
from skysense.pretrain.parallel import all_sum, rank, world_size
from skysense.pretrain.shard import Sharded, full, rows, whole
from skysense.pretrain.teacher import Teacher
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

MINI = ModelConfig(
    SwinConfig(6, (1, 1, 1, 1), (1, 1, 2, 2), window=4),
    VitConfig(8, 2, 2, img_size=16),
    VitConfig(8, 1, 2, img_size=16),
    FusionConfig(12, 2, 2),
    geo=GeoConfig(3, (300,)),
)
SIDE = 8


def scenes() -> list[Inputs]:
    """HR with S2, S1 alone, HR alone: no two use the same parts of the model."""
    rng = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    return [
        Inputs(
            hr=noise(1, 3, SIDE * 8, SIDE * 8),
            hr_per_base=8,
            s2=noise(1, 3, 10, SIDE, SIDE),
            s2_day=torch.tensor([[3, 90, 200]]),
            region=torch.tensor([300]),
        ),
        Inputs(s1=noise(2, 2, 2, SIDE, SIDE)),
        Inputs(hr=noise(1, 3, SIDE * 8, SIDE * 8)),
    ]


def features(model: SkySense, inputs: Inputs) -> Tensor:
    """(places, 24): fused features, or half of HR ones beside themselves."""
    if inputs.hr_per_base is None and inputs.hr is not None:
        last = checkpoint(model.encode_hr, inputs.hr, use_reentrant=False)[-1]
        return last.permute(0, 2, 3, 1).flatten(0, 2)[:, :24]
    fused = model(inputs).fused
    return fused.permute(0, 2, 3, 1).flatten(0, 2)


def train(shares: list[list[int]], steps: int) -> dict[str, Tensor]:
    """Parameters of student and teacher and the moments after some steps of a simple self-distillation.

    Args:
        shares: the scenes of each process.
    """
    torch.manual_seed(rank())  # the first process's weights must win
    model, heads = SkySense(MINI).double(), nn.Linear(24, 3).double()
    nn.init.normal_(model.ctpe)
    teacher = Teacher(model, heads)
    assert not teacher.training
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.1)
    student, twin = Sharded([model, heads]), Sharded([teacher])
    optimiser = make_optimiser([model, heads])
    for group in optimiser.param_groups:
        group["lr"], group["weight_decay"] = 1e-2, 0.1 if group["decays"] else 0.0
    own = [scenes()[i] for i in shares[rank()]]
    norms = []
    for _ in range(steps):
        with whole(student, twin):
            assert model.fusion.porj_linear.weight.shape == (12, 48)
            count = all_sum(torch.tensor(sum(len(features(model, x)) for x in own)))
            for inputs in own:
                with torch.no_grad():
                    target = teacher.heads(features(teacher.model, inputs))
                difference = heads(features(model, inputs)) - target
                (100 * difference.square().sum() / count).backward()
            student.reduce_gradients()
        norms.append(clip([model, heads], 3.0))
        optimiser.step()
        optimiser.zero_grad()
        teacher.update(model, heads, 0.9)
    held = torch.tensor(sum(rows(p)[0].numel() for p in model.parameters()))
    assert all_sum(held) == sum(p.numel() for p in model.parameters())
    assert len(rows(model.fusion.porj_linear.weight)[0]) == 12 // world_size()
    named = {
        **{f"model.{n}": p for n, p in model.named_parameters()},
        **{f"heads.{n}": p for n, p in heads.named_parameters()},
    }
    tensors = {**named, **{f"teacher.{n}": p for n, p in teacher.named_parameters()}}
    for name, parameter in named.items():
        for moment, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = value
    assert min(norms) > 3.0  # so that clipping took part
    return {"norms": torch.tensor(norms, dtype=torch.float64)} | {
        name: full(t) for name, t in tensors.items()
    }


def train_shared(file: Path) -> None:
    forget_what_was_gathered()
    result = train([[0], [1, 2]], 3)
    if rank() == 0:
        save_file({name: t.contiguous() for name, t in result.items()}, file)


class Doubled(nn.Module):
    """Keeps what it has computed from its weight until `train` or `eval`, as `WeightCache` may: addresses recur."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.kept: Tensor | None = None

    def train(self, mode: bool = True) -> "Doubled":
        self.kept = None
        return super().train(mode)

    def forward(self) -> Tensor:
        if self.kept is None:
            self.kept = 2 * self.weight.detach()
        return self.kept


def forget_what_was_gathered() -> None:
    module = Doubled().eval()
    part = Sharded([module])
    for expected in (2.0, 6.0):
        with whole(part):
            assert module().tolist() == 4 * [expected]
        assert not module.training
        rows(module.weight)[0].mul_(3)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    alone = train([[0, 1, 2]], 3)
    in_processes(2, train_shared, tmp_path / "two.safetensors")
    shared = load_file(tmp_path / "two.safetensors")
    assert float(alone["exp_avg.model.fusion.porj_linear.weight"].abs().max()) > 1e-5
    assert shared.keys() == alone.keys()  # what nobody used has no moments in either
    assert "exp_avg.model.backbone_gep.norm0.weight" not in alone
    worst = {
        n: float((shared[n] - t).abs().max() / t.abs().max().clamp_min(1e-300)) for n, t in alone.items()
    }
    assert max(worst.values()) < 1e-9, sorted(worst.items(), key=lambda item: -item[1])[:5]


def test_one_process_is_left_alone() -> None:
    heads = nn.Linear(3, 2)
    weight = heads.weight
    part = Sharded([heads])
    with whole(part):
        heads(torch.ones(1, 3)).sum().backward()
        part.reduce_gradients()
    assert heads.weight is weight and type(weight) is nn.Parameter and weight.grad is not None
    assert rows(weight)[1] == 0 and full(weight).data_ptr() == weight.data_ptr()
