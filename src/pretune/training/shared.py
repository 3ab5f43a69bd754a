"""``--shard``: what does not go with it, and the model whose layers processes share (:mod:`pretune.engine.sharding`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pretune.errors import UsageError

if TYPE_CHECKING:
    import torch

    from pretune.engine.batching import Feeds
    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster
    from pretune.engine.sharding import Shards

__all__ = ["refuse_streams", "refuse_unshared", "share_layers"]

_WHOLE: Mapping[str, str] = {
    "ema": "keeps a whole second model",
    "find_learning_rate": "undoes its updates from a whole copy of the model",
    "dp_epsilon": "clips the gradient of each row by itself",
    "tune": "runs many trials, which one process each does sooner",
    "folds": "runs many models, which one process each does sooner",
}
"""Settings that need a whole model in a process, with why."""
_ADAPTS = ("full", "llrd")


def refuse_unshared(settings: Any, cluster: Cluster) -> None:
    """Raise :class:`UsageError` for what does not go with ``--shard``, before anything is read."""
    if not settings.shard:
        return
    if cluster.world == 1:
        raise UsageError(
            "--shard shares a model among processes, and this is one alone",
            f"torchrun --nproc-per-node 2 -m pretune {settings.verb} ... --shard, or leave --shard out",
        )
    for name, why in _WHOLE.items():
        if hasattr(settings, name):
            settings.refuse_given((name,), f"does not go with --shard: it {why}")
    adapt = getattr(settings, "adapt", "full")
    if adapt not in _ADAPTS:
        raise UsageError(
            f"--adapt {adapt} lets few weights learn, whose states are small, and --shard is for large ones",
            "leave --shard out, or --adapt full",
        )


def share_layers(model: torch.nn.Module, settings: Any, device: Device) -> Shards | None:
    """Let all processes share the layers of ``model``, in place, where ``--shard`` asks for it.

    Raises :class:`UsageError` for layers that are skipped at random: processes would wait for each other.
    """
    from pretune.engine.sharding import Shards

    if not getattr(settings, "shard", False):
        return None
    for module in model.modules():
        config = getattr(module, "config", None)
        if drop := getattr(config, "layerdrop", 0.0) or getattr(config, "encoder_layerdrop", 0.0):
            raise UsageError(
                f"{type(module).__name__} skips layers at random (layerdrop {drop:g}), and processes that share them would wait for each other",
                "set it to 0 in config.json, or leave --shard out",
            )
    return Shards(model, device.device)


def refuse_streams(feeds: Feeds) -> None:
    """Raise :class:`UsageError` where not every micro-batch computes the same: processes would wait for each other."""
    if len(feeds.streams) > 1:
        raise UsageError(
            f"--shard learns from one stream of rows, and here are {len(feeds.streams)}: {', '.join(feeds.streams)}",
            "leave --shard out, or learn from one objective at a time",
        )
