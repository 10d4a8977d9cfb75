"""Runs the qonnx package in an environment of its own; nothing of this project is imported here.

It reads a task as JSON from each line of standard input and answers with a line of JSON:
``{"task": "execute", "file": ..., "inputs": npz, "outputs": npz, "times": n}``, ``{"task": "clean", "file": ...}``,
``{"task": "hls4ml", "file": ..., "x": npy, "folder": ..., "output": npy}``, ``{"task": "versions"}``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np


def execute(task: dict, loaded: dict) -> dict:
    """Run a model a number of times."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    key = (task["file"], task["inputs"])
    if key not in loaded:
        loaded.clear()
        loaded[key] = ModelWrapper(task["file"]), dict(np.load(task["inputs"]))
    wrapper, inputs = loaded[key]
    started = time.process_time()
    for _ in range(task["times"]):
        outputs = execute_onnx(wrapper, inputs)
    seconds = time.process_time() - started
    if "outputs" in task:
        np.savez(task["outputs"], **outputs)
    return {"seconds": seconds}


def clean(task: dict, loaded: dict) -> dict:
    """Clean a model up once."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    wrapper = ModelWrapper(task["file"])
    started = time.process_time()
    cleanup_model(wrapper)
    return {"seconds": time.process_time() - started}


def hls4ml(task: dict, loaded: dict) -> dict:
    """Build and run a model as users of hls4ml alone do."""
    import hls4ml as package
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    wrapper = cleanup_model(ModelWrapper(task["file"]))
    config = package.utils.config_from_onnx_model(
        wrapper, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
    )
    project = package.converters.convert_from_onnx_model(
        wrapper, hls_config=config, output_dir=task["folder"], backend="Vitis", io_type="io_parallel"
    )
    project.compile()
    x = np.ascontiguousarray(np.load(task["x"]))
    np.save(task["output"], np.asarray(project.predict(x)).reshape(len(x), -1))
    return {}


def versions(task: dict, loaded: dict) -> dict:
    """Return the versions of what is installed."""
    names = ("qonnx", "onnx", "onnxruntime", "numpy", "hls4ml")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": found, "python": sys.version.split()[0]}


def main() -> None:
    """Answer tasks until standard input ends; what the packages print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    warnings.simplefilter("ignore")
    tasks = {"execute": execute, "clean": clean, "hls4ml": hls4ml, "versions": versions}
    loaded: dict = {}
    for line in sys.stdin:
        task = json.loads(line)
        try:
            answer = tasks[task["task"]](task, loaded)
        except Exception as error:  # the parent decides what a failure means
            answer = {"error": f"{type(error).__name__}: {error}"[:500], "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
