"""Asks the qonnx package for times; it lives in a process, and possibly an environment, of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from measuring import Measured


class ReferenceFailed(Exception):
    """The other process could not do its task; ``kind`` is the class of what it raised."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Reference:
    """A process with the qonnx package; use it in a ``with`` statement."""

    def __init__(self, python: str) -> None:
        worker = Path(__file__).parent / "reference_worker.py"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, "-I", str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to a task."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the process of the qonnx package ended; is it installed in the Python of --reference?")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ReferenceFailed(answer["error"], answer["kind"])
        return answer

    def versions(self) -> list[str]:
        """Return names and versions of what it runs."""
        found: dict[str, str] = self.ask("versions")["versions"]
        if "qonnx" not in found:
            raise SystemExit("the Python of --reference has no qonnx package; `nox -s benchmarks` makes one that has")
        return [f"{name} {version}" for name, version in found.items() if name in ("qonnx", "hls4ml")]

    def execution(self, file: Path, inputs: dict[str, NDArray[Any]]) -> Measured:
        """Return how to measure executing the model."""
        stored = self.folder / f"{file.stem}_inputs.npz"
        np.savez(stored, **inputs)  # type: ignore[arg-type]

        def measured(times: int) -> float:
            return float(self.ask("execute", file=str(file), inputs=str(stored), times=times)["seconds"])

        return measured

    def outputs(self, file: Path, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return what it computes."""
        stored, result = self.folder / f"{file.stem}_inputs.npz", self.folder / "outputs.npz"
        np.savez(stored, **inputs)  # type: ignore[arg-type]
        self.ask("execute", file=str(file), inputs=str(stored), times=1, outputs=str(result))
        return dict(np.load(result))

    def clean_seconds(self, file: Path) -> float:
        """Return the CPU time of one clean-up."""
        return float(self.ask("clean", file=str(file))["seconds"])
