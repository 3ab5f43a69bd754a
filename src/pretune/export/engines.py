"""The engines that run an exported model here, by the name that its ``pretune.json`` keeps."""

from __future__ import annotations

from pathlib import Path

from pretune.errors import ModelError
from pretune.export.graphs.speaking import SpeakingGraph
from pretune.export.graphs.writer import GraphWriter, open_graph
from pretune.export.onnx_model import GRAPH_FILE, OnnxModel
from pretune.export.openvino_model import IR_FILE, OpenVinoModel

__all__ = ["load_engine"]


def load_engine(
    name: str, folder: Path, *, threads: int | None = None
) -> OnnxModel | GraphWriter | SpeakingGraph | OpenVinoModel:
    """The model of an exported folder, called as the torch model was.

    Raises :class:`ModelError` for an engine that is not run here: torch reads parts of a ``torch.export`` program as pickles.
    """
    if name == "onnxruntime":
        return open_graph(folder / GRAPH_FILE, threads=threads)
    if name == "openvino":
        return OpenVinoModel(folder / IR_FILE, threads=threads)
    raise ModelError(
        f"{folder} is made for {name}, which pretune does not run",
        "use the run that it was exported from, or the predict.py in the folder",
    )
