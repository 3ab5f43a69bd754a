"""What an export hands over, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Artifact"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder that answers without pretune. ``signature``: names, types and shapes of the graph's inputs and outputs (free
    sizes by name); ``parity``: of the graph and of predict.py with the run that it was made from.
    """

    path: str
    format: str
    signature: Mapping[str, Any]
    parity: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def sentence(self) -> str:
        """What a person needs to know of the parity."""
        graph, program = self.parity["graph"], self.parity["program"]
        said = (
            f"{self.format}, {graph['same']} of {graph['rows']} validation rows have the same answer, "
            f"outputs differ by {graph['largest']:.1e} at most; "
        )
        if not program["rows"]:
            return f"{said}predict.py is not proven, as it could read none of the rows ({program['unread_because']})."
        said += f"predict.py: {program['same']} of {program['rows']} the same"
        if program["unread"]:
            said += f", {program['unread']} in a form it does not read ({program['unread_because']})"
        return said + "."
