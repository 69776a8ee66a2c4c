"""The parity runner: it reads whatever an index says, and fails, by name, on whatever it does not know."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.arguments import whole_numbers
from parity.cases import Outcome, run, run_all, tolerances
from parity.compare import Comparison
from parity.fixture import Case, FixtureError, read_cases
from parity.full import parse_fused
from parity.run import main
from parity_fixtures import write_fixtures
from safetensors.torch import load_file, save_file

CASES = ["windows", "patches", "pixels", "tokens", "whole", "places"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity") / "goldens"
    write_fixtures(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "goldens"))


def case(folder: Path, name: str) -> Case:
    return next(case for case in read_cases(folder) if case.name == name)


def outcome(folder: Path, name: str, path: str = "plain", precision: str = "float64") -> Outcome:
    return run(case(folder, name), path, precision)


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a case's entry of the index."""
    path = folder / "index.json"
    index = json.loads(path.read_text())
    change(index[name])
    path.write_text(json.dumps(index))


def rewrite(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a case's arrays."""
    path = folder / f"{name}.io.npz"
    arrays = dict(np.load(path))
    change(arrays)
    np.savez(path, **arrays)


@pytest.mark.parametrize("name", CASES)
def test_other_shapes_and_configurations_pass(made: Path, name: str) -> None:
    outcomes = list(run_all([case(made, name)]))
    assert all(o.passed for o in outcomes), outcomes
    runs = [(o.path, o.precision) for o in outcomes if o.worst is not None]
    both = [("plain", "float64"), ("plain", "float32"), ("fast", "float64"), ("fast", "float32")]
    assert runs == ([("only", "float64")] if name == "places" else both)


def test_table_and_summary(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--goldens", str(made)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 5 * 4 + 2 + 1
    assert lines[-1] == "Parity: 6 cases, 21 comparisons, all within tolerance."
    geo = [line.split() for line in lines if line.startswith("places")]
    assert geo[0][2:4] == ["only", "float64"] and geo[0][-1] == "pass"
    assert geo[1][2:] == ["only", "float32", "-", "-", "not", "applicable"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("windows", "stages.1.blocks.1.attn.w_msa.cpb_mlp.2.weight"),
        ("windows", "stages.3.blocks.0.attn.w_msa.logit_scale"),
        ("patches", "layers.2.ffn.layers.1.bias"),
        ("patches", "ln1.weight"),
        ("pixels", "decoder.0.bias"),
        ("tokens", "cls_token"),
        ("whole", "ctpe"),
        ("whole", "backbone_s1.pos_embed"),
    ],
)
@pytest.mark.parametrize("path", ["plain", "fast"])
def test_a_perturbed_weight_fails(folder: Path, name: str, key: str, path: str) -> None:
    file = folder / f"{name}.weights.safetensors"
    weights = load_file(file)
    weights[key] = weights[key] + 0.01 * torch.linspace(1, 2, weights[key].numel()).reshape(
        weights[key].shape
    )
    save_file(weights, file)
    failed = outcome(folder, name, path)
    assert not failed.passed and failed.worst is not None and failed.worst > 1e-4 and not failed.reason


def test_every_output_is_compared(folder: Path) -> None:
    for name in CASES:
        outputs = [
            k
            for k in case(folder, name).arrays()
            if k.split("_")[0] in ("out", "cls", "block", "F", "fused", "attn", "M", "S", "P")
        ]
        for output in set(outputs) - {"F", "P"}:
            fresh = np.load(folder / f"{name}.io.npz")[output]
            rewrite(
                folder, name, lambda arrays, k=output: arrays[k].flat.__setitem__(-1, arrays[k].flat[-1] + 1)
            )
            failed = outcome(folder, name, "only" if name == "places" else "plain")
            assert failed.where == output and failed.worst == pytest.approx(1, abs=1e-3), output
            rewrite(folder, name, lambda arrays, k=output, v=fresh: arrays.update({k: v}))


def test_swin_outputs_without_variants(folder: Path) -> None:
    def rename(arrays: dict[str, Any]) -> None:
        for name in list(arrays):
            if "_last" in name or "_strict" in name:
                arrays.pop(name)
            elif "_all" in name:
                arrays[name.replace("_all", "")] = arrays.pop(name)

    rewrite(folder, "windows", rename)
    assert outcome(folder, "windows").reason == "the array out_192x200_all_pad0_s0 is missing"
    edit(folder, "windows", lambda entry: entry.pop("variants"))
    assert outcome(folder, "windows").passed


def test_not_a_number_fails(folder: Path) -> None:
    rewrite(folder, "tokens", lambda arrays: arrays["block_0"].fill(np.nan))
    failed = outcome(folder, "tokens")
    assert not failed.passed and failed.where == "block_0"


def test_unknown_arrays_fail_by_name(folder: Path) -> None:
    for name, strange in (
        ("whole", "fused_dtpe_s3only"),
        ("windows", "out_42x70_all_pad2_s1"),
        ("tokens", "out_f"),
    ):
        rewrite(folder, name, lambda arrays, k=strange: arrays.update({k: np.zeros(3)}))
        assert outcome(folder, name).reason == f"does not know the array {strange}"


def test_missing_arrays_fail_by_name(folder: Path) -> None:
    for name, gone in (("patches", "cls_12x22_two_l0"), ("windows", "in_192x200"), ("whole", "dates_s1")):
        rewrite(folder, name, lambda arrays, k=gone: arrays.pop(k))
        assert outcome(folder, name).reason == f"the array {gone} is missing"


def test_arrays_of_another_shape_fail(folder: Path) -> None:
    rewrite(folder, "pixels", lambda arrays: arrays.update({"out_4x1": arrays["out_4x1"][..., :1]}))
    assert outcome(folder, "pixels").reason == "out_4x1 is 1 x 7 x 8 x 1, ours is 1 x 7 x 8 x 2"


def test_a_map_that_ours_takes_although_the_official_class_refuses_it(folder: Path) -> None:
    rewrite(folder, "windows", lambda arrays: arrays.update({"raises_192x200_all_pad0": np.array(True)}))
    assert "the official class refuses this map" in outcome(folder, "windows").reason


def test_a_refused_map_needs_no_pixels(folder: Path) -> None:
    def drop(arrays: dict[str, Any]) -> None:
        for name in [name for name in arrays if name.startswith(("in_42x70", "out_42x70"))]:
            arrays.pop(name)

    rewrite(folder, "windows", drop)
    assert outcome(folder, "windows").passed
    rewrite(folder, "windows", lambda arrays: arrays.update({"raises_192x192_all_pad0": np.array(True)}))
    assert "the official class refuses this map" in outcome(folder, "windows").reason


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("windows", lambda e: e["config"].update(rope=True), "does not know rope"),
        ("windows", lambda e: e["config"]["arch"].update(extra=1), "does not know extra"),
        ("windows", lambda e: e["config"].update(arch="huge"), "does not know arch = 'huge'"),
        (
            "windows",
            lambda e: e["config"].update(pretrained_window_sizes=[0, 0, 0, 6]),
            "pretrained_window_sizes",
        ),
        ("windows", lambda e: e["config"].update(window_size=[6, 6]), "does not know window_size = [6, 6]"),
        (
            "windows",
            lambda e: e["config"].update(stage_cfgs={"downsample_cfg": {"is_post_norm": False}}),
            "does not know stage_cfgs",
        ),
        ("patches", lambda e: e["config"].update(use_ccd=True), "does not know use_ccd = True"),
        ("patches", lambda e: e["config"].update(img_size=[24, 24, 24]), "does not know img_size"),
        ("patches", lambda e: e["config"].update(qkv_bias=False), "does not know qkv_bias = False"),
        (
            "patches",
            lambda e: e["variants"]["lean"].update(norm_cfg={"type": "BN"}),
            "does not know norm_cfg",
        ),
        ("patches", lambda e: e["config"].pop("num_heads"), "the configuration lacks num_heads"),
        ("pixels", lambda e: e["config"].update(bias=False), "does not know bias"),
        ("tokens", lambda e: e["config"].update(rank=3), "does not know rank"),
        ("whole", lambda e: e["config"].update(vit_depth=3), "does not know vit_depth"),
        ("places", lambda e: e["config"].update(S_scale="columns"), "does not know S_scale = 'columns'"),
        ("tokens", lambda e: e.update(atol_bfloat16=1), "does not know the tolerance atol_bfloat16"),
        ("tokens", lambda e: e.update(rtol="much"), "does not know the tolerance much"),
        ("tokens", lambda e: e.update(cls="Mamba"), "does not know the cls 'Mamba'"),
        ("tokens", lambda e: e.pop("cls"), "the index gives no cls"),
        ("tokens", lambda e: e.pop("weights"), 'the index names no "weights" file'),
        ("tokens", lambda e: e.update(io="elsewhere.npz"), "elsewhere.npz is missing"),
    ],
)
def test_unknown_entries_fail_by_name(folder: Path, name: str, change: Any, reason: str) -> None:
    edit(folder, name, change)
    failed = outcome(folder, name, "only" if name == "places" else "plain")
    assert reason in failed.reason and not failed.passed


