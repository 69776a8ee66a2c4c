import json

import pytest
from skysense.errors import StorageError
from skysense.pretrain.journal import Journal, read_journal


def test_what_is_written_is_there_before_it_is_closed(tmp_path):
    journal = Journal(tmp_path / "log.jsonl")
    loss = 0.1 + 0.2
    journal.write({"step": 1, "loss": loss, "terms": {"hr/pixel": float("nan")}})
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 1, "loss": loss, "terms": {"hr/pixel": None}}
    journal.close()


def test_resumed_it_forgets_what_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    journal = Journal(path, keep=2)
    journal.write({"step": 3, "loss": 1.0})
    journal.close()
    assert read_journal(path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 1.0}]
    Journal(path).close()
    assert read_journal(path) == [] and list(tmp_path.iterdir()) == [path]


def test_where_it_cannot_write_it_says_so(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        Journal(tmp_path / "no" / "log.jsonl")
    journal = Journal(tmp_path / "log.jsonl")
    journal._file.close()
    journal._file = open("/dev/full", "w")
    with pytest.raises(StorageError, match="No space left"):
        journal.write({"step": 1})
