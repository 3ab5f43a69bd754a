"""Model folders that ask for absurd things: numbers, devices and pipes, endless texts, endless graphs.

Each case changes a copy of a whole folder: ``model`` (what ``pretune finetune`` begins from), ``run`` (a finished run, its sums
taken away) or ``graph`` (an exported run). It must be refused in a moment, in little memory, in words.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CASES", "Case"]


class Case(NamedTuple):
    """``named`` is what the refusal has to name."""

    name: str
    of: str
    change: Callable[[Path], None]
    named: str


def config(**changes: Any) -> Callable[[Path], None]:
    return _edit("config.json", **changes)


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")

    return change


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def link(name: str, to: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return change


def pipe(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def plug(name: str) -> Callable[[Path], None]:
    """A socket; its path must be short, so it is made by its folder."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        before = Path.cwd()
        os.chdir(folder)
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(name)
        finally:
            os.chdir(before)

    return change


def folder_named(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return change


def hole(name: str, size: int) -> Callable[[Path], None]:
    """So many bytes that take no place on the disk."""

    def change(folder: Path) -> None:
        with open(folder / name, "r+b" if (folder / name).exists() else "wb") as file:
            file.truncate(size)

    return change


def deep(name: str) -> Callable[[Path], None]:
    return write(name, '{"a":' * 100_000 + "1" + "}" * 100_000)


def tokenizer(**changes: Any) -> Callable[[Path], None]:
    return _edit("tokenizer.json", **changes)


def of_vocabulary(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer(model={**told["model"], **changes})(folder)

    return change


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def charsmap(letters: int) -> dict[str, Any]:
    table = struct.pack("<I", 4) + b"\0\0\0\0" + b"x" * letters + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def many_tokens(folder: Path) -> None:
    one = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    more = [{"id": 300 + number, "content": f"<{number}>", **one} for number in range(60_000)]
    tokenizer(added_tokens=[*told["added_tokens"], *more])(folder)


def around(count: int) -> dict[str, Any]:
    piece = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
    return {
        "type": "TemplateProcessing", "single": [piece] * count, "pair": [piece] * count,
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
    }  # fmt: skip


def fixed_padding(count: int) -> dict[str, Any]:
    return {
        "strategy": {"Fixed": count}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip


def ids_beyond(folder: Path) -> None:
    told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = told["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.__getitem__)
    of_vocabulary(vocab={**vocabulary, last: 10**6})(folder)


def header(told: Any, more: int = 0) -> bytes:
    text = json.dumps(told).encode()
    return struct.pack("<Q", len(text)) + text + bytes(more)


def weights(told: Any, more: int = 0) -> Callable[[Path], None]:
    return write("model.safetensors", header(told, more))


def terabyte(folder: Path) -> None:
    """A table of a terabyte, as config.json says it too."""
    size, width = 8_000_000_000, 32
    config(vocab_size=90_000_000)(folder)
    told = {"a": {"dtype": "F32", "shape": [size, width], "data_offsets": [0, size * width * 4]}}
    weights(told)(folder)
    hole("model.safetensors", len(header(told)) + size * width * 4)(folder)


def not_finite(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("query.weight"))
    tensors[name][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def shards(names: dict[str, str]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        write("model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": names}))(folder)

    return change


def other(**told: Any) -> Callable[[Path], None]:
    """The config of another architecture beside these weights."""
    return write("config.json", json.dumps(told))


def in_model(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda run: change(run / "model")


def graph(make: Callable[[Any], Any]) -> Callable[[Path], None]:
    """``model.onnx`` with the inputs of the graph that was there and the given nodes, which give ``logits``."""

    def change(run: Path) -> None:
        import onnx
        from onnx import helper

        path = run / "model" / "model.onnx"
        before = onnx.load(str(path))
        made = make(helper)
        parts = made if isinstance(made, dict) else {"nodes": made}
        logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])
        whole = helper.make_graph(
            parts["nodes"], "absurd", list(before.graph.input), [logits], initializer=parts.get("initializers", [])
        )
        onnx.save(
            helper.make_model(
                whole,
                opset_imports=[helper.make_opsetid("", 20), *parts.get("domains", [])],
                functions=parts.get("functions", []),
                ir_version=before.ir_version,
            ),
            str(path),
        )

    return change


def constant(helper: Any, name: str, values: list[int]) -> Any:
    import onnx

    return helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)


def endless_loop(helper: Any) -> Any:
    import onnx

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("Add", ["x", "x"], ["x_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", onnx.TensorProto.FLOAT, [1, 3]),
        ],
    )
    first = helper.make_tensor("x0", onnx.TensorProto.FLOAT, [1, 3], [0.0] * 3)
    yes = helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
    turns = helper.make_tensor("turns", onnx.TensorProto.INT64, [], [2**62])
    return {
        "nodes": [helper.make_node("Loop", ["turns", "yes", "x0"], ["logits"], body=body)],
        "initializers": [first, yes, turns],
    }


def huge_constant(helper: Any) -> Any:
    return {
        "nodes": [
            helper.make_node("ConstantOfShape", ["shape"], ["large"]),
            helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=1),
            helper.make_node("Reshape", ["sum", "flat"], ["one"]),
            helper.make_node("Expand", ["one", "three"], ["logits"]),
        ],
        "initializers": [
            constant(helper, "shape", [10**6, 10**6]), constant(helper, "flat", [1, 1]), constant(helper, "three", [1, 3]),
        ],
    }  # fmt: skip


