"""From a model to verified hardware: a build runs the steps, keeps what is still valid, and writes a report.

>>> from qonnx_core.build import Build, BuildConfig, load
>>> Build(BuildConfig(source="model.onnx", output="out", input_types={"x": "UINT8*1/255"})).run()  # doctest: +SKIP
>>> load("out").run(images)  # doctest: +SKIP
"""

from __future__ import annotations

from qonnx_core.build.build import STEPS, Build
from qonnx_core.build.config import BuildConfig
from qonnx_core.build.host import FinishedBuild, load
from qonnx_core.build.runner import Event, Step

__all__ = ["STEPS", "Build", "BuildConfig", "Event", "FinishedBuild", "Step", "load"]