def test_neutral_arguments_are_taken(folder: Path) -> None:
    neutral = {"drop_rate": 0.0, "with_cp": True, "qkv_bias": True, "act_cfg": {"type": "GELU"}}
    edit(folder, "tokens", lambda entry: entry["config"].update(neutral))
    assert outcome(folder, "tokens").passed
    edit(folder, "patches", lambda e: e["config"].update(use_ccd=False, ccd_num=0, img_size=[24, 24]))
    assert outcome(folder, "patches").passed
    post = {"downsample_cfg": {"is_post_norm": True}}
    edit(folder, "windows", lambda e: e["config"].update(stage_cfgs=post, window_size=[6, 6, 6, 6]))
    assert outcome(folder, "windows").passed
    edit(folder, "places", lambda entry: entry["config"].update(prototypes="4 of 5 channels"))
    assert outcome(folder, "places", "only").passed
    edit(folder, "whole", lambda entry: entry["config"].update(vit_eps=1e-5))
    assert outcome(folder, "whole").passed


def test_arguments_that_change_the_numbers_are_not_passed_over(folder: Path) -> None:
    edit(folder, "whole", lambda entry: entry["config"].update(vit_eps=1e-2))
    edit(folder, "windows", lambda entry: entry["config"].update(window_size=[6, 6, 6, 4]))
    edit(folder, "patches", lambda entry: entry["config"].update(img_size=[16, 36]))
    for name in ("whole", "windows", "patches"):
        failed = outcome(folder, name)
        assert not failed.passed and not failed.reason and failed.worst > 1e-3, failed
    assert whole_numbers([64, 32], "img_size", 2) == [64, 32]


