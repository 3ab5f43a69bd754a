"""Which weights of an encoder learn, when, and how fast.

Depth counts from the top: 0 is the head, 1 the top encoder layer, ..., the embeddings are deepest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from pretune.backbones.adaptation.lora import LowRankSpec, add_low_rank, low_rank_names
from pretune.errors import ModelError, UsageError, did_you_mean
from pretune.types import ParameterGroup
from pretune.wording import counted

__all__ = [
    "CONTRASTIVE",
    "LORA",
    "Adaptation",
    "Part",
    "adapt_low_rank",
    "encoder_layers",
    "find_parts",
    "plan_adaptation",
    "timm_classifier",
]

_BOTTOM, _RESTING, _LOW_RANK = "embeddings", "resting", "low rank"
LORA, CONTRASTIVE = "lora", "contrastive"
MODES = ("full", "head", "linear", "top:N", "gradual", "llrd", LORA, CONTRASTIVE)
GRADUAL_SHARE = 0.5


class Part(NamedTuple):
    """A slice of the model that learns or rests as one. ``depth`` 0 is the head; the last part is the embeddings."""

    depth: int
    title: str
    parameters: tuple[tuple[str, nn.Parameter], ...]
    modules: tuple[nn.Module, ...]


@dataclass(frozen=True)
class Adaptation:
    """A plan of what learns. ``groups`` hold every parameter of the model exactly once, frozen ones too.

    ``num_layers`` encoder layers were found; ``start_depth`` is the deepest depth that learns at the start and
    ``end_depth`` at the end (they differ for ``gradual`` only). ``added`` counts the numbers that low rank adds to the model while it learns.
    """

    mode: str
    parts: tuple[Part, ...]
    groups: tuple[ParameterGroup, ...]
    start_depth: int
    end_depth: int
    num_layers: int
    added: int = 0

    def depth_at(self, progress: float) -> int:
        """The deepest depth that learns at ``progress`` (0 to 1) of the run.

        ``gradual`` begins with the head and adds one layer after the other from the top; all learn from half of the run
        on (ULMFiT, Howard & Ruder 2018, arXiv 1801.06146, section 3.3).
        """
        steps = self.end_depth - self.start_depth
        return min(self.end_depth, self.start_depth + int(progress / GRADUAL_SHARE * steps + 1e-9))

    def set_trainable(self, progress: float) -> None:
        """Let exactly the parameters learn that should at ``progress`` (0 to 1) of the run."""
        deepest = self.depth_at(progress)
        for part in self.parts:
            for _, parameter in part.parameters:
                parameter.requires_grad_(part.depth <= deepest)

    def frozen_modules(self, progress: float) -> list[nn.Module]:
        """Modules none of whose weights learn at ``progress``; keep them in eval mode, so that dropout rests too."""
        deepest = self.depth_at(progress)
        return [module for part in self.parts if part.depth > deepest for module in part.modules]

    def train(self, model: nn.Module, progress: float) -> None:
        """Training mode; what does not learn at ``progress`` rests in eval mode, its dropout too."""
        self.set_trainable(progress)
        model.train()
        for module in self.frozen_modules(progress):
            module.eval()

    def facts(self) -> dict[str, object]:
        """What run.json says of the plan: parameters that learn at the start and at the end, by count."""
        count = {part.depth: sum(parameter.numel() for _, parameter in part.parameters) for part in self.parts}
        at_end = sum(number for depth, number in count.items() if depth <= self.end_depth)
        return {
            "adapt": self.mode,
            "layers": self.num_layers,
            "parameters": sum(count.values()) - self.added,
            "learning_at_start": sum(number for depth, number in count.items() if depth <= self.start_depth),
            "learning_at_end": at_end,
            "learning_share": at_end / max(1, sum(count.values())),
        }


def plan_adaptation(
    model: nn.Module, adapt: str, *, weight_decay: float, llrd_decay: float = 0.9, trunk_scale: float = 1.0,
    trunk: Sequence[nn.Module] = (), resting: Sequence[nn.Module] = (), fresh: Collection[str] = (),
) -> Adaptation:  # fmt: skip
    """Plan what learns: ``full``, ``head`` (encoder frozen), ``linear`` (as ``head``; how it is learned differs), ``top:N`` (head and N top layers), ``gradual`` (layer by
    layer from the top), ``llrd`` (all, each deeper layer ``llrd_decay`` times slower: Sun et al. 2019, arXiv 1905.05583,
    section 5.3.3), ``contrastive`` (all; how it is learned differs), ``lora`` (the head, what :func:`adapt_low_rank` added, and the weights called ``fresh``, which were drawn at random).

    The modules ``trunk`` (none: what lies under the head) learn ``trunk_scale`` times as fast, and the modules ``resting`` never.
    Biases, norms and other vectors get no weight decay. Raises :class:`UsageError` for an unknown mode or more layers than
    there are, :class:`ModelError` where the layers cannot be told apart.
    """
    number = _top_number(adapt)
    parts = find_parts(model)
    num_layers = len(parts) - 2
    deepest = parts[-1].depth
    needs_layers = adapt in ("gradual", "llrd") or bool(number)
    if needs_layers and num_layers == 0:
        raise ModelError(
            f"--adapt {adapt} needs layers of their own, {type(model).__name__} has none that can be told apart",
            "use --adapt full or --adapt head (models such as ALBERT share one layer's weights)",
        )
    if number is not None and number > num_layers:
        raise UsageError(
            f"--adapt is {adapt}, the model has {counted(num_layers, 'layer')}", f"at most top:{num_layers}, or full"
        )
    added = low_rank_names(model)
    parts = _with_resting(_low_rank_parts(model, parts, added, fresh) if adapt == LORA else parts, resting)
    slow = {id(parameter) for module in trunk for parameter in module.parameters()}
    slow = slow or {id(parameter) for part in parts if part.depth for _, parameter in part.parameters}
    decay = llrd_decay if adapt == "llrd" else 1.0
    if adapt == LORA:
        number = 1
    start = number if number is not None else 0 if adapt == "gradual" else deepest
    end = deepest if number is None else number
    groups = tuple(
        _groups(parts, weight_decay, lambda depth, one: decay**depth * (trunk_scale if id(one) in slow else 1.0))
    )
    numbers = sum(parameter.numel() for name, parameter in model.named_parameters() if name in added)
    plan = Adaptation(adapt, parts, groups, start, end, num_layers, numbers)
    plan.set_trainable(0.0)
    return plan


def adapt_low_rank(model: nn.Module, spec: LowRankSpec, *, seed: int) -> tuple[str, ...]:
    """Let the matrices of the trunk's layers learn by low rank, in place; returns their names. Raises as :func:`add_low_rank`."""
    head = {id(inner) for module in find_parts(model)[0].modules for inner in module.modules()}
    return add_low_rank(model, spec, head=head, seed=seed)