def growing(helper: Any) -> Any:
    """A tensor that doubles forty times, from what the model is given."""
    nodes = [helper.make_node("Cast", ["input_ids"], ["x0"], to=1)]
    nodes += [helper.make_node("Concat", [f"x{n}", f"x{n}"], [f"x{n + 1}"], axis=1) for n in range(40)]
    nodes += [
        helper.make_node("ReduceMean", ["x40"], ["mean"], keepdims=1), helper.make_node("Expand", ["mean", "three"], ["logits"])
    ]  # fmt: skip
    return {"nodes": nodes, "initializers": [constant(helper, "three", [1, 3])]}


def slow_product(helper: Any) -> Any:
    """Thousands of large products, one after the other."""
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{n}", f"m{n}"], [f"m{n + 1}"]) for n in range(2000)]
    nodes += [
        helper.make_node("ReduceMean", ["m2000"], ["mean"], keepdims=1), helper.make_node("Expand", ["mean", "three"], ["logits"])
    ]  # fmt: skip
    return {
        "nodes": nodes,
        "initializers": [constant(helper, "shape", [2000, 2000]), constant(helper, "three", [1, 3])],
    }


def outside(helper: Any) -> Any:
    import onnx

    tensor = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1, 3], [0.0] * 3)
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "/dev/zero", "length": "12"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return {"nodes": [helper.make_node("Identity", ["w"], ["logits"])], "initializers": [tensor]}


def laughing(helper: Any) -> Any:
    """Functions of functions: each uses the one before it twice."""
    import onnx

    def function(number: int) -> Any:
        inner = [
            helper.make_node(
                f"f{number - 1}" if number else "Identity", ["a"], ["b"], domain="absurd" if number else ""
            ),
            helper.make_node(
                f"f{number - 1}" if number else "Identity", ["b"], ["c"], domain="absurd" if number else ""
            ),
        ]
        return helper.make_function(
            "absurd", f"f{number}", ["a"], ["c"], inner, [helper.make_opsetid("", 20), helper.make_opsetid("absurd", 1)]
        )

    zeros = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1, 3], [0.0] * 3)
    return {
        "nodes": [helper.make_node("f40", ["w"], ["logits"], domain="absurd")],
        "initializers": [zeros],
        "functions": [function(number) for number in range(41)],
        "domains": [helper.make_opsetid("absurd", 1)],
    }


