import pytest

from eat import machine
from eat.machine import Gpu, Hardware, choose_device, describe_hardware


def test_hardware_multiplies_bf16_where_it_has_units_for_it():
    old, new = Gpu("V100", 16.0, False), Gpu("H100", 80.0, True)
    plain, amx = Hardware("cpu", 2, (), []), Hardware("cpu", 2, ("amx_bf16",), [])
    assert not plain.multiplies_bf16() and not plain.multiplies_bf16("cuda")
    assert amx.multiplies_bf16() and amx.multiplies_bf16("cpu")
    assert not amx._replace(gpus=[old]).multiplies_bf16()
    assert not amx._replace(gpus=[new, old]).multiplies_bf16("cuda")
    assert plain._replace(gpus=[new]).multiplies_bf16()


def test_the_flags_of_the_processor_are_read(monkeypatch):
    lines = {"model name": ["A CPU", "A CPU"], "flags": ["fpu avx512_bf16 amx_bf16_not"]}
    monkeypatch.setattr(machine, "_cpu_info", lambda field: iter(lines[field]))
    found = describe_hardware()
    assert found.processor == "A CPU"
    assert found.cpu_bf16 == ("avx512_bf16",)


def test_a_machine_that_tells_nothing(monkeypatch):
    monkeypatch.setattr(machine, "_cpu_info", lambda field: iter(()))
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "riscv64")
    found = describe_hardware()
    assert (found.processor, found.cpu_bf16) == ("riscv64", ())


def test_no_other_device_is_taken_silently():
    assert choose_device("cpu") == "cpu"
    for name in ("cuda:1", "gpu", "mps"):
        with pytest.raises(ValueError, match=f"device: found '{name}', expected auto, cpu or cuda"):
            choose_device(name)
