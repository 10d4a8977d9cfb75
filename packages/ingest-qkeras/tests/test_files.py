from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx_ir as ir
import pytest

import ingest_qkeras
from ingest_qkeras.files import looks_like_keras
from qonnx_core import InvalidInput, InvalidModel, Unsupported, compile_model
from qonnx_core.testing import shared_file

X = (np.random.default_rng(0).integers(-16, 17, (20, 8)) / 16).astype(np.float32)


@pytest.fixture
def model(build: Any, qk: Any) -> Any:
    return build(
        qk.QDense(6, kernel_quantizer="quantized_bits(4,0)", bias_quantizer="quantized_bits(4,0)", name="fc1"),
        qk.QActivation("quantized_relu(4,1)", name="relu1"),
    )


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_saved_model_converts_to_the_live_models_numbers(suffix: str, model: Any, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    model.save(path)
    assert looks_like_keras(path)
    found = compile_model(ingest_qkeras.from_file(path)).run({"x": X})
    np.testing.assert_array_equal(found["relu1"], model.predict(X, verbose=0))


def test_a_saved_model_gives_the_bytes_of_the_live_model(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "model.h5")
    saved, live = ingest_qkeras.from_file(str(tmp_path / "model.h5")), ingest_qkeras.from_keras(model)
    assert ir.to_proto(saved).SerializeToString() == ir.to_proto(live).SerializeToString()


def test_a_compiled_model_with_hard_swish_is_read(build: Any, qk: Any, tmp_path: Path) -> None:
    model = build(qk.QActivation(qk.quantized_hswish(8, 2), name="act"))
    model.compile("adam", "mse")
    model.save(tmp_path / "model.h5")
    found = compile_model(ingest_qkeras.from_file(tmp_path / "model.h5")).run({"x": X})
    np.testing.assert_array_equal(found["act"], model.predict(X, verbose=0))


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.h5: no such file; expected a \.h5 or \.keras file"):
        ingest_qkeras.from_file(tmp_path / "absent.h5")


def test_a_folder(tmp_path: Path) -> None:
    assert not looks_like_keras(tmp_path)
    with pytest.raises(InvalidInput, match=r"a folder .*expected a \.h5 or \.keras file\. Save the whole model with"):
        ingest_qkeras.from_file(tmp_path)


def test_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(b"no model at all")
    assert not looks_like_keras(path)
    with pytest.raises(InvalidModel, match="begins with b'no model'; expected HDF5"):
        ingest_qkeras.from_file(path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"")
    assert not looks_like_keras(tmp_path / "model.h5")
    with pytest.raises(InvalidModel, match="begins with b''; expected HDF5"):
        ingest_qkeras.from_file(tmp_path / "model.h5")


def test_a_truncated_file(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    model.save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InvalidModel, match=r"model\.h5: cannot be read as HDF5"):
        ingest_qkeras.from_file(path)


def test_a_file_of_weights_only(model: Any, tmp_path: Path) -> None:
    model.save_weights(tmp_path / "weights.h5")
    assert not looks_like_keras(tmp_path / "weights.h5")
    with pytest.raises(InvalidInput, match="holds weights only; expected the whole model"):
        ingest_qkeras.from_file(tmp_path / "weights.h5")


def test_a_zip_archive_without_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert not looks_like_keras(path)
    with pytest.raises(InvalidModel, match=r"an archive without config\.json"):
        ingest_qkeras.from_file(path)


def test_a_file_of_keras_3(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
    with pytest.raises(Unsupported, match=r"written by Keras 3\.9\.0; QKeras 0\.9 reads models of Keras 2"):
        ingest_qkeras.from_file(path)


def test_a_damaged_configuration(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = '{"class_name": '
    with pytest.raises(InvalidModel, match="its model configuration is no JSON"):
        ingest_qkeras.from_file(tmp_path / "model.h5")


def test_a_class_that_keras_does_not_know(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    model.save(path)
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("QActivation", "Mystery")
    with pytest.raises(InvalidModel, match=r"model\.h5: Keras cannot rebuild the model \(ValueError: .*Mystery"):
        ingest_qkeras.from_file(path)


def test_the_code_of_a_lambda_layer_is_not_run(tf: Any, build: Any, tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    path = tmp_path / "model.h5"
    build(tf.keras.layers.Lambda(lambda x, name=str(witness): (open(name, "w").close(), x)[1], name="evil")).save(path)
    witness.unlink(missing_ok=True)
    with pytest.raises(Unsupported, match=r"model\.h5/evil \(Lambda\): the file holds Python code"):
        ingest_qkeras.from_file(path)
    assert not witness.exists()


def test_the_jet_tagger_of_the_hls4ml_tutorial() -> None:
    model = ingest_qkeras.from_file(shared_file("models/qkeras/jet_6b.h5"))
    stored = np.load(shared_file("models/qkeras/jet_6b.npz"))
    found = compile_model(model).run({"fc_in": stored["input"]})["softmax"]
    # Everything up to the softmax is exact; TensorFlow and onnxruntime evaluate exp by different code.
    ulp = np.abs(found - stored["output"]) / np.spacing(np.abs(stored["output"]))
    assert ulp.max() <= 4


def test_a_convolutional_network_is_refused_with_every_layer() -> None:
    with pytest.raises(Unsupported) as caught:
        ingest_qkeras.from_file(shared_file("models/qkeras/svhn_cnn.h5"))
    reasons = caught.value.reasons
    assert reasons[0].startswith("model/conv_0 (QConv2D): convolution and pooling are not converted yet")
    assert len(reasons) == 6