def test_weights_must_fit(folder: Path) -> None:
    file = folder / "whole.weights.safetensors"
    weights = load_file(file)
    for change, reason in (
        ({"ctpe": None}, "the weights lack ctpe"),
        ({"ctpe": torch.zeros(1, 366, 32)}, "the weight ctpe is (1, 366, 32), not (1, 365, 32)"),
        ({"vocabulary": torch.zeros(1)}, "does not know the weight vocabulary"),
    ):
        save_file({k: v for k, v in (weights | change).items() if v is not None}, file)
        assert outcome(folder, "whole").reason == reason
    file.unlink()
    assert outcome(folder, "whole").reason == "whole.weights.safetensors is missing"
    file.write_bytes(b"truncated")
    assert "whole.weights.safetensors cannot be read" in outcome(folder, "whole").reason


def drop(folder: Path, arrays: tuple[str, ...], weights: tuple[str, ...]) -> None:
    """Take arrays and weights, by the beginnings of their names, out of the case `whole`."""
    rewrite(folder, "whole", lambda all_: [all_.pop(name) for name in list(all_) if name.startswith(arrays)])
    file = folder / "whole.weights.safetensors"
    held = load_file(file)
    save_file({key: x for key, x in held.items() if not (weights and key.startswith(weights))}, file)


