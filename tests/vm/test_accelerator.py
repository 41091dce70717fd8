# SPDX-License-Identifier: BSD-3-Clause
"""Whether KVM is used: only where it has booted a kernel, in time, since this machine was started."""
import importlib
import os

import guestlab.guest
import pytest
from guestlab import GuestExited, GuestTimeout

module = importlib.import_module("guestlab.accelerator")  # the package has a function of that name


@pytest.fixture
def probe(monkeypatch, tmp_path):
    """probe(error): where the next probe fails with it, or doesn't if it is None; returns the probes' options so far."""
    probes = []

    def start(error=None):
        class Guest:
            def __init__(self, logs, **options):
                probes.append(options)
                if error:
                    raise error

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

        monkeypatch.setattr(guestlab.guest, "Guest", Guest)
        return probes

    monkeypatch.delenv(module.OVERRIDE, raising=False)
    monkeypatch.setattr(module, "ANSWER", tmp_path / "accelerator.json")
    monkeypatch.setattr(os, "access", lambda *_: True)  # /dev/kvm is there and may be used
    return start


def test_a_kernel_is_booted_and_once_only(probe):
    probes = probe()
    assert [module.accelerator() for _ in range(3)] == ["kvm"] * 3
    assert probes == [{"accel": "kvm", "boot_timeout": 10}]


@pytest.mark.parametrize("error", [GuestTimeout("early boot"), GuestExited("KVM internal error")], ids=type)
def test_a_kvm_that_boots_nothing_is_none(probe, error):
    probes = probe(error)
    assert [module.accelerator() for _ in range(2)] == ["tcg"] * 2
    assert len(probes) == 1


def test_no_kvm_is_not_probed(probe, monkeypatch):
    probes = probe()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert module.accelerator() == "tcg"
    assert probes == []


def test_the_answer_is_for_one_start_of_the_machine(probe, monkeypatch):
    probes = probe(GuestTimeout("early boot"))
    assert module.accelerator() == "tcg"
    monkeypatch.setattr(module, "_question", lambda: ["another boot"])
    probe()
    assert module.accelerator() == "kvm"
    assert len(probes) == 2


def test_an_answer_that_cannot_be_read_is_asked_again(probe):
    probes = probe()
    module.ANSWER.write_text('{"question": [')
    assert module.accelerator() == "kvm"
    assert len(probes) == 1


def test_who_knows_says_so(probe, monkeypatch):
    probes = probe()
    monkeypatch.setenv(module.OVERRIDE, "tcg")
    assert module.accelerator() == "tcg"
    assert probes == []
