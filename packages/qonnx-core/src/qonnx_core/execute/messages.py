"""Says what onnxruntime says, without codes and the places in its own sources."""

from __future__ import annotations

import re

_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_NODE = re.compile(r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: ")
_SOURCE = re.compile(r"/\S*onnxruntime\S*\.(?:cc|h):\d+ [^()]*\([^()]*\)(?: const)? ?")
_NOISE = re.compile(r"^This is an invalid model\. |Type Error: |^Fatal error: | in node \(\)| node with name ''|\(-1\)")


def runtime_message(error: Exception) -> str:
    """Return the message of an error of onnxruntime in one line, the node in front where it names one."""
    text = _CODE.sub("", " ".join(str(error).split()))
    text = _NODE.sub(lambda found: f"{found[2] or 'a node'} ({found[1]}): ", text)
    return _NOISE.sub("", _SOURCE.sub("", text)).rstrip(" .")
