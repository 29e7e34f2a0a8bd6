"""Windows of raw text with their classes, augmented; and what is learned of multiword tokens and abbreviations."""

from __future__ import annotations

import numpy as np
import torch

from service.bundle.tokenizer import UNK
from service.tasks.parsing.character_text import PARAGRAPH_END, Alphabet, read_characters
from service.tasks.parsing.multiword_tokens import MultiwordTokens
from service.tasks.parsing.segmenter import SENTENCE_END, TOKEN_END
from training.data.readers.treebanks.raw_text import raw_text
from training.data.records import ParsedSentence, Surface, SurfaceToken
from training.networks.parsing.segmenter import SEGMENTER, Segmenter
from training.preprocessing.batches import NO_LABEL
from training.preprocessing.parsing.segmentation import (
    SegmentationWindows,
    abbreviations,
    classes_of,
    multiword_tables,
    segmenter_alphabet,
)


def sentence(*tokens: str, new: bool = False) -> ParsedSentence:
    """Tokens with a blank between; those of several words are written as `form=word+word`."""
    text, placed, words = "", [], list[str]()
    for token in tokens:
        form, _, expansion = token.partition("=")
        own = expansion.split("+") if expansion else [form]
        text += " " if text else ""
        placed.append(SurfaceToken(len(text), len(text) + len(form), len(own)))
        text += form
        words += own
    size = len(words)
    surface = Surface(text, tuple(placed), new)
    return ParsedSentence(tuple(words), ("X",) * size, tuple(range(size)), ("dep",) * size, ("_",) * size, (), surface)


TREEBANK = [sentence("Ada", "came", "."), sentence("so", "what"), sentence("New", "text", "!", new=True)] * 60


def test_classes_stand_at_the_ends_of_tokens_and_sentences() -> None:
    """One for each character that is read; white space and blank lines are inside."""
    raw = raw_text(TREEBANK[:3], "it")
    alphabet = segmenter_alphabet(raw.text * 3)
    read = read_characters(raw.text, Alphabet(alphabet))
    classes = classes_of(raw, read.places)
    assert raw.text == "Ada came . so what\n\nNew text !"
    marks = {TOKEN_END: "|", SENTENCE_END: "#"}
    shown = "".join(marks.get(int(kind), "-") for kind in classes)
    assert shown == "--|----|-#--|----#---|----|-#-"
    assert [place for place, number in enumerate(read.ids) if number == PARAGRAPH_END] == [18, len(read.ids) - 1]


def test_windows_cover_the_text_from_new_places_in_every_epoch() -> None:
    """The same order again for the same epoch; padding has no class; no window is longer than the others."""
    raw = raw_text(TREEBANK, "it")
    windows = SegmentationWindows(raw, segmenter_alphabet(raw.text), 4, 1)
    first, again, second = windows.epoch(0), windows.epoch(0), windows.epoch(1)
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]
    assert {int(start) for batch in first for start in batch} != {int(start) for batch in second for start in batch}
    total = sum(windows.batch(batch).num_terms for batch in first)
    assert total >= len(raw.text) * 0.98
    for batch in map(windows.batch, first):
        assert int(batch.lengths.max()) <= 300
        is_padding = torch.arange(batch.classes.shape[1]) >= batch.lengths[:, None]
        assert bool(((batch.classes == NO_LABEL) == is_padding).all())
        assert int(batch.lengths.sum()) == int((batch.classes != NO_LABEL).sum())


def test_augmentation_shows_what_the_text_lacks() -> None:
    """Ends of lines at ends of sentences and within them, unknown characters, paragraphs without a last mark."""
    raw = raw_text(TREEBANK, "it")
    alphabet = segmenter_alphabet(raw.text)
    windows = SegmentationWindows(raw, alphabet, 8, 1)
    line_end = alphabet.token_id("\n")
    ends_of_lines, unmarked, unknown = {"sentence": 0, "within": 0}, 0, 0
    for epoch in range(8):
        for batch in map(windows.batch, windows.epoch(epoch)):
            ids, classes = batch.characters.numpy(), batch.classes.numpy()
            is_line = ids[:, 1:] == line_end
            ends_of_lines["sentence"] += int((is_line & (classes[:, :-1] == SENTENCE_END)).sum())
            ends_of_lines["within"] += int((is_line & (classes[:, :-1] == TOKEN_END)).sum())
            is_letter = ~np.isin(ids, [alphabet.token_id(mark) for mark in ".!"]) & (ids > PARAGRAPH_END)
            unmarked += int(
                ((ids[:, 1:] == PARAGRAPH_END) & is_letter[:, :-1] & (classes[:, :-1] == SENTENCE_END)).sum()
            )
            unknown += int((ids == UNK).sum())
    assert min(*ends_of_lines.values(), unmarked, unknown) > 0


def test_rare_multiword_tokens_are_learned_by_their_endings() -> None:
    """Endings that hold for most tokens, the shortest that say it; exceptions and other tokens stand in a table."""
    expanded = ["do=de+o", "do=de+o", "cats=cats", "is", "o", "co", "no"]
    contracted = [f"{word}n't={word}+n't" for word in ("is", "was", "does", "had")]
    tables = multiword_tables([sentence(*expanded, *contracted, "won't", "its=it+s", "its", "its")])
    assert tables.suffixes == {"n't": ("", "n't")}
    assert tables.expansions == {"do": ("de", "o"), "won't": ("won't",)}
    cutter = MultiwordTokens(*tables)
    assert cutter.words("Couldn't") == ("Could", "n't")
    assert cutter.words("won't") == ("won't",)


def test_a_table_entry_is_seen_twice() -> None:
    """A single "hams" for "ham's" is a slip of a writer, not a word that is several."""
    assert multiword_tables([sentence("hams=ham+s", "du=de+le"), sentence("du=de+le")]).expansions == {
        "du": ("de", "le")
    }


def test_abbreviations_are_tokens_with_their_full_stop() -> None:
    """Seen twice, seldom cut before it, seldom at the end of a sentence; numbers are none."""
    train = [
        sentence("Dr.", "No", "no", "."),
        sentence("dr.", "etc."),
        sentence("a", "etc."),
        sentence("3.", "3.", "p.m.", "p.m", "."),
        sentence("p.m", ".", "p.m.", "once.", "x"),
    ]
    assert abbreviations(train) == ("dr.",)


def test_the_network_learns_ends_and_its_graph_has_three_scores() -> None:
    """A few updates lower the loss; the graph gives the logits that the loss is made of."""
    torch.manual_seed(1)
    raw = raw_text(TREEBANK, "it")
    alphabet = segmenter_alphabet(raw.text)
    windows = SegmentationWindows(raw, alphabet, 4, 1)
    network = Segmenter(8, 6, 0.0, alphabet.vocabulary_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    losses = []
    for epoch in range(6):
        for indices in windows.epoch(epoch):
            loss, _ = network.loss(windows.batch(indices))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    batch = windows.batch(windows.epoch(0)[0])
    with torch.no_grad():
        logits = network.graphs()[SEGMENTER].function({"characters": batch.characters, "lengths": batch.lengths})
        found = torch.nn.functional.cross_entropy(
            logits["boundary_logits"].flatten(0, 1), batch.classes.flatten(), ignore_index=NO_LABEL
        )
        loss, _ = network.loss(batch)
    torch.testing.assert_close(found, loss)
