"""The task "pretrain" through the worker's and the command's own door, on small scenes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from corpus_fixtures import cut_off, write_scene
from processes import in_processes
from skysense.errors import Cancelled, InputError, StorageError
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model import presets
from skysense.model.backbone import open_backbone
from skysense.model.modelfile import read_header
from skysense.pretrain.journal import read_journal
from skysense.pretrain.state import extra_of, newest, step_of
from skysense.synthetic.landscape import make_landscape
from small_shapes import MINI, SMALL

STEPS = 6
SETTINGS = {**SMALL, "steps": STEPS, "save_every": 2, "workers": 2}


@pytest.fixture(autouse=True)
def small_preset(monkeypatch):
    """`mini` is a preset of a few thousand weights."""
    monkeypatch.setitem(presets.PRESETS, "mini", MINI)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    write_scene(folder / "series", s2=3, s1=2)
    write_scene(folder / "both", s2=2, hr=1, x=700000.0)
    write_scene(folder / "alone", hr=1, x=900000.0)
    return folder


def recipe(data, output, *, resume=False, settings=(), **options):
    return parse_recipe(
        {
            "skysense": 1,
            "task": "pretrain",
            "data": [str(data)],
            "output": str(output),
            "options": {
                "preset": "mini",
                "device": "cpu",
                "resume": resume,
                "settings": {**SETTINGS, **dict(settings)},
                **options,
            },
        },
        output.parent,
    )


def pretrain(data, output, control=None, **options):
    return run(recipe(data, output, **options), control or JobControl(lambda event: None))


def losses(output):
    return [
        (record["step"], record["loss"], record["terms"]) for record in read_journal(output / "log.jsonl")
    ]


def weights(path):
    return open_backbone(path, torch.device("cpu")).model.state_dict()


class StopsAfter(JobControl):
    """The user presses Cancel when a step is told."""

    def __init__(self, step):
        super().__init__(lambda event: None)
        self.step = step

    def metrics(self, step, *args, **more):
        if step == self.step:
            self.cancel()


def test_a_run_writes_everything_and_says_what_it_found_first(data, tmp_path):
    events = []
    result = pretrain(data, tmp_path / "out", JobControl(events.append))
    assert result["steps"] == STEPS and result["loss"] == losses(tmp_path / "out")[-1][1]
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert notes[0].startswith("Found 3 scenes with 9 images") and notes[0] == result["found"]
    first_metrics = next(i for i, event in enumerate(events) if event["event"] == "metrics")
    assert next(i for i, event in enumerate(events) if event["event"] == "note") < first_metrics
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"recipe.json", "found.json", "log.jsonl", "loss.svg", "checkpoints", "model.safetensors"}
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-00000006"]
    assert json.loads((tmp_path / "out" / "found.json").read_text())["scenes"] == 3
    record = read_journal(tmp_path / "out" / "log.jsonl")[0]
    assert record["step"] == 1 and record["seconds"] > record["waited"] >= 0 and record["samples_per_s"] > 0
    header = read_header(tmp_path / "out" / "model.safetensors")
    assert header["backbone"]["weights"] == f"pretrained for {STEPS} steps from random, seed 0"
    assert header["source"]["training"]["config"]["batch"] == 4
    # The recipe that lies there gives the same again.
    again = json.loads((tmp_path / "out" / "recipe.json").read_text())
    again["output"] = str(tmp_path / "again")
    run(parse_recipe(again, tmp_path), JobControl(lambda event: None))
    assert losses(tmp_path / "again") == losses(tmp_path / "out")


def test_a_cancelled_run_goes_on_as_if_nothing_had_been(data, tmp_path):
    pretrain(data, tmp_path / "whole")
    with pytest.raises(Cancelled):
        pretrain(data, tmp_path / "parts", StopsAfter(3))
    assert (tmp_path / "parts" / "checkpoints" / "step-00000003").is_dir()
    pretrain(data, tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    one, other = (
        weights(tmp_path / "whole" / "model.safetensors"),
        weights(tmp_path / "parts" / "model.safetensors"),
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


_SCRIPT = """
import json, sys
from small_shapes import MINI
from skysense.model import presets
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import load_recipe
from skysense.jobs.runner import run
from pathlib import Path
presets.PRESETS["mini"] = MINI
run(load_recipe(Path(sys.argv[1])), JobControl(lambda event: None))
"""


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_killed_process_loses_nothing(data, tmp_path, device):
    """kill -9 in the middle of a step, and resume: every loss is that of the undisturbed run, on a CPU to the last bit."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pretrain(data, tmp_path / "whole", settings={"steps": 16}, device=device)
    path = tmp_path / "recipe.json"
    wanted = recipe(data, tmp_path / "parts", settings={"steps": 16}, device=device)
    path.write_text(json.dumps(wanted.to_json()))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(path)], env=environment)
    deadline = time.monotonic() + 120
    while len(losses(tmp_path / "parts")) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(losses(tmp_path / "parts"))
    assert 3 <= done < 16, "it was killed on the way"
    pretrain(data, tmp_path / "parts", resume=True, settings={"steps": 16}, device=device)
    if device == "cpu":
        assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for (_, loss, _), (_, alone, _) in zip(
        losses(tmp_path / "parts"), losses(tmp_path / "whole"), strict=True
    ):
        assert loss == pytest.approx(alone, rel=1e-3)


