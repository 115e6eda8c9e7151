"""Files are whole or absent."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from ddselect.runtime.files import atomic, read_json, write_bytes, write_json, write_table, write_tensors


def test_failed_writer_leaves_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_bytes(path, b"old")

    def write_half() -> None:
        with atomic(path) as temporary:
            temporary.write_bytes(b"ne")
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_content_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == path.parent  # a rename across file systems would not be atomic
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_writer_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "file.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_json_refuses_what_is_not_a_number(tmp_path: Path, value: object) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"fine": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"value": value})
    assert read_json(path) == {"fine": 1}


def test_json_round_trip_and_objects_only(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    content = {"a": 0.1, "b": [1, None], "c": "ä"}
    write_json(path, content)
    assert read_json(path) == content
    path.write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="object"):
        read_json(path)


def test_tables_and_tensors_round_trip(tmp_path: Path) -> None:
    table = pa.table({"x": [1, 2], "y": ["a", None]})
    write_table(tmp_path / "t.parquet", table)
    assert pq.read_table(tmp_path / "t.parquet").equals(table)
    strided = torch.arange(6.0).reshape(2, 3).T
    write_tensors(tmp_path / "w.safetensors", {"x": strided})
    assert torch.equal(load_file(tmp_path / "w.safetensors")["x"], strided)
