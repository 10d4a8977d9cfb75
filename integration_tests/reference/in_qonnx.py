"""Runs the files of a folder with PyPI qonnx; started with the Python of its environment, without any package of ours.

For each ``<name>.onnx`` and ``<name>.npz`` it writes ``<name>.out.npz`` with the outputs, or ``<name>.error.txt``; and
``<name>.back.onnx``, the model as qonnx saves it after giving names and data types.
"""

import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.general import GiveReadableTensorNames, GiveUniqueNodeNames
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes


def main(folder: Path) -> None:
    """Run every model in the folder."""
    warnings.filterwarnings("ignore")
    for file in sorted(folder.glob("*.npz")):
        if file.name.endswith(".out.npz"):
            continue
        name = file.name.removesuffix(".npz")
        try:
            with np.errstate(all="ignore"):
                model = ModelWrapper(str(folder / f"{name}.onnx"))
                if not model.get_nodes_by_op_type("GenericPartition"):  # through which it infers nothing
                    model = model.transform(InferShapes())
                outputs = execute_onnx(model, dict(np.load(file)))
            np.savez(folder / f"{name}.out.npz", **outputs)
            steps = [GiveUniqueNodeNames(), InferDataTypes()]
            if all(len({*node.input}) == len(node.input) for node in model.graph.node):
                steps.append(GiveReadableTensorNames())  # renames only one of two equal inputs of a node
            for step in steps:
                model = model.transform(step)
            model.save(str(folder / f"{name}.back.onnx"))
        except Exception:
            (folder / f"{name}.error.txt").write_text(traceback.format_exc(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
