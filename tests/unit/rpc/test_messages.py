"""The protocol's messages: what is compiled is what stands in the .proto, and it is what other people's clients speak."""

from importlib.resources import as_file, files

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from tritonclient.grpc import service_pb2

from holdfast.rpc import messages


def test_the_compiled_form_is_that_of_the_proto(tmp_path):
    with as_file(files("holdfast.rpc")) as folder:
        fresh = tmp_path / "fresh.binpb"
        assert protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={fresh}", "open_inference.proto"]) == 0
        assert fresh.read_bytes() == (folder / "open_inference.binpb").read_bytes()


def fields(message, seen=()):
    """Names, numbers, types of a message and of what it holds."""
    found = descriptor_pb2.DescriptorProto()
    message.CopyToProto(found)
    told = {(field.name, field.number, field.type, field.label) for field in found.field}
    for field in message.fields:
        if field.message_type and field.message_type.full_name not in seen:
            told |= {(field.name, *one) for one in fields(field.message_type, (*seen, field.message_type.full_name))}
    return told


@pytest.mark.parametrize("name", [name for name in messages.__all__ if name != "SERVICE"])
def test_every_message_is_on_the_wire_what_triton_makes_of_it(name):
    ours, theirs = fields(getattr(messages, name).DESCRIPTOR), fields(getattr(service_pb2, name).DESCRIPTOR)
    # A newer standard has properties of models; Triton's copy has not.
    assert {one for one in ours if one[0] != "properties"} == {one for one in theirs if one[0] != "properties"}
