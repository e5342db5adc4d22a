"""An RSGI function on granian, its protocol written in Rust."""

import sys

import msgspec
from granian import Granian
from granian.constants import Interfaces
from onnx_model import Model

model = Model(sys.argv[1]) if __name__ == "app" else None  # in the worker
read = msgspec.json.Decoder().decode
write = msgspec.json.Encoder().encode


async def predict(scope: object, protocol: object) -> None:
    answer = write({"predictions": model(read(await protocol())["inputs"]).tolist()})
    protocol.response_bytes(200, [("content-type", "application/json")], answer)


if __name__ == "__main__":
    Granian(
        "app:predict",
        address="127.0.0.1",
        port=int(sys.argv[2]),
        interface=Interfaces.RSGI,
        workers=1,
        log_enabled=False,
    ).serve()
