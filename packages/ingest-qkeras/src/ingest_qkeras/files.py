"""Looks into saved Keras models without importing a framework, and loads them with QKeras."""

from __future__ import annotations

import json
import mmap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingest_qkeras.environment import Frameworks
from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_REMEDY = "Save the whole model with model.save('name.h5') under TF_USE_LEGACY_KERAS=1"


def looks_like_keras(path: Path) -> bool:
    """Whether the file is a whole Keras model: HDF5 with a model configuration, or a .keras archive."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(len(HDF5_SIGNATURE))
        if start == HDF5_SIGNATURE:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(b"model_config") >= 0 and content.find(b'"class_name"') >= 0
    return start.startswith(b"PK") and "config.json" in _archive_names(path)


def load_model(path: Path, frameworks: Frameworks) -> Any:
    """Return the Keras model of a .h5 or .keras file, not compiled.

    Raises:
        InvalidInput: there is no such file, or it holds weights only.
        InvalidModel: it is damaged, or Keras cannot rebuild the model from it.
        Unsupported: it was written by Keras 3, or holds Python code (a Lambda layer), which is not run.
    """
    configuration = read_configuration(path)
    for layer in _layers(configuration):
        if layer.get("class_name") == "Lambda":
            name = _config_of(layer).get("name", "?")
            raise Unsupported(
                f"{path}/{name} (Lambda): the file holds Python code of a Lambda layer; it is not run, because a file "
                "must not execute code. Replace it by layers and save again."
            )
    import qkeras.utils

    class HardSwish:
        """Rebuilds quantized_hswish, whose written settings hold one that its own constructor does not take."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            """Return the quantizer."""
            known = {key: value for key, value in config.items() if key != "keep_negative"}
            return frameworks.quantizers.quantized_hswish(**known)

    custom = {"quantized_hswish": HardSwish}
    try:
        return qkeras.utils.load_qmodel(str(path), custom_objects=custom, compile=False)
    except (AttributeError, KeyError, OSError, SyntaxError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise InvalidModel(
            f"{path}: Keras cannot rebuild the model ({type(error).__name__}: {reason}); expected a model that "
            "qkeras.utils.load_qmodel reads. QKeras writes some models in a form that it cannot read back (alpha as "
            "array, quantizer objects in .keras files): convert those from the live object with from_keras."
        ) from error


def read_configuration(path: Path) -> dict[str, Any]:
    """Return the model configuration that Keras stored in the file.

    Raises:
        InvalidInput, InvalidModel, Unsupported: as for `load_model`.
    """
    if path.is_dir():
        raise InvalidInput(f"{path}: a folder (a SavedModel?); expected a .h5 or .keras file. {_REMEDY}.")
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file; expected a .h5 or .keras file of a QKeras model. Check the path.")
    with path.open("rb") as file:
        start = file.read(len(HDF5_SIGNATURE))
    if start == HDF5_SIGNATURE:
        text = _configuration_of_hdf5(path)
    elif start.startswith(b"PK"):
        text = _configuration_of_archive(path)
    else:
        raise InvalidModel(f"{path}: it begins with {start!r}; expected HDF5 (.h5) or a .keras archive. {_REMEDY}.")
    try:
        configuration = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidModel(
            f"{path}: its model configuration is no JSON ({error}); expected what Keras writes."
        ) from error
    if not isinstance(configuration, dict):
        raise InvalidModel(f"{path}: its model configuration is no mapping; expected what Keras writes. {_REMEDY}.")
    return configuration


def _configuration_of_hdf5(path: Path) -> str | bytes:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            version = file.attrs.get("keras_version", "")
    except OSError as error:
        raise InvalidModel(
            f"{path}: cannot be read as HDF5 ({error}); expected a complete .h5 file. {_REMEDY}."
        ) from error
    if text is None:
        raise InvalidInput(f"{path}: holds weights only; expected the whole model. {_REMEDY}.")
    _check_version(path, version.decode() if isinstance(version, bytes) else str(version))
    return text if isinstance(text, bytes) else str(text)


def _configuration_of_archive(path: Path) -> bytes:
    if "config.json" not in _archive_names(path):
        raise InvalidModel(f"{path}: an archive without config.json; expected a .keras file. {_REMEDY}.")
    with zipfile.ZipFile(path) as archive:
        if "metadata.json" in archive.namelist():
            _check_version(path, str(json.loads(archive.read("metadata.json")).get("keras_version", "")))
        return archive.read("config.json")


def _archive_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


def _check_version(path: Path, version: str) -> None:
    if version.startswith("3."):
        raise Unsupported(f"{path}: written by Keras {version}; QKeras 0.9 reads models of Keras 2. {_REMEDY}.")


def _layers(configuration: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping of the configuration that names a class, at any depth."""
    if isinstance(configuration, dict):
        if "class_name" in configuration:
            yield configuration
        for part in configuration.values():
            yield from _layers(part)
    elif isinstance(configuration, list):
        for part in configuration:
            yield from _layers(part)


def _config_of(layer: dict[str, Any]) -> dict[str, Any]:
    config = layer.get("config")
    return config if isinstance(config, dict) else {}
