"""The generated code is that of our description, and its numbers are those of the protocol."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb

ROOT = Path(__file__).parents[4]
FOLDER = Path("service/api/protocols/open_inference/grpc_service")


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    """`make proto` would write what is there."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT}"]
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, *outputs, str(ROOT / FOLDER / "open_inference.proto")], check=True)
    for name in ("open_inference_pb2.py", "open_inference_pb2.pyi"):
        assert (tmp_path / FOLDER / name).read_text() == (ROOT / FOLDER / name).read_text(), "run `make proto`"


def test_the_service_has_the_twenty_methods() -> None:
    methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    assert len(methods) == 20
    assert [method.name for method in methods if method.client_streaming] == ["ModelStreamInfer"]


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (pb.ModelInferRequest(raw_input_contents=[b"a"]), b"\x3a\x01a"),
        (pb.ModelInferResponse(raw_output_contents=[b"a"]), b"\x32\x01a"),
        (pb.InferTensorContents(bytes_contents=[b"a"]), b"\x42\x01a"),
        (pb.InferParameter(uint64_param=1), b"\x28\x01"),
        (pb.ModelConfig(backend="a"), b"\x8a\x01\x01a"),
        (pb.ModelStreamInferResponse(error_message="a"), b"\x0a\x01a"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bytes) else "",
)
def test_fields_have_the_numbers_of_the_protocol(message: object, written: bytes) -> None:
    assert message.SerializeToString() == written  # type: ignore[attr-defined]
