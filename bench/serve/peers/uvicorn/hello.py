"""Stock uvicorn's hello world: no model, no framework."""

import sys

import uvicorn


async def hello(scope: dict, receive: object, send: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"13")]})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


uvicorn.run(hello, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False, lifespan="off")
