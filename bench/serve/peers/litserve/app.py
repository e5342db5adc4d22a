"""LitServe with its defaults: the server in one process, the model in another."""

import sys

import litserve
from onnx_model import Model


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Model(sys.argv[1])

    def decode_request(self, request: dict) -> object:
        return request["inputs"]

    def predict(self, x: object) -> object:
        return self.model(x)

    def encode_response(self, output: object) -> dict:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False)
