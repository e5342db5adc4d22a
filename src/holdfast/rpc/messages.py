"""The protocol's messages, made from `open_inference.proto` as its compiler reads it (`open_inference.binpb`).

They live in a descriptor pool of their own, so that another library's copy of the same protocol (a client's, in a test or a
notebook) can be loaded beside them. `python -m grpc_tools.protoc -I. --descriptor_set_out=open_inference.binpb
open_inference.proto`, in this folder, writes the compiled form again; a test compares the two.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = [
    "SERVICE",
    "ModelInferRequest",
    "ModelInferResponse",
    "ModelMetadataRequest",
    "ModelMetadataResponse",
    "ModelReadyRequest",
    "ModelReadyResponse",
    "RepositoryIndexRequest",
    "RepositoryIndexResponse",
    "RepositoryModelLoadRequest",
    "RepositoryModelLoadResponse",
    "RepositoryModelUnloadRequest",
    "ServerLiveResponse",
    "ServerMetadataResponse",
    "ServerReadyResponse",
]

PACKAGE: Final = "inference"
SERVICE: Final = f"{PACKAGE}.GRPCInferenceService"


def _pool() -> descriptor_pool.DescriptorPool:
    found = descriptor_pool.DescriptorPool()
    compiled = files("holdfast.rpc").joinpath("open_inference.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        found.Add(file)
    return found


_POOL: Final = _pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


ModelInferRequest: Final = _message("ModelInferRequest")
ModelInferResponse: Final = _message("ModelInferResponse")
ModelMetadataRequest: Final = _message("ModelMetadataRequest")
ModelMetadataResponse: Final = _message("ModelMetadataResponse")
ModelReadyRequest: Final = _message("ModelReadyRequest")
ModelReadyResponse: Final = _message("ModelReadyResponse")
RepositoryIndexRequest: Final = _message("RepositoryIndexRequest")
RepositoryIndexResponse: Final = _message("RepositoryIndexResponse")
RepositoryModelLoadRequest: Final = _message("RepositoryModelLoadRequest")
RepositoryModelLoadResponse: Final = _message("RepositoryModelLoadResponse")
RepositoryModelUnloadRequest: Final = _message("RepositoryModelUnloadRequest")
ServerLiveResponse: Final = _message("ServerLiveResponse")
ServerMetadataResponse: Final = _message("ServerMetadataResponse")
ServerReadyResponse: Final = _message("ServerReadyResponse")
