"""A plain ASGI function on stock uvicorn with a quick JSON library: the least that can answer a prediction over ASGI."""

import sys

import msgspec
import uvicorn
from onnx_model import Model

model = Model(sys.argv[1])
read = msgspec.json.Decoder().decode
write = msgspec.json.Encoder().encode


async def predict(scope: dict, receive: object, send: object) -> None:
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    answer = write({"predictions": model(read(body)["inputs"]).tolist()})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


uvicorn.run(predict, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False, lifespan="off")
