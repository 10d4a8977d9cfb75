"""Finds the models and data sets that tests share; they are not part of any package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def find_shared(relative: str) -> Path | None:
    """Return the path of a shared file such as ``models/zoo/TFC_1W2A.onnx``, or None where it is not there.

    The folder is the one that the environment variable ``QONNX_SHARED`` names, else ``shared`` beside the repository.
    """
    named = os.environ.get("QONNX_SHARED")
    folders = [Path(named)] if named else [parent / "shared" for parent in Path(__file__).resolve().parents]
    folders += [] if named else [parent / "shared" for parent in (Path.cwd(), *Path.cwd().parents)]
    return next((folder / relative for folder in folders if (folder / relative).exists()), None)


def shared_file(relative: str) -> Path:
    """Return the path of a shared file, as :func:`find_shared` does; skip the test where it is not there."""
    found = find_shared(relative)
    if found is None:
        pytest.skip(f"shared file {relative} is not there; set QONNX_SHARED to the folder that holds it")
    return found
