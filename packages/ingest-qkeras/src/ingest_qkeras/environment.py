"""Loads TensorFlow with Keras 2 and QKeras 0.9, or says why that cannot work here.

QKeras 0.9 is written for Keras 2. TensorFlow of today brings Keras 3 and switches to Keras 2 (the distribution
``tf-keras``) only when ``TF_USE_LEGACY_KERAS=1`` is set before its first import.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

from qonnx_core.errors import InvalidInput, ToolMissing

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"
# Every distribution that installs a top-level package named `qkeras`; any two of them overwrite each other's files.
QKERAS_DISTRIBUTIONS = ("QKeras", "qkeras-v3", "HGQ2")
INSTALL = "pip install ingest-qkeras"


@dataclass(frozen=True, slots=True)
class Frameworks:
    """The imported frameworks and their versions."""

    tf: ModuleType
    qkeras: ModuleType
    quantizers: ModuleType
    versions: tuple[tuple[str, str], ...]  # (distribution, version), sorted


def owners_of_qkeras() -> tuple[str, ...]:
    """Return the installed distributions that claim the file ``qkeras/__init__.py``."""
    owners = []
    for name in QKERAS_DISTRIBUTIONS:
        try:
            files = metadata.distribution(name).files or ()
        except metadata.PackageNotFoundError:
            continue
        if any(file.parts[:2] == ("qkeras", "__init__.py") for file in files):
            owners.append(name)
    return tuple(owners)


def check_owner(owners: tuple[str, ...]) -> None:
    """Raise unless exactly QKeras 0.9 owns the import name ``qkeras``.

    Raises:
        ToolMissing: no distribution, another one, or several own it; the message says which and what to install.
    """
    if owners == ("QKeras",):
        return
    if not owners:
        raise ToolMissing(f"qkeras: not installed; QKeras 0.9 is needed to read QKeras models. Try `{INSTALL}`.")
    if len(owners) == 1:
        raise ToolMissing(
            f"qkeras: the import name belongs to {owners[0]}; this front end reads models of QKeras 0.9 (Keras 2). "
            f"Install it in an environment of its own: `{INSTALL}`."
        )
    raise ToolMissing(
        f"qkeras: the distributions {', '.join(owners)} are installed together and overwrite each other's files; "
        f"expected QKeras 0.9 alone. Make a fresh environment and run `{INSTALL}` in it."
    )


def prepare_keras_2() -> None:
    """Set ``TF_USE_LEGACY_KERAS=1`` for the import of TensorFlow to come, unless TensorFlow is already imported.

    Raises:
        InvalidInput: the variable is set to something else, or TensorFlow was imported without it.
    """
    found = os.environ.get(LEGACY_KERAS)
    if "tensorflow" not in sys.modules:
        if found is None:
            os.environ[LEGACY_KERAS] = "1"
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        elif found.lower() not in {"1", "true"}:
            raise InvalidInput(
                f"environment: {LEGACY_KERAS} is {found!r}; QKeras 0.9 needs Keras 2, that is {LEGACY_KERAS}=1. "
                "Unset the variable or set it to 1."
            )
        return
    keras_model = getattr(getattr(sys.modules["tensorflow"], "keras", None), "Model", None)
    if keras_model is not None and not keras_model.__module__.startswith("tf_keras."):
        raise InvalidInput(
            f"tensorflow: it was imported with Keras 3 (tf.keras.Model is {keras_model.__module__}.Model); QKeras 0.9 "
            f"needs Keras 2. Set {LEGACY_KERAS}=1 before the first import of tensorflow, or import ingest_qkeras and "
            "call ingest_qkeras.prepare_keras_2() first."
        )


@functools.cache
def load_frameworks() -> Frameworks:
    """Return TensorFlow and QKeras, imported on the first call (about ten seconds).

    Raises:
        InvalidInput: TensorFlow is already imported with Keras 3.
        ToolMissing: a distribution is missing, or two distributions own the import name ``qkeras``.
    """
    check_owner(owners_of_qkeras())
    prepare_keras_2()
    tf = _import("tensorflow")
    _import("tf_keras")
    prepare_keras_2()
    qkeras = _import("qkeras")
    versions = tuple((name, metadata.version(name)) for name in ("QKeras", "tensorflow", "tf-keras"))
    return Frameworks(tf, qkeras, importlib.import_module("qkeras.quantizers"), versions)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ToolMissing(
            f"{name}: cannot be imported, because the module {error.name} is missing; it is needed to read QKeras "
            f"models. Try `{INSTALL}`."
        ) from error