def _low_rank_parts(
    model: nn.Module, parts: tuple[Part, ...], added: Collection[str], fresh: Collection[str]
) -> tuple[Part, ...]:
    """The head with what is new, what low rank added, and the rest. The words that a trained model writes with are no head of ours: they rest.

    Where statistics of batches are normed by, those that were learned are kept.
    """
    words = getattr(model, "get_output_embeddings", lambda: None)()
    written = {id(parameter) for parameter in words.parameters()} if isinstance(words, nn.Module) else set[int]()
    own = {name for name, parameter in parts[0].parameters if id(parameter) not in written} | {*fresh}
    named = [pair for part in parts for pair in part.parameters]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return (
        Part(0, parts[0].title, tuple(pair for pair in named if pair[0] in own), ()),
        Part(1, _LOW_RANK, tuple(pair for pair in named if pair[0] in added), ()),
        Part(2, _RESTING, tuple(pair for pair in named if pair[0] not in own and pair[0] not in added), tuple(norms)),
    )


def _with_resting(parts: tuple[Part, ...], resting: Sequence[nn.Module]) -> tuple[Part, ...]:
    """The parts, and deeper than all of them one of what never learns."""
    own = {id(parameter) for module in resting for parameter in module.parameters()}
    if not own:
        return parts
    named = [pair for part in parts for pair in part.parameters if id(pair[1]) in own]
    rest = [
        part._replace(parameters=tuple(pair for pair in part.parameters if id(pair[1]) not in own)) for part in parts
    ]
    return (*rest, Part(parts[-1].depth + 1, _RESTING, tuple(named), tuple(resting)))


def _top_number(adapt: str) -> int | None:
    """N of ``top:N``, 0 for ``head`` and ``linear``, None for modes in which everything learns in the end."""
    if adapt in ("head", "linear"):
        return 0
    if found := re.fullmatch(r"top:(\d+)", adapt):
        return int(found.group(1))
    if adapt not in MODES or adapt == "top:N":
        raise UsageError(
            f"--adapt is {adapt!r}", f"{did_you_mean(adapt, MODES)} (N is a number of layers, as in top:2)"
        )
    return None


