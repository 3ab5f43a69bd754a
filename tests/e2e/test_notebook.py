"""Each notebook of examples/ runs from its first cell to its last: by nbclient where that is installed, else as a script."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("place", NOTEBOOKS, ids=lambda place: place.stem)
def test_a_notebook_runs(place: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("nbclient"):
        import nbformat
        from nbclient import NotebookClient

        NotebookClient(nbformat.read(place, as_version=4), resources={"metadata": {"path": str(tmp_path)}}).execute()
        return
    cells = json.loads(place.read_text(encoding="utf-8"))["cells"]
    script = tmp_path / "script.py"
    script.write_text(
        "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"), encoding="utf-8"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "drift was found" in done.stdout


def test_there_is_a_notebook_and_its_outputs_are_not_kept() -> None:
    assert NOTEBOOKS
    for place in NOTEBOOKS:
        cells = json.loads(place.read_text(encoding="utf-8"))["cells"]
        assert [cell for cell in cells if cell.get("outputs")] == [], f"{place.name}: clear the outputs"
