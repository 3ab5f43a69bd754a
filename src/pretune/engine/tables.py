"""AdamW's moments of an embedding table, kept for the rows that ever had a gradient.

A batch reads some hundred of a vocabulary's thirty thousand rows. A row that never had a gradient has moments of zero and
is not moved by Adam, so leaving it out changes nothing; weight decay reaches every row. The others are kept together, in
the order in which they came, and get the update of the dense optimizer.

Shapes: V rows of the table, K of them with moments, H width.
"""

from __future__ import annotations

import torch

from pretune.errors import CorruptFile

__all__ = ["BETAS", "EPS", "TableMoments"]

_MOST_SHARE = 0.5
"""With moments for more rows than this, gathering them costs more than the dense update of all."""

BETAS, EPS = (0.9, 0.999), 1e-8
"""AdamW's, of tables and of all other parameters."""


class TableMoments:
    """The moments ``exp_avg`` and ``exp_avg_sq`` (K, H) of ``rows`` (K,), and the number of updates so far."""

    def __init__(self, num_rows: int, width: int) -> None:
        self.step = torch.zeros(())
        self._place_V = torch.full((num_rows,), -1, dtype=torch.int64)
        self._rows = torch.empty(0, dtype=torch.int64)
        self._moments = torch.empty(2, 0, width)
        self._count = 0

    @property
    def is_crowded(self) -> bool:
        """Do so many rows have moments that the dense update is cheaper?"""
        return self._count > _MOST_SHARE * len(self._place_V)

    def update(
        self, table_VH: torch.Tensor, gradient: torch.Tensor, *, rate: float, weight_decay: float, divisor: torch.Tensor
    ) -> None:
        """One update of ``table_VH`` in place by its coalesced sparse ``gradient``, divided by ``divisor``."""
        from torch.optim.adamw import adamw

        read, values = gradient.indices()[0], gradient.values()
        self._make_room(read[self._place_V[read] < 0])
        rows = self._rows[: self._count]
        dense_KH = torch.zeros(self._count, table_VH.shape[1])
        dense_KH[self._place_V[read]] = values
        if weight_decay:
            table_VH.mul_(1 - rate * weight_decay)
        moved_KH = table_VH.index_select(0, rows)
        adamw(
            [moved_KH], [dense_KH], [self._moments[0, : self._count]], [self._moments[1, : self._count]], [], [self.step],
            fused=True, grad_scale=divisor, found_inf=torch.zeros(()), amsgrad=False, maximize=False,
            beta1=BETAS[0], beta2=BETAS[1], eps=EPS, lr=rate, weight_decay=0.0,
        )  # fmt: skip
        table_VH.index_copy_(0, rows, moved_KH)

    def _make_room(self, new: torch.Tensor) -> None:
        """Rows with their first gradient begin with moments of zero; room is doubled, so that they are rarely copied."""
        count = self._count + len(new)
        if count > len(self._rows):
            room = min(len(self._place_V), max(2 * len(self._rows), count, 1024))
            rows, moments = torch.empty(room, dtype=torch.int64), torch.zeros(2, room, self._moments.shape[2])
            rows[: self._count], moments[:, : self._count] = self._rows[: self._count], self._moments[:, : self._count]
            self._rows, self._moments = rows, moments
        self._rows[self._count : count] = new
        self._place_V[new] = torch.arange(self._count, count)
        self._count = count

    def tensors(self) -> dict[str, torch.Tensor]:
        """``rows`` (K,), ``exp_avg`` and ``exp_avg_sq`` (K, H), ``step`` (): a checkpoint's copy."""
        kept = self._moments[:, : self._count]
        return {
            "rows": self._rows[: self._count].clone(),
            "exp_avg": kept[0].clone(),
            "exp_avg_sq": kept[1].clone(),
            "step": self.step.clone(),
        }

    def dense(self) -> dict[str, torch.Tensor]:
        """The state that torch's AdamW keeps of the whole table: ``exp_avg`` and ``exp_avg_sq`` (V, H), ``step`` ()."""
        rows, kept = self._rows[: self._count], self._moments[:, : self._count]
        whole = torch.zeros(2, len(self._place_V), kept.shape[2])
        whole[:, rows] = kept
        return {"exp_avg": whole[0].clone(), "exp_avg_sq": whole[1].clone(), "step": self.step.clone()}

    @classmethod
    def load(cls, shape: torch.Size, tensors: dict[str, torch.Tensor], name: str) -> TableMoments:
        """Put back what :meth:`tensors` gave of a table of ``shape`` (V, H). Raises :class:`CorruptFile` where it does not fit."""
        rows, moments = tensors["rows"], (tensors["exp_avg"], tensors["exp_avg_sq"])
        fits = all(moment.shape == (len(rows), shape[1]) for moment in moments)
        if not fits or (len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < shape[0])):
            raise CorruptFile(
                f"the checkpoint's optimizer holds moments of {len(rows)} rows of {name} {tuple(shape)} that do not fit",
                "start again with --overwrite",
            )
        table = cls(shape[0], shape[1])
        table._make_room(rows)
        table._moments[:, : len(rows)] = torch.stack(moments)
        table.step = tensors["step"].clone()
        return table
