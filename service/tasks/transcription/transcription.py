"""Speech recognition: sound, or frames of features, to text, whole or in chunks with the state between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.bundle.load import Bundle
from service.bundle.task_options import TranscriptionOptions
from service.errors import InvalidInput, UnrollError
from service.tasks.core.chunk_state import require_chunks
from service.tasks.core.predict_task import ChunkReader, PredictTask
from service.tasks.core.step_batch import Outcome, StepTask
from service.tasks.core.task import AnswerStatistics, InputStatistics, PredictInput, Runner
from service.tasks.transcription.decoder import Decoder
from service.tasks.transcription.greedy_ctc import GreedyCtc
from service.tasks.transcription.greedy_transducer import GreedyTransducer
from service.tasks.transcription.search.decoders import Decoders
from service.tasks.transcription.sound_chunks import SignalForm
from service.tasks.transcription.speech_batch import SpeechBatch, SpeechExample, SpeechModel, SpeechOutput
from service.tasks.transcription.speech_state import SpeechState, SpeechStateReader, StateLayout, require_same_decoder
from service.tasks.transcription.spelling import Speller
from service.tasks.transcription.transcript import Transcript, TranscriptionParameters, TranscriptWriter
from service.tasks.transcription.utterances import EndpointRule, Utterance

#: Of an example: what was heard, or the error that ended it.
Output = SpeechOutput | UnrollError


class Transcription(PredictTask[SpeechExample, Output]):
    """Transcribes speech. A bundle with state reads it in chunks of any size (`ChunkReader`)."""

    parameters_type = TranscriptionParameters
    answer_type = Transcript

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, TranscriptionOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for transcription")
        self._manifest, self._options = manifest, manifest.options
        tokenizer = bundle.tokenizers["text"]
        self._form = SignalForm(manifest.options, manifest.limits.max_input_tokens)
        output_name = "encoded" if manifest.options.decoder == "transducer" else "log_probs"
        layout, num_flush_steps = StateLayout(manifest.state), manifest.options.flush_steps
        self._model = SpeechModel(self._form, layout, output_name, num_flush_steps, tokenizer.vocabulary_size)
        self._states = SpeechStateReader(layout, self._form)
        self._decoders = Decoders(bundle, manifest.options, _greedy_decoder(bundle, manifest.options))
        self._writer = TranscriptWriter(Speller(tokenizer, manifest.options.unit), self._form.step_s)

    @property
    def steps(self) -> StepTask[SpeechExample]:
        """Inputs are read in pieces, so that streams do not wait for long recordings."""
        return self

    def batch(self) -> SpeechBatch:
        """A new, empty batch, which examples join and leave at any step."""
        return SpeechBatch(self._model)

    def count_tokens(self, request: SpeechExample, product: SpeechOutput | None) -> int:
        return sum([len(utterance.tokens) for utterance in product.finished]) if product else 0

    def preprocess(self, value: PredictInput, parameters: TranscriptionParameters) -> SpeechExample:
        """Check a whole input. Silence is one, and so is a single sample."""
        example = self._example(value, parameters)
        example.length += self._options.flush_steps
        return example

    def run(self, runner: Runner, examples: Sequence[SpeechExample]) -> list[Output]:
        """Read all examples to their end, in a batch of their own. A failed example has its error as output."""
        batch = self.batch()
        batch.join(list(dict.fromkeys(examples)))
        found: dict[SpeechExample, Output] = {}
        while not batch.is_idle:
            for outcome in batch.advance(runner):
                found[outcome.request] = _output(outcome)
        return [found[example] for example in examples]

    def plain_answer(self, example: SpeechExample, output: Output) -> Any:
        """One transcript for a whole input; for a chunk a list of them. Raises the error that ended it, if one did."""
        if isinstance(output, UnrollError):
            raise output
        end_s = self._form.seconds_of(output.num_read, example.rate_hz)
        if not example.is_chunk:
            return self._transcript(example, output.finished, end_s, True)
        finished = [self._transcript(example, [utterance], end_s, True) for utterance in output.finished]
        under_way = [self._transcript(example, [output.partial], end_s, False)] if output.partial else []
        return [answer for answer in (*finished, *under_way) if answer["text"] or answer.get("keywords")]

    def postprocess(self, example: SpeechExample, output: Output) -> Transcript:
        return Transcript.model_validate(self.plain_answer(example, output))

    def sound_s(self, example: SpeechExample) -> float:
        return self._form.seconds_of(len(example.values), example.rate_hz)

    def input_statistics(self, example: SpeechExample) -> InputStatistics:
        return InputStatistics(example.length, 0)

    def answer_statistics(self, plain_answer: Any) -> AnswerStatistics:
        """The confidence of a whole answer, or the mean of those of the utterances that ended in a chunk."""
        answers = plain_answer if isinstance(plain_answer, list) else [plain_answer]
        known = [one["confidence"] for one in answers if one["is_final"] and one["confidence"] is not None]
        return AnswerStatistics((), sum(known) / len(known) if known else None)

    @property
    def chunks(self) -> ChunkReader[SpeechExample, Output, SpeechState]:
        return self

    def chunk(
        self,
        value: PredictInput | None,
        parameters: TranscriptionParameters,
        before: SpeechState | bytes | None,
        is_last: bool,
    ) -> SpeechExample:
        require_chunks(self._manifest)
        example = self._example(value, parameters)
        if isinstance(before, bytes):
            before = self._states.read(before, example.decoder, example.rule)
        elif before is not None:
            require_same_decoder(before.decoder.name, example.decoder)
        example.before, example.is_chunk, example.is_last = before, True, is_last
        if is_last:
            example.length += self._options.flush_steps
        if before is None:
            example.rate_hz = example.rate_hz or self._form.rate_hz
        elif value is None:
            example.rate_hz = before.signal.rate_hz
        elif before.signal.rate_hz != example.rate_hz:
            known, new = before.signal.rate_hz, example.rate_hz
            raise InvalidInput(f"the sound so far had {known} samples a second, this chunk has {new}", ("wav",))
        return example

    def answers(self, plain_answer: Any) -> list[Any]:
        transcripts: list[Any] = plain_answer
        return transcripts

    def state_after(self, example: SpeechExample, output: Output) -> SpeechState | None:
        if isinstance(output, UnrollError):
            raise output
        return output.after

    def _example(self, value: PredictInput | None, parameters: TranscriptionParameters) -> SpeechExample:
        values, rate_hz = (self._form.empty, 0) if value is None else self._form.values_of(value)
        length = max(1, self._form.steps_of(len(values), rate_hz))
        return SpeechExample(
            values,
            rate_hz,
            length,
            self._decoders.decoder(parameters),
            self._rule(parameters),
            has_words=parameters.words,
            has_keywords=bool(parameters.keywords),
        )

    def _rule(self, parameters: TranscriptionParameters) -> EndpointRule:
        asked = parameters.endpoint_ms
        endpoint_ms = self._options.endpoint_ms if asked is None else asked
        return EndpointRule.of(self._form.step_s, endpoint_ms, self._options.max_utterance_s)

    def _transcript(
        self, example: SpeechExample, utterances: Sequence[Utterance], read_s: float, is_final: bool
    ) -> dict[str, Any]:
        """One transcript of several utterances. It ends where the last one does, or where the input was read to."""
        is_utterance = example.is_chunk and is_final
        end_s = min(read_s, utterances[-1].end_step * self._form.step_s) if is_utterance else read_s
        answer = self._writer.write(utterances, end_s, is_final)
        if example.has_words:
            answer["words"] = self._writer.words(utterances, end_s)
        if example.has_keywords:
            answer["keywords"] = self._writer.keywords(utterances, end_s)
        return answer


def _greedy_decoder(bundle: Bundle, options: TranscriptionOptions) -> Decoder[Any]:
    vocabulary_size = bundle.tokenizers["text"].vocabulary_size
    if options.decoder == "ctc":
        return GreedyCtc(vocabulary_size)
    return GreedyTransducer(bundle.manifest.graphs["predictor"], vocabulary_size, options.max_symbols_per_step)


def _output(outcome: Outcome[SpeechExample]) -> Output:
    if outcome.error is not None:
        return outcome.error
    assert isinstance(outcome.product, SpeechOutput), "an example that did not fail has an output at its end"
    return outcome.product