def find_parts(model: nn.Module) -> tuple[Part, ...]:
    """The model as head, encoder layers from the top, and what lies under them (embeddings); each parameter once.

    The encoder is ``model.base_model``. What it holds besides its layers counts as head when it is defined after them
    (a pooler, a last norm), unless it holds embeddings; a convolution there (MobileNet's last one) goes with the top layer.
    A wrapped timm model says itself which of its modules is the classifier, and that alone is head.
    """
    base: nn.Module = getattr(model, "base_model", model)
    blocks = _layer_list(base)
    bottom = len(blocks) + 1
    depth_of = {id(block): len(blocks) - index for index, block in enumerate(blocks)}
    head = timm_classifier(base)
    if head is not None:
        depth_of[id(head)] = 0
    modules: list[list[nn.Module]] = [[] for _ in range(bottom + 1)]
    for module, depth in _walk(base, depth_of, bottom):
        modules[1 if head not in (None, module) and depth == 0 else depth].append(module)
    in_base = {id(parameter) for parameter in base.parameters()}
    owner = {
        id(parameter): depth
        for depth, found in enumerate(modules)
        for module in found
        for parameter in module.parameters()
    }
    named: list[list[tuple[str, nn.Parameter]]] = [[] for _ in range(bottom + 1)]
    for name, parameter in model.named_parameters():
        named[owner.get(id(parameter), bottom) if id(parameter) in in_base else 0].append((name, parameter))
    titles = ["head", *(f"layer {index + 1}" for index in reversed(range(len(blocks)))), _BOTTOM]
    return tuple(Part(depth, titles[depth], tuple(named[depth]), tuple(modules[depth])) for depth in range(bottom + 1))


def encoder_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of the model's encoder, lowest first; empty where they cannot be told apart."""
    return _layer_list(getattr(model, "base_model", model))


def _layer_list(base: nn.Module) -> list[nn.Module]:
    """The encoder's largest list of like blocks, lowest first; empty when its layers share one block's weights."""
    told = getattr(getattr(base, "config", None), "num_hidden_layers", None)
    kinds = nn.ModuleList if timm_classifier(base) is None else (nn.ModuleList, nn.Sequential)
    lists = [list(module) for module in base.modules() if isinstance(module, kinds)]
    alike = [
        blocks for blocks in lists if len({type(block) for block in blocks}) == 1 and (len(blocks) > 1 or told == 1)
    ]
    return max(alike, key=_size, default=[])


def timm_classifier(base: nn.Module) -> nn.Module | None:
    """The classifier inside a model of timm; None for other models."""
    told = getattr(base, "get_classifier", None)
    found = told() if callable(told) and hasattr(base, "pretrained_cfg") else None
    return found if isinstance(found, nn.Module) else None


def _size(blocks: list[nn.Module]) -> int:
    return sum(parameter.numel() for block in blocks for parameter in block.parameters())


def _walk(base: nn.Module, depth_of: dict[int, int], bottom: int) -> Iterator[tuple[nn.Module, int]]:
    """The largest modules of the encoder that lie wholly at one depth, with it."""
    holders = {id(module) for module in base.modules() if any(id(inner) in depth_of for inner in module.modules())}
    passed = False

    def visit(module: nn.Module) -> Iterator[tuple[nn.Module, int]]:
        nonlocal passed
        for child in module.children():
            if id(child) in depth_of:
                passed = True
                yield child, depth_of[id(child)]
            elif id(child) in holders:
                yield from visit(child)
            else:
                embeds = any(isinstance(inner, nn.Embedding) for inner in child.modules())
                convolves = any(isinstance(inner, _ConvNd) for inner in child.modules())
                yield child, bottom if embeds or not passed else 1 if convolves else 0

    yield from visit(base)


def _groups(
    parts: tuple[Part, ...], weight_decay: float, scale_of: Callable[[int, nn.Parameter], float]
) -> Iterator[ParameterGroup]:
    """Groups of like depth, like pace and like decay."""
    for part in parts:
        by_kind: dict[tuple[bool, float], list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in part.parameters:
            by_kind.setdefault((parameter.ndim > 1, scale_of(part.depth, parameter)), []).append((name, parameter))
        for decays, scale in sorted(by_kind, reverse=True):
            chosen = by_kind[decays, scale]
            yield ParameterGroup(
                parameters=[parameter for _, parameter in chosen],
                names=[name for name, _ in chosen],
                lr_scale=scale,
                weight_decay=weight_decay if decays else 0.0,
            )
