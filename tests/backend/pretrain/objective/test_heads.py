import torch
import torch.nn.functional as F
from skysense.model.presets import preset
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective.heads import Heads, ProjectionHead, feature_dims


def test_a_head_gives_cosines_with_its_outputs():
    torch.manual_seed(0)
    head, x = ProjectionHead(6, 8, 4, 5).double(), torch.randn(3, 6, dtype=torch.float64)
    first, _, second, _, third = head.mlp
    hidden = F.gelu(F.gelu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    bottleneck = hidden @ third.weight.T + third.bias
    for m, k in ((0, 0), (1, 3), (2, 4)):
        expected = F.cosine_similarity(bottleneck[m], head.outputs[k], dim=0)
        torch.testing.assert_close(head(x)[m, k], expected)


def test_the_length_of_an_output_does_not_matter():
    torch.manual_seed(0)
    head, x = ProjectionHead(6, 8, 4, 5).double(), torch.randn(3, 6, dtype=torch.float64)
    before = head(x)
    with torch.no_grad():
        head.outputs[2] *= 7
    torch.testing.assert_close(head(x), before)
    assert head(x[:0]).shape == (0, 5)


def test_one_head_per_kind_of_feature():
    model, config = preset("tiny"), PretrainConfig(head_outputs=32)
    heads = Heads(model, config)
    assert feature_dims(model) == {
        "hr_1": 32, "hr_2": 64, "hr_3": 128, "hr_4": 256, "s2": 256, "s1": 256, "fused": 96,
    }  # fmt: skip
    for kind, dim in heads.dims.items():
        assert heads(kind, torch.ones(2, dim)).shape == (2, 32)