CASES: tuple[Case, ...] = (
    # Numbers of config.json.
    Case("10^9 layers", "model", config(num_hidden_layers=10**9), "num_hidden_layers"),
    Case("5,000 layers", "model", config(num_hidden_layers=5000), "num_hidden_layers"),
    Case("fewer layers than none", "model", config(num_hidden_layers=-1), "num_hidden_layers"),
    Case("10^9 labels", "model", config(num_labels=10**9), "num_labels"),
    Case("a width of 10^9", "model", config(hidden_size=10**9), "hidden_size"),
    Case("a width of 20,000", "model", config(hidden_size=20_000), "config.json asks for"),
    Case("an inner width of 10^12", "model", config(intermediate_size=10**12), "intermediate_size"),
    Case("10^12 tokens", "model", config(vocab_size=10**12), "vocab_size"),
    Case("50,000,000 tokens", "model", config(vocab_size=50_000_000), "config.json asks for"),
    Case("10^12 positions", "model", config(max_position_embeddings=10**12), "max_position_embeddings"),
    Case("10^9 heads", "model", config(num_attention_heads=10**9), "num_attention_heads"),
    Case("10^10 kinds of segment", "model", config(type_vocab_size=10**10), "type_vocab_size"),
    Case("a float of 1e300", "model", config(hidden_size=1e300), "hidden_size"),
    Case("GPT-2 of 10^9 layers", "model", other(model_type="gpt2", n_layer=10**9), "n_layer"),
    Case("T5 of 10^9 layers", "model", other(model_type="t5", num_layers=10**9), "num_layers"),
    Case("ALBERT of 10^9 groups", "model", other(model_type="albert", num_hidden_groups=10**9), "num_hidden_groups"),
    Case("ViT of 10^7 pixels", "model", other(model_type="vit", image_size=10**7, patch_size=1), "image_size"),
    Case("ResNet of 10^9 blocks", "model", other(model_type="resnet", depths=[3, 4, 10**9, 3]), "depths[2]"),
    Case("Mixtral of 10^9 experts", "model", other(model_type="mixtral", num_local_experts=10**9), "num_local_experts"),
    Case("wav2vec 2.0 of 10^9 layers", "model", other(model_type="wav2vec2", num_hidden_layers=10**9), "num_hidden_layers"),
    Case("config of 100,000 levels", "model", deep("config.json"), "config.json"),
    Case("config of 30,000,000 values", "model", write("config.json", '{"a": [' + "[]," * 15_000_000 + "1]}"), "config.json"),
    Case("config of 100 GB", "model", hole("config.json", 10**11), "config.json"),
    # What is no file.
    Case("config.json is /dev/zero", "model", link("config.json", "/dev/zero"), "config.json"),
    Case("config.json is /dev/random", "model", link("config.json", "/dev/random"), "config.json"),
    Case("config.json is /proc/kmsg", "model", link("config.json", "/proc/kmsg"), "config.json"),
    Case("config.json is a pipe", "model", pipe("config.json"), "config.json"),
    Case("config.json is a socket", "model", plug("config.json"), "config.json"),
    Case("config.json is a folder", "model", folder_named("config.json"), "config.json"),
    Case("config.json leads to itself", "model", link("config.json", "config.json"), "config.json"),
    Case("config.json leads nowhere", "model", link("config.json", "nowhere"), "config.json"),
    Case("model.safetensors is /dev/zero", "model", link("model.safetensors", "/dev/zero"), "model.safetensors"),
    Case("model.safetensors is a pipe", "model", pipe("model.safetensors"), "model.safetensors"),
    Case("tokenizer.json is /dev/zero", "model", link("tokenizer.json", "/dev/zero"), "tokenizer.json"),
    Case("tokenizer.json is a pipe", "model", pipe("tokenizer.json"), "tokenizer.json"),
    Case("tokenizer_config.json is a pipe", "model", pipe("tokenizer_config.json"), "tokenizer_config.json"),
    Case("special_tokens_map.json is a pipe", "model", pipe("special_tokens_map.json"), "special_tokens_map.json"),
    Case("generation_config.json is /dev/zero", "model", link("generation_config.json", "/dev/zero"), "generation_config.json"),
    Case("chat_template.jinja is a pipe", "model", pipe("chat_template.jinja"), "chat_template.jinja"),
    Case("vocab.txt is /dev/zero", "model", link("vocab.txt", "/dev/zero"), "vocab.txt"),
    Case("preprocessor_config.json is a pipe", "model", pipe("preprocessor_config.json"), "preprocessor_config.json"),
    # Weights.
    Case("a header of 2^63 bytes", "model", write("model.safetensors", struct.pack("<Q", 2**63) + b"{}"), "model.safetensors"),
    Case("a header of 90 MB", "model", write("model.safetensors", struct.pack("<Q", 90 << 20) + b" " * (90 << 20)), "model.safetensors"),
    Case("a header of 10^7 values", "model", weights({"a": [0] * 10**7}), "model.safetensors"),
    Case("a tensor of 10^18 numbers", "model", weights({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 8]}}, 8), "model.safetensors"),
    Case("no tensor at all", "model", weights({}), "model.safetensors"),
    Case("a terabyte that is not there", "model", terabyte, "GiB of memory"),
    Case("a weight that is no number", "model", not_finite, "NaN or infinite"),
    Case("shards that are devices", "model", shards({"a": "/dev/zero"}), "/dev/zero"),
    # Tokenizers.
    Case("10^6 letters of each", "model", tokenizer(normalizer=replace({"Regex": "."}, "x" * 10**6)), "tokenizer.json"),
    Case("twenty times ten letters", "model", tokenizer(normalizer={"type": "Sequence", "normalizers": [replace({"String": "x"}, "x" * 10)] * 20}), "tokenizer.json"),
    Case("10^6 letters before each", "model", tokenizer(normalizer={"type": "Prepend", "prepend": "x" * 10**6}), "tokenizer.json"),
    Case("a table that makes 10^6 letters", "model", tokenizer(normalizer=charsmap(10**6)), "tokenizer.json"),
    Case("a pattern that does not end", "model", tokenizer(pre_tokenizer=split(r"(a+)+$|(a|aa)+b|(\w+\s?)+[!]")), "tokenizer.json"),
    Case("60,000 added tokens", "model", many_tokens, "added tokens"),
    Case("10^5 tokens around each row", "model", tokenizer(post_processor=around(10**5)), "pieces around a row"),
    Case("rows filled up to 10^9", "model", tokenizer(padding=fixed_padding(10**9)), "tokenizer.json"),
    Case("a prefix of 10^6 letters", "model", of_vocabulary(continuing_subword_prefix="#" * 10**6), "tokenizer.json"),
    Case("words of 10^12 letters", "model", of_vocabulary(max_input_chars_per_word=10**12), "tokenizer.json"),
    Case("token ids beyond the model", "model", ids_beyond, "token"),
    # Finished runs.
    Case("rows of 10^12 tokens", "run", in_model(_edit("pretune.json", max_length=10**12)), "pretune.json"),
    Case("pretune.json is a pipe", "run", in_model(pipe("pretune.json")), "pretune.json"),
    Case("run.json is /dev/zero", "run", link("run.json", "/dev/zero"), "run.json"),
    Case("sums.json is a pipe", "run", in_model(pipe("sums.json")), "sums.json"),
    # Graphs.
    Case("a loop of 2^62", "graph", graph(endless_loop), "model.onnx"),
    Case("a constant of 10^12 numbers", "graph", graph(huge_constant), "model.onnx"),
    Case("a tensor that doubles forty times", "graph", graph(growing), "model.onnx"),
    Case("2,000 products of 2,000 by 2,000", "graph", graph(slow_product), "model.onnx"),
    Case("weights that are a device", "graph", graph(outside), "model.onnx"),
    Case("functions of functions", "graph", graph(laughing), "model.onnx"),
    Case("a graph of a terabyte", "graph", in_model(hole("model.onnx", 10**12)), "model.onnx"),
    Case("model.onnx is a pipe", "graph", in_model(pipe("model.onnx")), "model.onnx"),
)  # fmt: skip
