"""The config of a trunk inside that of the model around it: a decoder's, a detector's."""

from __future__ import annotations

from typing import Any

__all__ = ["give_inner_config", "inner_config"]


def inner_config(config: Any) -> Any:
    """The trunk's config, its own to change; None for a model that is no trunk with something around it."""
    return getattr(config, "trunk_config", None)


def give_inner_config(config: Any, inner: Any) -> None:
    """Let ``config`` say that its trunk has the config ``inner``, in place."""
    if isinstance(getattr(config, "trunk", None), dict):  # a decoder's config holds it as a mapping
        config.trunk = {name: value for name, value in inner.to_dict().items() if name in config.trunk}
    else:
        config.trunk_config = inner
