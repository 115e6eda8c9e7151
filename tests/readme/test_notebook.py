"""The notebook runs, and what is committed of it is small and names no machine."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "one_class.ipynb"


def texts(notebook: NotebookNode) -> list[str]:
    """What its cells say, beside pictures."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]


def pictures(notebook: NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_what_is_committed() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 300_000
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))  # run once from top to bottom
    assert pictures(notebook) == 8
    assert not [text for text in texts(notebook) if re.search(r"/\w+/|[A-Z]:\\", text)]
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"
    ]


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PYTHONPATH", ROOT / "src"), ("IPYTHONDIR", tmp_path / "ipython"), ("TMPDIR", tmp_path)):
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert pictures(notebook) == 8
    said = "".join(texts(notebook))
    assert "50 sevens" in said
    right = dict(re.findall(r"(\w+): (\d+) % right, from 50 images", said))
    assert right.keys() == {"ddselect", "random_image"}
    assert int(right["ddselect"]) > 15  # chance is 10