def stopped_at_three(data, output):
    presets.PRESETS["mini"] = MINI
    first = os.environ["RANK"] == "0"
    with pytest.raises(Cancelled):
        run(recipe(data, output), StopsAfter(3) if first else JobControl(lambda event: None))


def test_two_processes_write_one_run_and_one_process_goes_on_with_it(data, tmp_path):
    in_processes(2, stopped_at_three, data, tmp_path / "out", joined=False)
    assert [step for step, _, _ in losses(tmp_path / "out")] == [1, 2, 3]
    first = losses(tmp_path / "out")
    result = pretrain(data, tmp_path / "out", resume=True)
    assert result["steps"] == STEPS and losses(tmp_path / "out")[:3] == first
    # The same batch, split otherwise: what one process does from the start, to rounding.
    pretrain(data, tmp_path / "one")
    for (_, loss, _), (_, alone, _) in zip(losses(tmp_path / "out"), losses(tmp_path / "one"), strict=True):
        assert loss == pytest.approx(alone, rel=1e-3)


def test_resuming_without_a_checkpoint_begins(data, tmp_path):
    assert pretrain(data, tmp_path / "out", resume=True)["steps"] == STEPS


def test_a_folder_with_a_run_is_not_overwritten(data, tmp_path):
    pretrain(data, tmp_path / "out")
    before = (tmp_path / "out" / "log.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds a pretraining that was begun before"):
        pretrain(data, tmp_path / "out")
    assert (tmp_path / "out" / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_whose_checkpoints_cannot_be_used_is_not_begun_again(data, tmp_path, resume):
    with pytest.raises(Cancelled):
        pretrain(data, tmp_path / "out", StopsAfter(3))
    before = (tmp_path / "out" / "log.jsonl").read_bytes()
    indexes = sorted((tmp_path / "out" / "checkpoints").glob("*/state.json"))
    for index in indexes:
        index.write_text(json.dumps(json.loads(index.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match="is of another version of SkySense"):
        pretrain(data, tmp_path / "out", resume=resume)
    assert (tmp_path / "out" / "log.jsonl").read_bytes() == before
    assert sorted((tmp_path / "out" / "checkpoints").glob("*/state.json")) == indexes


def test_a_damaged_checkpoint_is_passed_over_with_a_note(data, tmp_path):
    pretrain(data, tmp_path / "whole")
    with pytest.raises(Cancelled):
        pretrain(data, tmp_path / "parts", StopsAfter(3))
    (rows,) = (tmp_path / "parts" / "checkpoints" / "step-00000003").glob("rows-*")
    rows.write_bytes(rows.read_bytes()[:-1])
    events = []
    pretrain(data, tmp_path / "parts", JobControl(events.append), resume=True)
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert notes[0].startswith("step-00000003 is passed over") and "is step-00000002" in notes[0]
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_other_settings_cannot_be_resumed_but_threads_can(data, tmp_path):
    with pytest.raises(Cancelled):
        pretrain(data, tmp_path / "out", StopsAfter(2))
    with pytest.raises(InputError, match=r"was begun with lr 0.0005, not 0.1"):
        pretrain(data, tmp_path / "out", resume=True, settings={"lr": 0.1})
    assert pretrain(data, tmp_path / "out", resume=True, settings={"workers": 0})["steps"] == STEPS


def test_a_run_that_was_begun_before_places_were_forgotten_goes_on_as_it_was(data, tmp_path):
    out, settings = tmp_path / "out", {"drop_place": 0.0}
    with pytest.raises(Cancelled):
        pretrain(data, out, StopsAfter(2), settings=settings)
    index = newest(out / "checkpoints") / "state.json"
    saved = json.loads(index.read_text())
    del saved["extra"]["config"]["drop_place"]
    index.write_text(json.dumps(saved))
    with pytest.raises(InputError, match=r"was begun with drop_place 0.0, not 0.5"):
        pretrain(data, out, resume=True, settings={"drop_place": 0.5})
    pretrain(data, out, resume=True)
    assert extra_of(newest(out / "checkpoints"))["config"]["drop_place"] == 0.0


def test_another_model_or_seed_cannot_be_resumed_and_the_recipe_stays(data, tmp_path):
    with pytest.raises(Cancelled):
        pretrain(data, tmp_path / "out", StopsAfter(2))
    before = (tmp_path / "out" / "recipe.json").read_bytes()
    for option, said in (({"preset": "small"}, "preset 'mini', not 'small'"), ({"seed": 9}, "seed 0, not 9")):
        with pytest.raises(InputError, match=f"was begun with {said}"):
            pretrain(data, tmp_path / "out", resume=True, **option)
    pretrain(data, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "recipe.json").read_bytes() == before


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return make_landscape(tmp_path_factory.mktemp("labelled"), seed=1, size_m=640)


def test_probes_are_in_the_log_and_change_no_loss(data, labelled, tmp_path):
    result = pretrain(data, tmp_path / "out", probe=[str(labelled)], settings={"probe_every": 4})
    pretrain(data, tmp_path / "plain")
    assert losses(tmp_path / "out") == losses(tmp_path / "plain")
    probes = {r["step"]: r["probe"] for r in read_journal(tmp_path / "out" / "log.jsonl") if "probe" in r}
    assert list(probes) == [4] and probes[4].keys() == result["probe"].keys()
    assert all(0 <= miou <= 1 for miou in (*probes[4].values(), *result["probe"].values()))


def run_with_probe(data, labelled, output):
    presets.PRESETS["mini"] = MINI
    settings = {"steps": 2, "probe_every": 2}
    run(recipe(data, output, probe=[str(labelled)], settings=settings), JobControl(lambda event: None))


def test_two_processes_probe_together_after_the_last_step(data, labelled, tmp_path):
    in_processes(2, run_with_probe, data, labelled, tmp_path / "out", joined=False)
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_what_cannot_be_probed_is_told_before_the_first_step(data, tmp_path):
    with pytest.raises(InputError, match="has no labels to probe with"):
        pretrain(data, tmp_path / "out", probe=[str(data / "series")])
    assert not (tmp_path / "out").exists()


def test_imagery_left_out_on_the_way_stays_on_the_record(data, tmp_path):
    with pytest.raises(Cancelled):
        pretrain(data, tmp_path / "out", StopsAfter(5))
    pretrain(data, tmp_path / "out", resume=True, leave_out=["alone"])
    index = tmp_path / "out" / "checkpoints" / f"step-{STEPS:08d}" / "state.json"
    extra = json.loads(index.read_text())["extra"]
    assert extra["entries"] == ["both", "series"] and extra["seen"] == ["alone", "both", "series"]


def test_changed_imagery_is_told_at_resume(data, tmp_path):
    with pytest.raises(Cancelled):
        pretrain(data, tmp_path / "out", StopsAfter(2))
    write_scene(data / "new", s2=1, x=300000.0)
    events = []
    pretrain(data, tmp_path / "out", JobControl(events.append), resume=True)
    assert any("not what the run was begun with" in event.get("text", "") for event in events)


def test_going_on_from_a_model_adds_to_it(data, tmp_path):
    pretrain(data, tmp_path / "first")
    wanted = recipe(data, tmp_path / "second")
    wanted = replace(wanted, model=tmp_path / "first" / "model.safetensors")
    run(wanted, JobControl(lambda event: None))
    header = read_header(tmp_path / "second" / "model.safetensors")
    assert header["backbone"]["weights"].startswith(
        f"pretrained for {STEPS} steps from pretrained for {STEPS}"
    )


def test_a_broken_file_among_many_is_skipped_counted_and_named(data, tmp_path):
    cut_off(data / "series" / "s2_1.tif")
    events = []
    result = pretrain(data, tmp_path / "out", JobControl(events.append))
    assert result["steps"] == STEPS and any("s2_1.tif" in name for name in result["unread"])
    assert any("s2_1.tif" in event.get("text", "") for event in events)


def test_what_a_cancelled_run_could_not_read_is_named_too(data, tmp_path):
    cut_off(data / "series" / "s2_1.tif")
    control, events = StopsAfter(4), []
    control._emit = events.append
    with pytest.raises(Cancelled):
        pretrain(data, tmp_path / "out", control)
    assert any("s2_1.tif" in event.get("text", "") for event in events)


def run_with_one_broken(data, output):
    presets.PRESETS["mini"] = MINI
    result = run(recipe(data, output), JobControl(lambda event: None))
    (output / f"unread-{os.environ['RANK']}").write_text(str(sum(result["unread"].values())))


def test_what_any_process_could_not_read_is_counted(data, tmp_path):
    cut_off(data / "series" / "s2_1.tif")
    alone = pretrain(data, tmp_path / "alone")
    in_processes(2, run_with_one_broken, data, tmp_path / "out", joined=False)
    told = [int((tmp_path / "out" / f"unread-{number}").read_text()) for number in (0, 1)]
    assert told[0] == told[1] >= sum(alone["unread"].values()) > 0


class StopsInProbe(JobControl):
    """The user presses Cancel while features are scored."""

    def quiet(self):
        self.cancel()
        return super().quiet()


@pytest.mark.parametrize(("settings", "steps"), [({"probe_every": 4}, 4), ({}, STEPS)])
def test_cancel_is_heard_while_features_are_scored(data, labelled, tmp_path, settings, steps):
    with pytest.raises(Cancelled):
        pretrain(
            data,
            tmp_path / "out",
            StopsInProbe(lambda event: None),
            probe=[str(labelled)],
            settings=settings,
        )
    assert step_of(newest(tmp_path / "out" / "checkpoints")) == steps
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 4, "accumulate": 5}, "4 windows cannot be dealt to 5 micro-batches"),
        ({"window": 16, "crop": 20}, "20 pixels cannot be cropped from windows of 16"),
        ({"window": 16, "crop": 10}, "10 pixels cannot be cropped"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(data, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        pretrain(data, tmp_path / "out", settings=settings)


def test_an_empty_folder_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no imagery to learn from"):
        pretrain(tmp_path / "empty", tmp_path / "out")


def test_one_scene_without_dates_is_enough(tmp_path):
    path = write_scene(tmp_path / "data" / "one", s2=2)
    scene = json.loads(path.read_text())
    for row in scene["acquisitions"]:
        row["date"] = None
    path.write_text(json.dumps(scene))
    events = []
    assert pretrain(tmp_path / "data", tmp_path / "out", JobControl(events.append))["steps"] == STEPS
    assert any("2 images without a date" in event.get("text", "") for event in events)


def test_a_loss_that_is_no_number_stops_at_the_last_good_checkpoint(data, tmp_path):
    wild = {"steps": 8, "save_every": 2, "lr": 1e30, "warmup": 0.0}
    with pytest.raises(
        InputError, match=r"(alone|both|series).*: the loss of step \d is not a number"
    ) as error:
        pretrain(data, tmp_path / "wild", settings=wild)
    assert "leave it out and resume, or begin again with a lower learning rate" in error.value.sentence
    # No step that was not a number is written down, and no state later than the last one asked for.
    done = len(losses(tmp_path / "wild"))
    assert all(loss is not None for _, loss, _ in losses(tmp_path / "wild"))
    saved = [path.name for path in (tmp_path / "wild").glob("checkpoints/step-*")]
    assert saved == [f"step-{step:08d}" for step in range(2, done + 1, 2)]


def test_a_full_disk_leaves_the_checkpoint_before(data, tmp_path, monkeypatch):
    from skysense.pretrain import state

    real = state._write_rows

    def full_at_four(folder, tensors):
        if "00000004" in folder.name:
            raise OSError(28, "No space left on device", str(folder))
        real(folder, tensors)

    with monkeypatch.context() as patched:
        patched.setattr(state, "_write_rows", full_at_four)
        with pytest.raises(StorageError, match="No space left"):
            pretrain(data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "checkpoints").glob("step-????????")] == [
        "step-00000002"
    ]
    pretrain(data, tmp_path / "out", resume=True)
    pretrain(data, tmp_path / "whole")
    assert losses(tmp_path / "out") == losses(tmp_path / "whole")


def test_synthetic_landscapes_can_be_all_there_is(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(Cancelled):
        pretrain(tmp_path / "none", tmp_path / "out", StopsAfter(1), synthetic=1)
    assert (tmp_path / "out" / "synthetic" / "synthetic-0-0000" / "scene.json").is_file()
    # Their made-up place is no region.
    saved = json.loads((tmp_path / "out" / "checkpoints" / "step-00000001" / "state.json").read_text())
    assert saved["extra"]["model"]["geo"]["regions"] == []
