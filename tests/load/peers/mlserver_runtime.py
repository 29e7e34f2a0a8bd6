"""MLServer's custom runtime. The ids of a request are one string, so that requests of any length can be batched."""

from __future__ import annotations

from graphs import Tagger
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class TaggerRuntime(MLModel):
    """One model, in the server process."""

    async def load(self) -> bool:
        self.graph = Tagger()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = [[int(word) for word in row.split()] for row in StringCodec.decode_input(payload.inputs[0])]
        labels = [" ".join(map(str, row)) for row in self.graph.tag(rows)]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("labels", labels)])
