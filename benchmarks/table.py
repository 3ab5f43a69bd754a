"""The result as a person reads it (Markdown tables; docs/benchmarks.md is made from the same figures by :mod:`acceptance`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.plan import FROZEN, PICTURE_KINDS, SIDES

NOTES = (
    'Trainer\'s defaults but for: batch size, epochs, learning rate and seed as the plan says (the same for all sides), no saving, no reporting, no progress bar; tuned adds `bf16=True`, `use_cpu=True` (bf16 asks for it) and `train_sampling_strategy="group_by_length"`.',
    "pretune runs its own verbs with the same batch size, epochs, rate, linear schedule without warm-up, no weight decay, norm limit 1.",
    "MFU: operations on real tokens (6 a matrix weight, attention, the vocabulary at told tokens only) over the larger of the two measured peaks. Peak memory: of the process, at the end of the timed part. Accuracy: mean of the runs, by one fp32 loop for all sides, with Wilson's 95 % interval.",
)

TITLES = {
    "fine-tune": "Fine-tuning",
    "head": "The head alone, ten epochs",
    "top": "Four of six layers frozen, ten epochs",
    "pretrain": "Masked pre-training",
    "causal": "Causal pre-training",
    "text-to-text": "Text to text",
    "predict": "Prediction",
    "boxes": "Boxes in pictures",
    "boxes-frozen": "Boxes in pictures, the trunk frozen",
}


def render(result: dict[str, Any]) -> str:
    """All tables of a result."""
    lines = [*_head(result)]
    for kind, title in TITLES.items():
        if kind in result:
            lines += ["", f"### {title}", "", *_kind(kind, result[kind], result["machine"])]
    if "start" in result:
        lines += ["", "### Start of a command that computes nothing", "", "| command | best | median | wanted |", "|---|--:|--:|--:|"]  # fmt: skip
        lines += [f"| `{name}` | {found['best']:.2f} s | {found['median']:.2f} s | ≤ {found['wanted_at_most']:.0f} s |" for name, found in result["start"].items()]  # fmt: skip
    return "\n".join(lines)


def _head(result: dict[str, Any]) -> Iterator[str]:
    machine, plan = result["machine"], result["plan"]
    yield f"`{result['command']}`, {result['when']}, {result['seconds'] / 60:.0f} minutes. {machine['processor']}, {machine['cores']} cores ({', '.join(machine['flags'])}), {machine['threads']} threads."
    yield f"Peak of a matrix product, measured: {machine['peak_gflops']['fp32']} GFLOP/s in fp32, {machine['peak_gflops']['bf16']} in bf16. Python {machine['python']}, {', '.join(f'{name} {version}' for name, version in machine['versions'].items())}; {'; '.join(machine['torch_build'])}."
    yield f"Each figure from {plan['repeats']} runs, the sides in turn, every run a fresh process with OMP_WAIT_POLICY=passive; load average {result['load'][0]} to {result['load'][1]}."
    yield ""
    yield from (f"- {note}" for note in NOTES)


def _kind(kind: str, found: dict[str, Any], machine: dict[str, Any]) -> Iterator[str]:
    facts = found["facts"]
    if kind == "predict":
        rows = found["runs"]["pretune"][0]["examples"]
        yield f"{facts['model']}, {rows} texts of mixed lengths, encoding not timed. Trainer.predict in its batches of 8; labels agree for {found['label_agreement']['same']} of {found['label_agreement']['of']} rows."
    elif kind in PICTURE_KINDS:
        yield f"{facts['model']}, {facts['rows']} made pictures of {facts['width']} x {facts['height']} (JPEG), read at half the size, {found['runs']['pretune'][0]['steps']} steps of the same batch size on either side, each with its own optimizer and rate. Timed from the start of the first step to the end of the last; {'pretune runs the trunk once, which is timed too' if kind == 'boxes-frozen' else 'both flip pictures, and pretune changes colours and places too'}. Accuracy: of as many boxes a picture as it truly has, the surest ones, those that are right."
    else:
        yield f"{facts['model']}, {facts['rows']} texts of mixed lengths (median {facts['median_tokens']:.0f} tokens, 90 % under {facts['p90_tokens']:.0f}, at most {facts['max_tokens']}; random batches compute {facts['padded_over_real_in_random_batches']} positions a real token), the same number of steps. Timed from the start of the first step to the end of the last; {'running what is frozen once is timed too.' if kind in FROZEN else 'one epoch.'}"
    yield ""
    yield "| side | examples/s best (median) | tokens/s | MFU | accuracy | steps | peak memory | whole command |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for side, rates in found["sides"].items():
        yield _side_row(side, rates, machine)
    yield ""
    yield "| pretune is faster than | best of each | median (min to max) | whole command | wanted |"
    yield "|---|--:|--:|--:|--:|"
    for side, ratio in found["ratios"].items():
        wanted = "" if ratio["wanted"] is None else f"≥ {ratio['wanted']:g}"
        yield f"| {SIDES[side]} | {ratio['best']:.2f} | {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}) | {ratio['total_wall_median']:.2f} | {wanted} |"


def _side_row(side: str, rates: dict[str, Any], machine: dict[str, Any]) -> str:
    examples, wall = rates["examples_per_second"], rates["wall_seconds"]
    cells = [SIDES[side], f"{examples['best']:.1f} ({examples['median']:.1f})"]
    if "tokens_per_second" in rates:
        share = (
            rates["useful_gflops"]["best"] / max(machine["peak_gflops"].values()) if "useful_gflops" in rates else None
        )
        cells += [f"{rates['tokens_per_second']['best']:.0f}", "" if share is None else f"{share:.1%}"]
    else:
        cells += ["", ""]
    if "accuracy" in rates:
        accuracy = rates["accuracy"]
        cells += [f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]", str(rates["steps"])]
    else:
        cells += ["", ""]
    cells += [f"{rates['peak_memory_bytes'] / 2**30:.2f} GiB", f"{wall['median']:.0f} s"]
    return f"| {' | '.join(cells)} |"
