"""LitServe with scikit-learn, gathering batches."""

import os
from typing import Any

import litserve
import numpy as np
from transaction import answer, features


class Forest(litserve.LitAPI):  # type: ignore[misc]  # an environment of its own
    """As its documentation has it."""

    def setup(self, device: str) -> None:
        """Loads the forest in the worker."""
        del device
        from forest_sklearn import FOREST  # noqa: PLC0415

        self.forest = FOREST

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """The body."""
        return request

    def batch(self, inputs: list[Any]) -> list[Any]:
        """As they are."""
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        """As they are."""
        return output

    def predict(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The forest's answers."""
        rows = np.array([features(one) for one in inputs], dtype=np.float32)
        found = self.forest.predict_proba(rows)[:, 1]
        return [answer(one, float(p)) for one, p in zip(inputs, found, strict=True)]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The answer."""
        return output


if __name__ == "__main__":
    api = Forest(max_batch_size=64, batch_timeout=0.002, api_path="/score")
    litserve.LitServer(api, accelerator="cpu").run(
        port=int(os.environ["BENCH_PORT"]), generate_client_file=False
    )
