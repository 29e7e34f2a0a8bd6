"""Networks: padding invariance, steps equal to whole sequences, and correct dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.bundle.tokenizer import UNK
from tests.training.exportable import CELLS, classifier, language_model, lively, tagger, translator
from training.config.networks import AttentionKind, Cell, PoolingKind
from training.config.recipe import ConfigFault, parse_recipe
from training.networks.build import build_network
from training.networks.inputs.character_features import CharacterCNN, CharacterRNN
from training.networks.layers.attention import ATTENTIONS, attend
from training.networks.layers.cells import CELLS as TORCH_CELLS
from training.networks.layers.cells import recurrence
from training.networks.layers.dropout import LockedDropout, WordDropout
from training.networks.layers.pooling import Pooling
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.network import Network
from training.preprocessing.batches import NO_LABEL, ClassificationBatch, LanguageBatch, TaggingBatch, TranslationBatch
from training.preprocessing.padded_sequences import length_mask, reverse_sequence
from training.preprocessing.vocabulary import Vocabulary, fit_characters, fit_words
from training.tasks.catalogue import TASKS

LENGTHS = torch.tensor([3, 6, 1, 5])
TIME = 6
#: No text has a label.
NONE = torch.full((len(LENGTHS),), NO_LABEL)
WIDTH, HIDDEN = 4, 5


def random_inputs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_ids(*shape: int, low: int = 4, high: int = 16, seed: int = 0) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def padded(ids: Tensor, lengths: Tensor = LENGTHS) -> Tensor:
    """The same ids, zero beyond each length."""
    return ids * length_mask(lengths, ids.shape[1])


def assert_rows_alone_are_the_same(run: Callable[[slice, int], Tensor], together: Tensor, per_step: bool) -> None:
    """`run(row, length)` gives the same result as in the batch, up to the row's length."""
    for row, length in enumerate(LENGTHS.tolist()):
        expected = together[row, :length] if per_step else together[row]
        torch.testing.assert_close(run(slice(row, row + 1), length)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
class TestRecurrentEncoder:
    """Every cell, in one or both directions, with one to three layers."""

    def encoder(self, cell: Cell, bidirectional: bool, layers: int) -> RecurrentEncoder:
        return lively(RecurrentEncoder(cell, WIDTH, HIDDEN, layers, bidirectional, dropout=0.5)).eval()

    def test_a_padded_row_is_the_row_alone(self, cell: Cell, bidirectional: bool, layers: int) -> None:
        """Outputs and final states depend neither on the batch nor on the content of the padding."""
        encoder, inputs = self.encoder(cell, bidirectional, layers), random_inputs(len(LENGTHS), TIME, WIDTH)
        outputs = encoder(inputs, LENGTHS)
        final = encoder.final(outputs, LENGTHS)

        def alone(row: slice, length: int) -> Tensor:
            return encoder(inputs[row, :length], LENGTHS[row])

        assert_rows_alone_are_the_same(alone, outputs, per_step=True)
        assert_rows_alone_are_the_same(
            lambda row, length: encoder.final(alone(row, length), LENGTHS[row]), final, per_step=False
        )

    def test_it_is_torchs_own_stack(self, cell: Cell, bidirectional: bool, layers: int) -> None:
        """torch's own layers with copied weights give the same outputs and final states for each row."""
        encoder, inputs = self.encoder(cell, bidirectional, layers), random_inputs(len(LENGTHS), TIME, WIDTH)
        torchs = torch_stack(encoder, cell, bidirectional)
        outputs = encoder(inputs, LENGTHS)
        final = encoder.final(outputs, LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            expected, state = torchs(inputs[row : row + 1, :length])
            hidden = state[0] if cell == "lstm" else state
            torch.testing.assert_close(outputs[row, :length], expected[0], rtol=0, atol=1e-5)
            top = hidden[-2:, 0].flatten() if bidirectional else hidden[-1, 0]
            torch.testing.assert_close(final[row], top, rtol=0, atol=1e-5)


def torch_stack(encoder: RecurrentEncoder, cell: Cell, bidirectional: bool) -> nn.RNNBase:
    """torch's stack of layers with copied weights."""
    num_layers = len(encoder.layers)
    stack = TORCH_CELLS[cell].module(WIDTH, HIDDEN, num_layers, batch_first=True, bidirectional=bidirectional)
    own = dict(stack.named_parameters())
    with torch.no_grad():
        for number, layer in enumerate(encoder.layers):
            for direction, suffix in (("forward_rnn", ""), ("backward_rnn", "_reverse")):
                rnn = getattr(layer, direction)
                for name, value in () if rnn is None else rnn.named_parameters():
                    own[name.replace("_l0", f"_l{number}") + suffix].copy_(value)
    return stack


def test_reversing_twice_changes_nothing() -> None:
    """Reversal acts within each row's length, leaves padding in place, and is its own inverse."""
    inputs = torch.arange(12.0).view(2, 6, 1)
    lengths = torch.tensor([4, 6])
    once = reverse_sequence(inputs, lengths)
    assert once.flatten().tolist() == [3, 2, 1, 0, 4, 5, 11, 10, 9, 8, 7, 6]
    assert torch.equal(reverse_sequence(once, lengths), inputs)


def test_an_lstm_starts_with_its_forget_gate_open() -> None:
    """Only the forget gate's initial biases are 1, and recurrent matrices are orthogonal."""
    parameters = dict(recurrence("lstm", WIDTH, HIDDEN).named_parameters())
    biases = parameters["bias_ih_l0"] + parameters["bias_hh_l0"]
    assert biases.tolist() == [0.0] * HIDDEN + [1.0] * HIDDEN + [0.0] * 2 * HIDDEN
    for block in parameters["weight_hh_l0"].split(HIDDEN):
        torch.testing.assert_close(block @ block.T, torch.eye(HIDDEN))


@pytest.mark.parametrize("kind", get_args(PoolingKind))
@pytest.mark.parametrize("bidirectional", [False, True])
def test_pooling_does_not_see_padding(kind: PoolingKind, bidirectional: bool) -> None:
    """Every pooling gives a row the same result in a batch as alone, even with huge values in the padding."""
    encoder = lively(RecurrentEncoder("gru", WIDTH, HIDDEN, 1, bidirectional))
    pooling = lively(Pooling(kind, encoder.output_size))
    outputs = encoder(random_inputs(len(LENGTHS), TIME, WIDTH), LENGTHS)
    spoilt = torch.where(length_mask(LENGTHS, TIME).unsqueeze(2), outputs, torch.tensor(1e6))
    pooled = pooling(encoder, spoilt, LENGTHS)
    assert_rows_alone_are_the_same(
        lambda row, length: pooling(encoder, outputs[row, :length], LENGTHS[row]), pooled, per_step=False
    )


def test_mean_and_max_are_what_they_are_called() -> None:
    """Mean and max pooling over the valid steps equal numpy's."""
    encoder = RecurrentEncoder("rnn", WIDTH, HIDDEN, 1, bidirectional=False)
    outputs = random_inputs(len(LENGTHS), TIME, HIDDEN)
    for row, length in enumerate(LENGTHS.tolist()):
        values = outputs[row, :length].numpy()
        mean, largest = (Pooling(kind, HIDDEN)(encoder, outputs, LENGTHS)[row] for kind in ("mean", "max"))
        np.testing.assert_allclose(mean.numpy(), values.mean(axis=0), rtol=1e-5)
        np.testing.assert_array_equal(largest.numpy(), values.max(axis=0))


@pytest.mark.parametrize("kind", get_args(AttentionKind))
def test_attention_does_not_see_padding(kind: AttentionKind) -> None:
    """Attention weights are zero beyond a row's end and sum to one, and the context is that of the row alone."""
    attention = lively(ATTENTIONS[kind](HIDDEN, WIDTH, 3))
    memory, queries = random_inputs(len(LENGTHS), TIME, WIDTH), random_inputs(len(LENGTHS), 2, HIDDEN)
    mask = length_mask(LENGTHS, TIME)
    context, weights = attend(attention.energies(queries, attention.key(memory)), memory, mask)
    assert not weights.masked_select(~mask.unsqueeze(1)).any()
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(len(LENGTHS), 2))
    for row, length in enumerate(LENGTHS.tolist()):
        part = memory[row : row + 1, :length]
        energies = attention.energies(queries[row : row + 1], attention.key(part))
        alone, _ = attend(energies, part, mask[row : row + 1, :length])
        torch.testing.assert_close(context[row], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "features", [CharacterCNN(16, 3, 4), CharacterRNN(16, 3, 4, "lstm"), CharacterRNN(16, 3, 4, "gru")]
)
def test_word_shapes_do_not_see_padding(features: CharacterCNN | CharacterRNN) -> None:
    """A word's features do not depend on longer words or padding words in the batch."""
    features = lively(features)
    word_lengths = torch.tensor([3, 1, 5])
    characters = padded(random_ids(3, 7), word_lengths)
    sentence = torch.cat([characters, torch.zeros(2, 7, dtype=torch.long)]).unsqueeze(0)
    found = features(sentence)
    assert found.shape == (1, 5, features.output_size)
    for word, length in enumerate(word_lengths.tolist()):
        alone = features(characters[word, :length].view(1, 1, -1))
        torch.testing.assert_close(found[0, word], alone[0, 0], rtol=0, atol=1e-5)


def test_a_word_shape_is_the_largest_answer_of_each_filter() -> None:
    """The CNN equals a hand-written convolution with zero padding, followed by ReLU and maximum."""
    features = lively(CharacterCNN(16, 3, 4))
    ids = random_ids(5)
    vectors = torch.cat([torch.zeros(1, 3), features.embedding(ids), torch.zeros(1, 3)])
    weight, bias = features.convolution.weight, features.convolution.bias
    assert bias is not None
    answers = [(weight * vectors[start : start + 3].T).sum(dim=(1, 2)) + bias for start in range(5)]
    torch.testing.assert_close(features(ids.view(1, 1, -1))[0, 0], torch.stack(answers).relu().amax(dim=0))


@pytest.mark.parametrize("characters", ["cnn", "rnn", "none"])
@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_a_taggers_loss_does_not_see_padding(characters: str, decoder: str) -> None:
    """The loss of a batch is the mean over its words of the losses of the single sentences."""
    network = tagger(characters=characters, decoder=decoder).eval()
    words, tags = padded(random_ids(len(LENGTHS), TIME)), random_ids(len(LENGTHS), TIME, low=0, high=4)
    letters = padded(random_ids(len(LENGTHS), TIME), LENGTHS).unsqueeze(2).repeat(1, 1, 3)
    together, _ = network.loss(TaggingBatch(words, letters, LENGTHS, padded(tags), NONE))
    total = 0.0
    for row, length in enumerate(LENGTHS.tolist()):
        part = slice(row, row + 1), slice(length)
        one = slice(row, row + 1)
        alone, _ = network.loss(TaggingBatch(words[part], letters[part], LENGTHS[one], tags[part], NONE[one]))
        total += float(alone.detach()) * length
    assert float(together.detach()) == pytest.approx(total / int(LENGTHS.sum()), rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("attention", get_args(AttentionKind))
@pytest.mark.parametrize("layers", [1, 2, 3])
class TestTranslator:
    """Teacher forcing on whole sentences and single decode steps are the same computation."""

    def test_step_by_step_equals_many_at_once(self, cell: Cell, attention: AttentionKind, layers: int) -> None:
        """Logits, attention weights and the next state are equal for one and for many steps."""
        network = translator(cell, attention, layers).eval()
        targets = random_ids(len(LENGTHS), 4, seed=1)
        with torch.no_grad():
            memory, keys, state = network.encode(padded(random_ids(len(LENGTHS), TIME)), LENGTHS)
            logits, weights, after = network.decode(targets, memory, keys, LENGTHS, state)
            for step in range(4):
                found, looked, state = network.step(targets[:, step], memory, keys, LENGTHS, state)
                torch.testing.assert_close(found, logits[:, step], rtol=0, atol=1e-5)
                torch.testing.assert_close(looked, weights[:, step], rtol=0, atol=1e-5)
        for part, expected in zip(state, after, strict=True):
            torch.testing.assert_close(part, expected, rtol=0, atol=1e-5)

    def test_a_padded_source_is_the_source_alone(self, cell: Cell, attention: AttentionKind, layers: int) -> None:
        """A sentence has the same output probabilities alone as in a padded batch."""
        network = translator(cell, attention, layers).eval()
        sources, targets = padded(random_ids(len(LENGTHS), TIME)), random_ids(len(LENGTHS), 3, seed=1)

        def logits(row: slice, length: int) -> Tensor:
            memory, keys, state = network.encode(sources[row, :length], LENGTHS[row])
            return network.decode(targets[row], memory, keys, LENGTHS[row], state)[0]

        with torch.no_grad():
            together = logits(slice(None), TIME)
            assert_rows_alone_are_the_same(logits, together, per_step=False)


def test_a_translators_loss_counts_real_tokens_only() -> None:
    """Target padding is excluded from the loss, which is the mean over all target tokens of the batch."""
    network = translator().eval()
    source, lengths = random_ids(2, 4), torch.tensor([4, 4])
    targets = random_ids(2, 5, seed=3)
    ragged = targets.clone()
    ragged[1, 2:] = 0
    both, _ = network.loss(TranslationBatch(source, lengths, ragged, ragged))
    first, _ = network.loss(TranslationBatch(source[:1], lengths[:1], targets[:1], targets[:1]))
    second, _ = network.loss(TranslationBatch(source[1:], lengths[1:], targets[1:, :2], targets[1:, :2]))
    expected = (float(first.detach()) * 5 + float(second.detach()) * 2) / 7
    assert float(both.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
class TestLanguageModel:
    """The state does not depend on how the preceding text was divided."""

    def test_a_padded_prompt_leaves_each_rows_own_state(self, cell: Cell) -> None:
        """Prompts of different lengths in one batch leave the states and logits that each leaves alone."""
        network = language_model(cell).eval()
        prompts = padded(random_ids(len(LENGTHS), TIME))
        with torch.no_grad():
            logits, state = network.prompt(prompts, LENGTHS, network.zero_state(len(LENGTHS), torch.device("cpu")))
            for row, length in enumerate(LENGTHS.tolist()):
                start = network.zero_state(1, torch.device("cpu"))
                alone, after = network.prompt(prompts[row : row + 1, :length], None, start)
                torch.testing.assert_close(logits[row, :length], alone[0], rtol=0, atol=1e-5)
                for part, expected in zip(state, after, strict=True):
                    torch.testing.assert_close(part[:, row], expected[:, 0], rtol=0, atol=1e-5)

    def test_two_halves_are_the_whole(self, cell: Cell) -> None:
        """Two windows with carried state have the same loss as one."""
        network = language_model(cell).eval()
        text = random_ids(2, 9)
        whole, _ = network.loss(LanguageBatch(text[:, :-1], text[:, 1:]))
        first, carried = network.loss(LanguageBatch(text[:, :4], text[:, 1:5]))
        second, _ = network.loss(LanguageBatch(text[:, 4:8], text[:, 5:]), carried)
        assert float(whole.detach()) == pytest.approx(float((first + second).detach()) / 2, rel=1e-5)
        assert not any(part.requires_grad for part in carried)


def classification_batch() -> ClassificationBatch:
    no_characters = torch.zeros(len(LENGTHS), 1, 1, dtype=torch.long)
    return ClassificationBatch(
        padded(random_ids(len(LENGTHS), TIME)), LENGTHS, torch.tensor([0, 1, 2, 3]), no_characters
    )


def language_batch() -> LanguageBatch:
    return LanguageBatch(random_ids(2, 8), random_ids(2, 8, seed=1))


@pytest.mark.parametrize(
    ("network", "batch"), [(classifier(), classification_batch()), (language_model(), language_batch())]
)
def test_dropout_is_off_in_evaluation(network: Network, batch: Any) -> None:
    """The loss of a batch is deterministic in evaluation, and random in training."""
    with torch.no_grad():
        network.train()
        assert network.loss(batch)[0] != network.loss(batch)[0]
        network.eval()
        assert network.loss(batch)[0] == network.loss(batch)[0]


def test_locked_dropout_has_one_mask_for_a_sequence() -> None:
    """A sequence drops the same units at every step, masks differ by sequence, and the mean is preserved."""
    torch.manual_seed(0)
    dropout = LockedDropout(0.5)
    dropped = dropout(torch.ones(400, TIME, WIDTH))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(dropped[0], dropped[1]) or not torch.equal(dropped[0], dropped[2])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.1)


def test_word_dropout_keeps_padding() -> None:
    """About the requested share of words becomes unknown; padding and all other words are kept."""
    torch.manual_seed(0)
    ids = padded(random_ids(200, TIME), torch.arange(200) % TIME + 1)
    dropped = WordDropout(0.3)(ids)
    changed = dropped != ids
    assert not dropped[ids == 0].any()
    assert (dropped[changed] == UNK).all()
    assert float(changed.sum() / (ids != 0).sum()) == pytest.approx(0.3, abs=0.06)
    assert torch.equal(WordDropout(0.3).eval()(ids), ids)


def recipe_for_vectors(word_size: int) -> Any:
    return parse_recipe(
        {"name": "x", "task": "classification", "data": {"train": "x.csv"}, "network": {"embedding_size": word_size}},
        "test",
    )


def vocabulary_with(vectors: Any) -> Vocabulary:
    recipe = recipe_for_vectors(3)
    return Vocabulary({"text": fit_words([["one", "two"]], recipe.tokenizer)}, ("x", "y"), vectors)


def test_known_vectors_start_the_embedding() -> None:
    """A word with a vector starts from it, one without is drawn with the same spread, and padding is zero."""
    vectors = np.full((6, 3), np.nan, dtype=np.float32)
    vectors[4] = [0.5, -0.25, 1.0]
    network = build_network(TASKS["classification"], recipe_for_vectors(3), vocabulary_with(vectors))
    rows = network.get_parameter("embedding.weight")
    assert rows[4].tolist() == [0.5, -0.25, 1.0]
    assert not rows[0].any()
    assert rows[5].isfinite().all()
    assert rows[5].any()


def test_vectors_of_which_no_word_is_known_do_no_harm() -> None:
    """If no word has a vector, the embedding is initialised as without vectors, not with NaN."""
    vocabulary = vocabulary_with(np.full((6, 3), np.nan, dtype=np.float32))
    network = build_network(TASKS["classification"], recipe_for_vectors(3), vocabulary)
    assert network.get_parameter("embedding.weight").isfinite().all()


def test_vectors_of_another_size_are_refused() -> None:
    """The error has both sizes, and the setting that makes them equal."""
    vocabulary = vocabulary_with(np.zeros((6, 3), dtype=np.float32))
    with pytest.raises(ConfigFault, match=r"have 3 numbers, the network expects 4: --set network\.embedding_size=3"):
        build_network(TASKS["classification"], recipe_for_vectors(4), vocabulary)


def test_the_seed_decides_the_weights() -> None:
    """Equal seeds give equal networks, and another seed gives another one."""
    vocabulary = Vocabulary({"text": fit_characters(["ab"])}, ("x", "y"))
    recipe = recipe_for_vectors(3)
    first, second = (build_network(TASKS["classification"], recipe, vocabulary).state_dict() for _ in range(2))
    reseeded = recipe.model_copy(update={"seed": 2})
    other = build_network(TASKS["classification"], reseeded, vocabulary).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])
