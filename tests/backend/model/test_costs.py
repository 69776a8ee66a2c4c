"""What `skysense info` says of the presets: units, text, and one complete JSON object."""

import json

import pytest
from skysense.cli import main
from skysense.model.budget import budget, swin_flops, tile_flops
from skysense.model.costs import millions, with_unit
from skysense.model.presets import PRESETS


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.00 kB"),
        (1000, "1.00 kB"),
        (21_824, "21.8 kB"),
        (131_200_000, "131 MB"),
        (999_600_000, "1.00 GB"),
        (9.996e9, "10.0 GB"),
        (99.96e9, "100 GB"),
        (3.2e18, "3200 PB"),
    ],
)
def test_units(value: float, text: str) -> None:
    assert with_unit(value, "B") == text


def test_millions() -> None:
    assert [millions(n) for n in (6_931_132, 99_960_000, 1_659_013_072)] == ["6.9 M", "100 M", "1,659 M"]


def test_json_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "small", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    config, plain = PRESETS["small"], budget(PRESETS["small"])
    assert cost["preset"] == "small" and cost["parameters"] == 45_607_548
    assert cost["float32_bytes"] == 4 * cost["parameters"] and cost["float16_bytes"] == plain.float16_bytes
    hr = cost["hr_tile"]
    assert hr["flops"] == swin_flops(config.hr, 1024)
    assert hr["flops_per_pixel"] == round(hr["flops"] / 896**2) > cost["hr_flops_per_pixel"]
    fused = cost["fused_tile"]
    assert (fused["s2_dates"], fused["s1_dates"], fused["side"], fused["kept_side"]) == (12, 6, 64, 56)
    for stride in (1, 2, 4):
        tile = fused["fusion_stride"][str(stride)]
        flops = tile_flops(config, n_s2=12, n_s1=6, hr=False, tile=64, core=56, fusion_stride=stride)
        assert (tile["flops"], tile["flops_per_pixel"]) == (flops, round(flops / 56**2))
    assert fused["fusion_stride"]["1"]["flops_per_pixel"] == cost["base_flops_per_pixel"]
    memory = cost["cpu_memory"]
    most = max(hr["working_bytes"], *(tile["working_bytes"] for tile in fused["fusion_stride"].values()))
    assert memory["most_working_bytes"] == most
    assert memory["total_bytes"] == memory["weights_bytes"] + memory["derived_bytes"] + most


def test_text_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "small"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("small: 45.6 M parameters, 182 MB as float32, 91.2 MB as float16\n")
    assert "fusion stride 1: 412 GFLOP a tile, 131 MFLOP per 10 m pixel, 43.5 MB of working memory\n" in text
    assert "207 kFLOP per HR pixel kept (159 kFLOP without the tiles' overlap)" in text


@pytest.mark.parametrize("arguments", [["info"], ["info", "all"]])
def test_presets_side_by_side(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:-1]]
    assert rows == list(PRESETS)


def test_neither_file_nor_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "gigantic"]) == 2
    assert "gigantic" in capsys.readouterr().err
