"""What the machine can do, and leaving at a signal."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

from pretune.engine import devices
from pretune.engine.devices import Device, choose_device, inference, keep_freed_memory, peak_flops
from pretune.engine.interrupt import StopRequest
from pretune.errors import UsageError


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
