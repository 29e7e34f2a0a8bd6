"""Generated sentences with dependency trees, in CoNLL-U and as records."""

from __future__ import annotations

from pathlib import Path

from tests.training.tiny_runs import NUM_DEV, NUM_TRAIN, sentences
from training.data.records import ParsedSentence

_TAGS = {"the": "DET", "a": "DET", "sees": "VERB", "hears": "VERB"}


def tree_of(words: list[str]) -> ParsedSentence:
    """Clauses of three words: an article depends on its noun, the noun on its verb, a verb on the one before."""
    tags, heads, relations, feats = [], [], [], []
    for place, word in enumerate(words):
        kind = _TAGS.get(word, "NOUN")
        match kind:
            case "DET":
                head, relation = place + 2, "det"
            case "NOUN":
                head, relation = place + 2, "nsubj"
            case _:
                head, relation = (place - 2, "conj") if place > 2 else (0, "root")
        tags.append(kind)
        heads.append(head)
        relations.append(relation)
        feats.append({"the": "Definite=Def", "a": "Definite=Ind"}.get(word, "_"))
    lemmas = tuple({"sees": "see", "hears": "hear"}.get(word, word) for word in words)
    return ParsedSentence(tuple(words), tuple(tags), tuple(heads), tuple(relations), tuple(feats), lemmas)


def conllu(parsed: list[ParsedSentence]) -> str:
    """The sentences as a CoNLL-U file."""
    blocks = []
    for number, sentence in enumerate(parsed, start=1):
        words = zip(*sentence[:6], strict=True)
        rows = [
            f"{place}\t{word}\t{lemma}\t{tag}\t_\t{feats}\t{head}\t{relation}\t_\t_\n"
            for place, (word, tag, head, relation, feats, lemma) in enumerate(words, start=1)
        ]
        blocks.append(f"# sent_id = s{number}\n{''.join(rows)}\n")
    return "".join(blocks)


def write_trees(folder: Path) -> tuple[Path, Path]:
    """Write a train and a dev file, equal at every call."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "train.conllu", folder / "dev.conllu"
    for path, number, seed in zip(paths, (NUM_TRAIN, NUM_DEV), (1, 2), strict=True):
        path.write_text(conllu([tree_of(words) for words in sentences(number, seed)]), encoding="utf-8")
    return paths