def test_what_is_not_looked_at_needs_no_weights(folder: Path) -> None:
    drop(folder, ("hr", "dates_hr", "F_hr", "fused_hr", "fused_dtpe_all"), ("backbone_gep.",))
    assert outcome(folder, "whole").passed and outcome(folder, "whole", "fast").passed
    drop(folder, (), ("ctpe",))
    assert outcome(folder, "whole").reason == "the weights lack ctpe"
    drop(folder, ("s2", "dates", "F_s2", "fused_s2"), ("backbone_s2.", "head_s2."))
    assert outcome(folder, "whole").passed
    drop(folder, (), ("head_s1.decoder.0.bias",))
    assert outcome(folder, "whole").reason == "the weights lack head_s1.decoder.0.bias"


def test_hr_weights_are_needed_where_there_is_hr(folder: Path) -> None:
    drop(folder, ("fused_hr", "fused_dtpe_all"), ("backbone_gep.",))
    assert outcome(folder, "whole").reason.startswith("the weights lack backbone_gep.")


def test_dates_alike_in_all_and_an_axis_of_one_hr_image(folder: Path) -> None:
    def reshape(arrays: dict[str, Any]) -> None:
        arrays["hr"] = arrays["hr"][:, :, None]
        arrays.update({name: x[0] for name, x in arrays.items() if name.startswith("dates_")})

    rewrite(folder, "whole", reshape)
    assert outcome(folder, "whole").passed
    rewrite(folder, "whole", lambda arrays: arrays.update(hr=arrays["hr"].repeat(2, 2)))
    assert outcome(folder, "whole").reason == "hr has 2 dates; there is one HR image"


def test_a_failure_stops_no_other_case(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, "patches", lambda entry: entry["config"].update(num_heads=5))
    edit(folder, "pixels", lambda entry: entry.update(cls="Mamba"))
    assert main(["--goldens", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Parity: 5 of 18 comparisons failed, in patches, pixels."
    assert sum("ValueError: dim 24 is not divisible by 5 heads" in line for line in lines) == 4
    assert sum(line.endswith("pass") for line in lines) == 13


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"a": 1}'])
def test_broken_index(tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    if text is not None:
        (tmp_path / "index.json").write_text(text)
    assert main(["--goldens", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and str(tmp_path) in printed.err


def test_the_index_may_give_a_tolerance(folder: Path) -> None:
    edit(folder, "tokens", lambda entry: entry.update(atol={"float64": 1e-12}))
    assert not outcome(folder, "tokens").passed  # stored as float32
    assert outcome(folder, "tokens", precision="float32").passed
    assert tolerances({"tolerance": 2}, {"float64": 1.0}) == {"float64": 2.0, "float32": 2.0}
    with pytest.raises(FixtureError):
        tolerances({"atol": [1, 2]}, {})


def test_names_of_fused_maps() -> None:
    present = ["hr", "s2", "s1"]
    assert parse_fused("fused_dtpe_all", present) == (present, "all")
    assert parse_fused("fused_s2s1_dtpe_s2only", present) == (["s2", "s1"], "s2")
    assert parse_fused("fused_s1_hr_dtpe_none", present) == (["hr", "s1"], "none")
    assert parse_fused("fused_hr_only", present) == (["hr"], "s2")
    for name in ("fused", "fused_hr", "fused_dtpe_s1only", "fused_s2s2_only", "F_hr", "fused_dtpe_"):
        assert parse_fused(name, present) is None


def test_a_relative_tolerance_is_added_to_the_absolute_one(folder: Path) -> None:
    expected = torch.tensor([10.0, 1.0])
    for rtol, worst in ((0.0, 0.5), (0.01, 0.4), (0.05, 0.0)):
        comparison = Comparison({"a": expected}, torch.float64, rtol)
        comparison.close("a", expected + torch.tensor([0.5, 0.0]))
        assert comparison.worst == pytest.approx(worst) and comparison.where == "a"
    rewrite(folder, "tokens", lambda arrays: arrays.update({"out_e": arrays["out_e"] * 1.01}))
    assert not outcome(folder, "tokens").passed
    edit(folder, "tokens", lambda entry: entry.update(atol=1e-5, rtol={"float64": 0.02}))
    assert outcome(folder, "tokens").passed and not outcome(folder, "tokens", precision="float32").passed
