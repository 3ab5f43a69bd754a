"""What the machine can do, and leaving at a signal."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import torch

import pretune
from pretune import types
from pretune.engine import devices, interrupt
from pretune.engine.checkpoint import Checkpoint, load_last, save
from pretune.engine.devices import Device, choose_device, inference, keep_freed_memory, peak_flops
from pretune.engine.interrupt import StopRequest
from pretune.errors import UsageError
from pretune.types import in_double, move_tree


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(("bf16", "chosen"), [(1.0, "fp32"), (1.29, "fp32"), (1.31, "bf16")])
def test_auto_precision_takes_bf16_where_its_products_are_faster(
    bf16: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "peak_flops", lambda precision, *_: bf16 if precision == "bf16" else 1.0)
    assert choose_device().precision == chosen
    assert choose_device(precision="fp32").precision == "fp32"
    assert choose_device(precision="bf16").precision == "bf16"


@pytest.mark.usefixtures("on_cpu")
def test_a_processor_that_works_bf16_out_by_hand_is_asked_for_no_large_product(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[int, ...]]] = []

    def speed(precision: str, _type: str, *size: int) -> float:
        asked.append((precision, size))
        return 0.03 if precision == "bf16" else 1.0

    monkeypatch.setattr(devices, "peak_flops", speed)
    assert choose_device().precision == "fp32"
    assert all(size for _, size in asked), "only small products were tried"


@pytest.mark.usefixtures("on_cpu")
def test_a_resumed_run_keeps_its_number_format_and_threads() -> None:
    before = torch.get_num_threads()
    try:
        device = choose_device(precision="auto", threads=4, like={"device": "cpu", "precision": "bf16", "threads": 1})
        assert (device.precision, device.threads, torch.get_num_threads()) == ("bf16", 1, 1)
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("on_cpu")
def test_a_gpu_that_there_is_not_is_refused_and_the_processor_can_be_asked_for() -> None:
    with pytest.raises(UsageError, match="no GPU here"):
        choose_device("cuda")
    assert choose_device("cpu", precision="fp32").device.type == "cpu"


@pytest.mark.usefixtures("on_cpu")
def test_a_run_begun_on_a_gpu_is_refused_on_a_cpu_with_what_to_do() -> None:
    with pytest.raises(UsageError) as error:
        choose_device(like={"device": "cuda:0", "precision": "bf16", "threads": 1})
    assert "cuda:0" in error.value.problem
    assert "--overwrite" in error.value.fix


def test_a_gpu_of_apples_is_taken_where_it_is_asked_for_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such machine was at hand: what is tested is the choice."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match="GPU of Apple's"):
        choose_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("mps") == Device(torch.device("mps"), "fp32", torch.get_num_threads())
    assert choose_device(precision="fp32").device.type == "cpu"


class OnApple(torch.Tensor):
    """A tensor that says it is where there is no float64."""

    @property
    def device(self) -> torch.device:
        return torch.device("mps")

    def double(self) -> torch.Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_what_is_wanted_in_float64_comes_from_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    held = torch.tensor([0.1, 2.0])
    there = in_double(held.as_subclass(OnApple))
    assert (there.dtype, there.device.type) == (torch.float64, "cpu")
    assert torch.equal(there, in_double(held))
    sent: list[torch.dtype] = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: sent.append(self.dtype) or self)
    tree = {"a": torch.zeros(2, dtype=torch.float64), "b": [torch.zeros(2, dtype=torch.int64), None]}
    move_tree(tree, torch.device("mps"))
    move_tree(tree, torch.device("cpu"))
    assert sent == [torch.float32, torch.int64, torch.float64, torch.int64]


def test_no_float64_is_asked_of_a_gpu_that_may_have_none() -> None:
    """Tasks and objectives compute where the model is: there ``in_double`` is the way, or ``cpu`` first."""
    source = Path(pretune.__file__).parent
    found = {
        f"{path.relative_to(source)}: {line.strip()}"
        for room in ("tasks", "objectives")
        for path in (source / room).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if ".double()" in line and "cpu()" not in line
    }
    in_collate = ("known_B = (targets_BJ3[..., 2] > 0)", "most = size.repeat(2)")
    assert {line for line in found if not any(one in line for one in in_collate)} == set()


def test_where_mapped_files_cannot_be_moved_weights_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows a checkpoint could not be removed while what was loaded from it lives."""

    def mapped() -> bool:
        return str(tmp_path) in Path("/proc/self/maps").read_text(encoding="utf-8")

    weights = {"a": torch.arange(100_000, dtype=torch.float32)}
    save(tmp_path, Checkpoint(3, weights, {"m": torch.ones(100_000)}, {}))
    monkeypatch.setattr(types, "_MOVES_MAPPED_FILES", False)
    loaded = load_last(tmp_path)
    assert loaded is not None
    assert torch.equal(loaded.model["a"], weights["a"])
    assert not mapped()


def test_signals_of_a_system_without_sighup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_SIGNALS", [signal.SIGTERM, signal.SIGINT])
    before = signal.getsignal(signal.SIGHUP)
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGHUP) == before
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


def test_bf16_arithmetic_keeps_weights_and_gradients_in_fp32() -> None:
    layer = torch.nn.Linear(8, 8)
    with Device(torch.device("cpu"), "bf16", 1).arithmetic():
        out = layer(torch.ones(2, 8))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    with Device(torch.device("cpu"), "fp32", 1).arithmetic():
        assert layer(torch.ones(2, 8)).dtype == torch.float32


def test_inference_tracks_no_gradients() -> None:
    layer = torch.nn.Linear(2, 2)
    with inference(Device(torch.device("cpu"), "fp32", 1)):
        assert not layer(torch.ones(1, 2)).requires_grad


def test_peak_flops_is_a_speed_of_this_machine() -> None:
    peak_flops.cache_clear()
    found = peak_flops("fp32", "cpu", 256)
    assert 1e8 < found < 1e14
    assert peak_flops("fp32", "cpu", 256) == found


def test_freed_memory_is_kept_where_glibc_can_be_asked() -> None:
    keep_freed_memory.cache_clear()
    assert keep_freed_memory() is (os.confstr("CS_GNU_LIBC_VERSION") is not None)


def test_freed_memory_cannot_be_kept_without_mallopt(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_freed_memory.cache_clear()
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: object())
    assert keep_freed_memory() is False
    keep_freed_memory.cache_clear()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert stop.signal_number == 0
        os.kill(os.getpid(), number)
        assert stop.signal_number == number
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_interrupts_at_once_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    def twice() -> None:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_no_handler_is_touched() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def inside() -> None:
        with StopRequest() as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.signal_number))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [(before, 0)]
