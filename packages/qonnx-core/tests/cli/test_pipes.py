"""Models come from standard input and go to standard output; the shell completes names."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from qonnx_core import cleanup_model, load
from qonnx_core.cli.common import model_files
from qonnx_core.formats.reader import load_bytes
from qonnx_core.formats.writer import serialize

COMMAND = [sys.executable, "-c", "from qonnx_core.cli import main; main()"]


def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def test_commands_form_a_pipe(model: Path) -> None:
    clean = run("clean", "-", stdin=model.read_bytes())
    expected = onnx.load_from_string(serialize(cleanup_model(load(model))))
    assert (clean.returncode, onnx.load_from_string(clean.stdout).graph) == (0, expected.graph)
    assert b"standard output: " in clean.stderr
    plain = run("convert", "-", "--to", "plain", "-o", "-", stdin=clean.stdout)
    assert {node.domain for node in onnx.load_from_string(plain.stdout).graph.node} == {""}
    assert json.loads(run("info", "-", "--json", stdin=plain.stdout).stdout)["model"] == "-"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "standard input: is empty; expected an ONNX model"),
        (b"text", "standard input: is no ONNX file"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "standard input: holds no ONNX model"),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, sentence: str) -> None:
    done = run("clean", "-", stdin=content)
    assert done.returncode == 1
    assert sentence in done.stderr.decode()
    assert done.stdout == b""


def test_a_model_on_standard_input_has_no_files_beside_it(model: Path, tmp_path: Path) -> None:
    onnx.save(onnx.load(model), tmp_path / "e.onnx", save_as_external_data=True, location="e.data", size_threshold=0)
    assert len(load(tmp_path / "e.onnx").graph) > 0
    done = run("clean", "-", stdin=(tmp_path / "e.onnx").read_bytes())
    assert done.returncode == 1
    assert "its data file 'e.data' is missing" in done.stderr.decode()


def test_bytes_are_loaded_as_the_file_is(model: Path) -> None:
    assert serialize(load_bytes(model.read_bytes())) == serialize(load(model))


def test_json_and_a_model_do_not_share_standard_output(model: Path) -> None:
    done = run("clean", model, "-o", "-", "--json")
    assert (done.returncode, done.stdout) == (1, b"")
    assert "expected one of them. Give -o a file" in done.stderr.decode()


def test_a_terminal_is_shown_no_bytes_and_asked_for_none(model: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        arguments = [*COMMAND, "clean", str(model), "-o", "-"]
        done = subprocess.run(arguments, stdout=theirs, stderr=subprocess.PIPE, check=False)
        assert b"standard output: is a terminal" in done.stderr
        done = subprocess.run([*COMMAND, "clean", "-"], stdin=theirs, capture_output=True, check=False)
        assert b"standard input: is a terminal" in done.stderr
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_of_its_own_from_any_other(shell: str) -> None:
    done = run("--show-completion", shell)
    assert done.returncode == 0, done.stderr
    assert f"_QONNX_COMPLETE=complete_{shell}" in done.stdout.decode()


def test_bash_completes_with_the_script_that_it_gets(model: Path) -> None:
    path = shutil.which("bash")
    if path is None:
        pytest.skip("bash is not installed")
    program = model.parent / "bin" / "qonnx"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    script = """
        source <(qonnx --show-completion bash)
        COMP_WORDS=(qonnx info mo); COMP_CWORD=2; _qonnx_completion qonnx
        echo "${COMPREPLY[@]}"
        complete -p qonnx
    """
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    arguments = {"capture_output": True, "text": True, "check": False, "cwd": model.parent, "env": environment}
    done = subprocess.run([path, "-c", script], **arguments)
    assert done.stdout.splitlines() == ["model.onnx", "complete -o default -F _qonnx_completion qonnx"], done.stderr


def test_model_files_and_folders_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    for name in ("a.onnx", "b.ONNX", "k.h5", "text.txt", "models/inner.onnx"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert model_files("") == ["a.onnx", "b.ONNX", "k.h5", "models/"]
    assert model_files("a") == ["a.onnx"]
    assert model_files("models/") == ["models/inner.onnx"]
    assert model_files(f"{tmp_path}/k") == [f"{tmp_path}/k.h5"]
    assert model_files("nowhere/x") == []
    assert model_files("mod") == ["models/", "models/inner.onnx"]


def test_the_command_is_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "qonnx_core", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("qonnx-core ")


def completed_in(folder: Path, words: str) -> list[str]:
    """Return what bash is offered for the last of the words."""
    environment = {
        **os.environ,
        "_QONNX_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    return [line for line in done.stdout.splitlines() if line]


def test_names_that_a_shell_would_act_on_are_not_offered(tmp_path: Path) -> None:
    names = [r"t\$(touch pwned)", "t`touch pwned`", "t;touch pwned", "t*", "t'", 't"', "t\ntouch pwned", "t|x", "t\x1b"]
    plain = ["t/conv.0:0", "t名", "t-1"]
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    found = onnx.parser.parse_model(text)
    for name in [*names, *plain]:
        found.graph.node.add(op_type="Relu", input=["x"], output=[name])
        (tmp_path / f"{name.replace('/', '_')}.onnx").touch()
    onnx.save(found, tmp_path / "m.onnx")
    assert completed_in(tmp_path, "qonnx run m.onnx --intermediate t") == plain
    assert completed_in(tmp_path, "qonnx info t") == ["t-1.onnx", "t_conv.0:0.onnx", "t名.onnx"]


def test_bash_completes_commands_and_models(model: Path) -> None:
    def completed(words: str) -> list[str]:
        return completed_in(model.parent, words)

    assert "convert" in completed("qonnx conv")
    assert completed("qonnx clean mo") == ["model.onnx"]
    assert "--with-functions" in completed("qonnx clean model.onnx --with")
    assert completed("qonnx run model.onnx --intermediate global_o") == ["global_out"]
    assert "MatMul_0_out0" in completed("qonnx stats model.onnx --tensor MatMul_")
    assert completed("qonnx transform model.onnx --pass change_b") == ["change_batch_size"]
    assert completed("qonnx run nothing.onnx --intermediate global_o") == []


def test_one_of_two_models_comes_from_standard_input(model: Path, tmp_path: Path) -> None:
    width = int(load(model).graph.inputs[0].shape[1])
    np.save(tmp_path / "x.npy", np.zeros((3, width), np.float32))
    done = run("diff", model, "-", "--data", tmp_path / "x.npy", "--json", stdin=model.read_bytes())
    assert done.returncode == 0
    assert json.loads(done.stdout)["check"]["equal"] == 3
    done = run("diff", "-", "-", "--data", tmp_path / "x.npy", stdin=model.read_bytes())
    assert b"stands for several inputs" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["info", "{model}"], ["info", "{model}", "--json"], ["clean", "{model}", "-o", "-"], ["zoo", "list"], ["--help"]],
)
def test_a_reader_that_has_gone_ends_a_command_without_a_word(arguments: list[str], model: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [word.format(model=model) for word in arguments]
    done = subprocess.run([*COMMAND, *words], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["info", "{model}"], ["clean", "{model}", "-o", "-"], ["--version"]])
def test_a_full_disk_behind_standard_output_is_one_sentence(arguments: list[str], model: Path) -> None:
    words = [word.format(model=model) for word in arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert [line.startswith(b"error: No space left on device") for line in done.stderr.splitlines()] == [True]


def test_closed_standard_streams_are_no_error_and_take_no_file(model: Path) -> None:
    words = shlex.join([*COMMAND, "clean", str(model)])
    for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
        assert subprocess.run(["sh", "-c", f"{words} {closed}"], check=False).returncode == 0
    assert len(load(model.with_name("model_clean.onnx")).graph) > 0


def test_rules_and_samples_come_from_standard_input(model: Path, tmp_path: Path) -> None:
    width = int(load(model).graph.inputs[0].shape[1])
    np.save(tmp_path / "x.npy", np.ones((3, width), np.float32))
    rules = b"quantize: [{match: {op_type: MatMul}, input: {bits: 4, scale: data}}]"
    (tmp_path / "rules.yaml").write_bytes(rules)
    written = []
    for config, data in (("-", tmp_path / "x.npy"), (tmp_path / "rules.yaml", "-")):
        out = tmp_path / f"{len(written)}.onnx"
        given = rules if config == "-" else (tmp_path / "x.npy").read_bytes()
        done = run("quantize", model, "--config", config, "--data", data, "-o", out, stdin=given)
        assert done.returncode == 0, done.stderr
        written.append(out.read_bytes())
    assert written[0] == written[1]
    done = run("prune", model, "--channels", "-", stdin=b"{nowhere: {0: [1]}}")
    assert b"nowhere" in done.stderr
    done = run("prune", model, "--channels", "-", stdin=b"{w: [")
    assert done.stderr.startswith(b"error: standard input: it is no YAML or JSON")
    options = ("--input-type", "UINT2", "-o", tmp_path / "parts", "--json")
    done = run("partition", model, "--rules", "-", *options, stdin=b"default: nobody")
    assert b"nobody" in done.stderr
    for words in (("quantize", "--config", "-", "-o", "x.onnx"), ("prune", "--channels", "-")):
        assert b"stands for several inputs" in run(words[0], "-", *words[1:], stdin=b"x").stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run", "{model}", "--data", "{data}", "-o", "{out}/y.npz"], "y.npz"),
        (["stats", "{model}", "--data", "{data}", "--plots", "{out}"], ".png"),
        (["clean", "{model}", "-o", "{out}/m.onnx"], "m.onnx"),
    ],
)
def test_a_full_disk_leaves_nothing_and_is_told_with_the_file(
    arguments: list[str], names: str, model: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the full disk."""
    if arguments[0] == "stats":
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    width = int(load(model).graph.inputs[0].shape[1])
    np.save(tmp_path / "x.npy", np.zeros((5000, width), np.float32))
    out = tmp_path / "out"
    out.mkdir()
    words = [word.format(model=model, data=tmp_path / "x.npy", out=out) for word in arguments]
    script = f"ulimit -f 2; exec {shlex.join([*COMMAND, *words])}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{names}: cannot be written (File too large); expected room on the disk." in done.stderr
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ingest", "-"], "source -: stands for a pipe; expected a file"),
        (["build", "-", "-o", "out"], "model -: stands for a pipe; expected a file"),
        (["build", "{model}", "-o", "-"], "--output -: stands for a pipe; expected a folder for the build"),
        (["partition", "{model}", "--rules", "r.yaml", "-o", "-"], "--output -: stands for a pipe; expected a folder"),
        (["stats", "{model}", "--data", "x.npy", "--plots", "-"], "--plots -: stands for a pipe; expected a folder"),
    ],
)
def test_a_dash_that_can_be_no_stream_is_refused(
    arguments: list[str], sentence: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*(word.format(model=model) for word in arguments))
    assert (done.returncode, done.stdout) == (1, b"")
    assert sentence in done.stderr.decode()
    assert not Path("-").exists()


def test_an_ingested_model_goes_to_standard_output(model: Path) -> None:
    done = run("ingest", model, "-o", "-")
    assert done.returncode == 0
    assert len(load_bytes(done.stdout).graph) == len(load(model).graph)
    assert b"standard output: " in done.stderr
