"""`qonnx zoo`: the public models in this format, and where they live."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from qonnx_core.cli.common import JsonOption, console, print_json, table

NAME = "zoo"
HELP = """List public models in the QONNX format: what they are, where they live, under which licence.

Nothing is downloaded. Example: qonnx zoo list --json"""

REPOSITORY = "https://github.com/fastmachinelearning/qonnx_model_zoo"
_RELEASE = f"{REPOSITORY}/releases/tag/a2q-20240905"
OFFLINE = (
    "Nothing is downloaded here. Without a connection: fetch the file where there is one (in a browser, or `git clone` "
    f"{REPOSITORY} with everything), copy the .onnx here, and look at it with `qonnx info FILE`."
)


@dataclass(frozen=True)
class ZooModel:
    """A public model; ``path`` is a file or, with a slash at its end, the folder of the repository that holds it."""

    name: str
    network: str
    data: str
    weights: str
    activations: str
    path: str
    licence: str = "not stated"

    @property
    def address(self) -> str:
        """Where it can be looked at."""
        if not self.path:
            return _RELEASE
        kind = "tree" if self.path.endswith("/") else "blob"
        return f"{REPOSITORY}/{kind}/main/{self.path.rstrip('/')}"


_TFC, _LFC, _CNV = ("models/MNIST/Brevitas_FINN_TFC/", "models/MNIST/Brevitas_FINN_LFC/",
                    "models/CIFAR10/Brevitas_FINN_CNV/")  # fmt: skip
_FLOAT = "models/CIFAR10/Brevitas_resnet18_float/"
_IN_FOLDER = "LICENSE in its folder"
MODELS = (
    ZooModel("TFC_1W1A", "MLP, 3 x 64", "MNIST", "1 bit", "1 bit", f"{_TFC}TFC/TFC_1W1A.onnx", _IN_FOLDER),
    ZooModel("TFC_1W2A", "MLP, 3 x 64", "MNIST", "1 bit", "2 bits", f"{_TFC}TFC/TFC_1W2A.onnx", _IN_FOLDER),
    ZooModel("TFC_2W2A", "MLP, 3 x 64", "MNIST", "2 bits", "2 bits", f"{_TFC}TFC/TFC_2W2A.onnx", _IN_FOLDER),
    ZooModel("LFC_1W1A", "large MLP", "MNIST", "1 bit", "1 bit", _LFC),
    ZooModel("LFC_1W2A", "large MLP", "MNIST", "1 bit", "2 bits", _LFC),
    ZooModel("CNV_1W1A", "VGG-like CNN", "CIFAR-10", "1 bit", "1 bit", _CNV, _IN_FOLDER),
    ZooModel("CNV_1W2A", "VGG-like CNN", "CIFAR-10", "1 bit", "2 bits", _CNV, _IN_FOLDER),
    ZooModel("CNV_2W2A", "VGG-like CNN", "CIFAR-10", "2 bits", "2 bits", _CNV, _IN_FOLDER),
    ZooModel("CNV_1W1A for GTSRB", "VGG10-like CNN", "GTSRB", "1 bit", "1 bit", "models/GTSRB/Brevitas_CNV1W1A/",
             "BSD-3-Clause"),
    ZooModel("mobilenet_4W4A", "MobileNetV1", "ImageNet", "4 bits", "4 bits",
             "models/ImageNet/Brevitas_FINN_mobilenet/", _IN_FOLDER),
    ZooModel("quant_resnet18_w4a4_a2q_12b to _16b", "ResNet-18, accumulators of 12 to 16 bits", "CIFAR-10", "4 bits",
             "4 bits", ""),
    ZooModel("quant_resnet18_w4a4_a2q_plus_12b to _16b", "ResNet-18, accumulators of 12 to 16 bits", "CIFAR-10",
             "4 bits", "4 bits", ""),
    ZooModel("ResNet18 8w8a_e4m3", "ResNet-18", "CIFAR-10", "float, E4M3", "float, E4M3", _FLOAT),
    ZooModel("ResNet18 5w5a_e3m1", "ResNet-18", "CIFAR-10", "float, E3M1", "float, E3M1", _FLOAT),
    ZooModel("ResNet-8, power-of-two scales", "ResNet-8", "CIFAR-10", "2 bits", "2 bits",
             "models/CIFAR10/power-of-two/"),
    ZooModel("ResNet-8 for CIFAR-100", "ResNet-8", "CIFAR-100", "3 bits", "3 bits", "models/CIFAR100/"),
    ZooModel("cloudsatnet_qat_4bit_exsi", "CNN", "Landsat-8 clouds", "4 bits, first and last 8", "4 bits",
             "models/CloudSatNet/cloudsatnet_qat_4bit_exsi.onnx"),
    ZooModel("kwsmlp_w3a3", "MLP, 4 layers", "Google Speech Commands V2", "3 bits", "3 bits",
             "models/GSCV2/kwsmlp_w3a3/kwsmlp_w3a3.onnx"),
    ZooModel("qkeras_jettagging", "MLP, 3 hidden layers", "LHC jets", "6 bits", "6 bits",
             "models/JetTagging/QKeras_hls4ml_3layer/qkeras_jettagging.onnx"),
    ZooModel("unsw_nb15_mlp_w2a2", "MLP, 3 x 64", "UNSW-NB15", "2 bits", "2 bits",
             "models/UNSW_NB15/unsw_nb15_mlp_w2a2/unsw_nb15-mlp-w2a2.onnx"),
)  # fmt: skip


class Action(StrEnum):
    """What to do with the zoo."""

    LIST = "list"


def command(
    action: Annotated[Action, typer.Argument(help="list: name the models.")] = Action.LIST,
    json_output: JsonOption = False,
) -> None:
    """Name the public models."""
    del action  # there is one
    if json_output:
        models = [{**dataclasses.asdict(model), "address": model.address} for model in MODELS]
        print_json({"repository": REPOSITORY, "models": models, "offline": OFFLINE})
        return
    out = console()
    columns = ("model", "network", "data", "weights", "activations", "licence", "where in the repository")
    rows = [
        (m.name, m.network, m.data, m.weights, m.activations, m.licence, m.path or "release a2q-20240905")
        for m in MODELS
    ]
    out.print(table(f"public models in {REPOSITORY}", columns, rows))
    out.print(OFFLINE, soft_wrap=True)
