"""Ray Serve: one replica behind its proxy, without the dashboard."""

import sys
import time

import ray
from onnx_model import Model
from ray import serve
from starlette.requests import Request


@serve.deployment
class Bench:
    def __init__(self, path: str) -> None:
        self.model = Model(path)

    async def __call__(self, request: Request) -> dict:
        return {"predictions": self.model((await request.json())["inputs"]).tolist()}


ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
serve.run(Bench.bind(sys.argv[1]), route_prefix="/predict")
while True:
    time.sleep(3600)
