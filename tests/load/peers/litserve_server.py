"""LitServe: one worker process, batches within a time limit, with its fast queue."""

import litserve
from graphs import MAX_BATCH, PORT, WAIT_MS, WORKERS, Tagger


class TaggerAPI(litserve.LitAPI):
    """Decodes bodies, runs the model on lists of ids, encodes answers."""

    def setup(self, device: str) -> None:
        self.graph = Tagger()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # an annotation would become a schema
        return request["ids"]

    def batch(self, inputs: list[list[int]]) -> list[list[int]]:
        return inputs

    def predict(self, rows: list[list[int]]) -> list[list[int]]:
        return self.graph.tag(rows)

    def unbatch(self, output: list[list[int]]) -> list[list[int]]:
        return output

    def encode_response(self, output: list[int]) -> dict[str, list[int]]:
        return {"labels": output}


if __name__ == "__main__":
    api = TaggerAPI(max_batch_size=MAX_BATCH, batch_timeout=WAIT_MS / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS, timeout=60, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=PORT,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
