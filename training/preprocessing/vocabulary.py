"""Vocabulary of a run, and the tokenizers fitted on the text of its training records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from service.bundle.padding import FloatArray
from service.bundle.tokenizer import SPECIAL_TOKENS, UNK, TextTokenizer
from service.bundle.word_joiners import JOINER, REPLACED_JOINER
from training.config.recipe import TokenizerConfig
from training.preprocessing.character_models import CharacterModels
from training.preprocessing.scales.series_scale import SeriesScale
from training.preprocessing.scales.signal_scale import SignalScale
from training.preprocessing.word_vectors import WordVectors

#: English word boundaries: addresses whole, without a full stop after them; clitics (n't, 's) split off; abbreviations,
#: numbers and dates whole; a run of the same punctuation mark is one token, any other mark a token by itself. 98.5 % of
#: the words of the treebank that the taggers learn from are cut alike. The bounds prevent catastrophic backtracking.
ENGLISH_WORDS = (
    r"(?:https?://|www\.)\S*[^\s.,;:!?'\"’”)\]}>]|[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"
    r"|\w{1,20}(?=[nN]['’][tT]\b)|[nN]['’][tT]\b|['’](?i:s|re|ve|ll|d|m)\b"
    r"|(?:\p{L}\.){2,}|\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Inc|Corp|Ltd|Co|No|vs|etc)\."
    r"|\d+(?:[.,:/]\d+)*(?:(?:st|nd|rd|th)\b)?|[\p{L}\p{M}\p{N}_]+|([^\s\p{L}\p{N}])\1*"
)
_ADDRESSES = r"(?:https?://|www\.)\S*[^\s.,;:!?'\"’”»)\]}>]|[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"
_NUMBERS = r"\d+(?:[.,:/]\d+)*"
#: A word with its hyphens, except one before a final pronoun, which is a token of its own; a run of one mark.
_HYPHENATED = r"[\p{{L}}\p{{M}}\p{{N}}_]+(?:-(?!{0})[\p{{L}}\p{{M}}\p{{N}}_]+)*|([^\s\p{{L}}\p{{N}}])\1*"
_FRENCH_PRONOUN = r"(?:t-)?(?i:je|tu|ils?|elles?|on|nous|vous|ce|moi|toi|lui|leur|les?|la|y|en)\b(?!-)"
_PORTUGUESE_PRONOUN = r"(?i:me|te|se|nos|vos|lhes?|[oa]s?|l[oa]s?|n[oa]s?)\b"
#: An elided word keeps its apostrophe (l' d' qu' aujourd'hui), a French pronoun its hyphen (-t-il, -vous). The
#: treebanks of both languages also split contractions ("du" is "de le", "na" is "em a"), which raw text does not.
_ELIDED = r"(?i:aujourd['’]hui)|\b(?i:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu)['’](?=\p{L})"
_FRENCH_SHORT = r"\b(?:MM?|Mmes?|Mlles?|Dr|etc)\."
_FRENCH_PIECES = rf"{_ADDRESSES}|{_ELIDED}|-{_FRENCH_PRONOUN}|{_FRENCH_SHORT}|{_NUMBERS}|"
FRENCH_WORDS = _FRENCH_PIECES + _HYPHENATED.format(_FRENCH_PRONOUN)
_PORTUGUESE_SHORT = r"\b(?:Srs?|Sras?|Drs?|Dras?|etc)\."
PORTUGUESE_WORDS = rf"{_ADDRESSES}|{_PORTUGUESE_SHORT}|{_NUMBERS}|" + _HYPHENATED.format(_PORTUGUESE_PRONOUN)
#: Letters, digits and their combining marks; and what stays inside a word of code: paths, options, columns of tables.
_CODE_LETTER, _CODE_INNER = r"\p{L}\p{M}\p{N}_", r"./\-"
#: Between two characters without a blank: before a mark; and after a mark, before a word.
_BEFORE_MARK = rf"(?<=\S)(?=[^\s{_CODE_LETTER}{_CODE_INNER}]|[{_CODE_INNER}]+(?![{_CODE_LETTER}{_CODE_INNER}]))"
_AFTER_MARK = rf"(?<=[^\s{_CODE_LETTER}{_CODE_INNER}{JOINER}])(?=[{_CODE_INNER}]*[{_CODE_LETTER}])"
WORDS_OF_LANGUAGE = {"english": ENGLISH_WORDS, "french": FRENCH_WORDS, "portuguese": PORTUGUESE_WORDS}
_ANY_CHARACTER = r"[\s\S]"


@dataclass(frozen=True)
class Vocabulary:
    """Tokenizers by role, labels in id order, and pretrained vectors for the word role (row = id), if any.

    `text_labels` label whole texts where `labels` label their words; `scale` is for a series, `signal_scale` for
    frames or sound. `character_models` belong to a tagger with contextual features and use its character ids.
    `label_sets` are further labels of words by what they say, such as the relations of a parser, in id order.
    """

    tokenizers: dict[str, TextTokenizer]
    labels: tuple[str, ...] = ()
    vectors: FloatArray | None = None
    text_labels: tuple[str, ...] = ()
    scale: SeriesScale | None = None
    signal_scale: SignalScale | None = None
    character_models: CharacterModels | None = None
    label_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def size(self, role: str) -> int:
        return self.tokenizers[role].vocabulary_size

    def require_signal_scale(self) -> SignalScale:
        """The scale of frames or sound. Raises TypeError for a vocabulary of texts."""
        if self.signal_scale is None:
            raise TypeError("this vocabulary has no scale of signals")
        return self.signal_scale


def fit_words(
    sentences: Iterable[Sequence[str]], config: TokenizerConfig, vectors: WordVectors | None = None
) -> TextTokenizer:
    """Normalised words seen at least `min_count` times, most frequent first, then the words of `vectors`."""
    normalizer = word_normalizer(config)
    counts = Counter(normalizer.normalize_str(word) for sentence in sentences for word in sentence)
    words = [word for word, count in counts.most_common() if count >= config.min_count]
    known = set(words)
    if vectors is not None:
        words += [word for word in vectors.words[: config.max_vectors] if word not in known]
    return TextTokenizer(word_tokenizer(words, config))


def word_tokenizer(words: Sequence[str], config: TokenizerConfig) -> Tokenizer:
    """A word-level tokenizer over `words`, splitting raw text as the recipe says."""
    tokenizer = Tokenizer(models.WordLevel(_numbered(words), unk_token=SPECIAL_TOKENS[UNK]))
    tokenizer.normalizer = word_normalizer(config)
    cuts: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.WhitespaceSplit()]
    if config.cut in WORDS_OF_LANGUAGE:
        cuts.append(pre_tokenizers.Split(Regex(WORDS_OF_LANGUAGE[config.cut]), behavior="isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    return tokenizer


def fit_running_words(texts: Iterable[str], config: TokenizerConfig) -> TextTokenizer:
    """Words seen at least `min_count` times, most frequent first; the end of a line is a token, too.

    Decoding joins words with a space, so that decoded text keeps the tokenization.
    """
    cutting = running_words_tokenizer([], config)
    counts = Counter(piece for text in texts for piece in _cut_lines(cutting, text))
    return TextTokenizer(running_words_tokenizer([w for w, n in counts.most_common() if n >= config.min_count], config))


def running_words_tokenizer(words: Sequence[str], config: TokenizerConfig) -> Tokenizer:
    """Like `word_tokenizer`, but line ends are kept."""
    tokenizer = Tokenizer(models.WordLevel(_numbered(words), unk_token=SPECIAL_TOKENS[UNK]))
    tokenizer.normalizer = word_normalizer(config)
    word = r"\S+" if config.cut == "whitespace" else WORDS_OF_LANGUAGE[config.cut]
    # Inverted: the matches are kept and the white space between them is removed.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"\n|{word}"), behavior="removed", invert=True)
    return tokenizer


def _cut_lines(tokenizer: Tokenizer, text: str) -> Iterator[str]:
    """The words of a text, split line by line: a whole book at once takes much memory."""
    for line in text.splitlines(keepends=True):
        normal = tokenizer.normalizer.normalize_str(line)
        yield from (piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))


def word_normalizer(config: TokenizerConfig) -> normalizers.Normalizer:
    """The normalizer under which two spellings are one word. With `cut = "code"` it also sets marks apart."""
    steps: list[normalizers.Normalizer] = [normalizers.NFC(), *(_code_cuts() if config.cut == "code" else ())]
    if config.lowercase:
        steps.append(normalizers.Lowercase())
    if config.zero_digits:
        steps.append(normalizers.Replace(Regex("[0-9]"), "0"))
    return normalizers.Sequence(steps)


def _code_cuts() -> list[normalizers.Normalizer]:
    """Blanks and joiners around marks, see `service.bundle.word_joiners`."""
    return [
        normalizers.Replace(JOINER, REPLACED_JOINER),
        normalizers.Replace(Regex(_BEFORE_MARK), f" {JOINER}"),
        normalizers.Replace(Regex(_AFTER_MARK), f"{JOINER} "),
    ]


def fit_text_words(texts: Sequence[str], config: TokenizerConfig, vectors: WordVectors | None = None) -> TextTokenizer:
    """Words of raw texts, cut as `config` says, seen at least `min_count` times, most frequent first."""
    cutting = TextTokenizer(word_tokenizer([], config))
    counts = Counter(word for text in texts for word in cutting.words(text))
    words = [word for word, count in counts.most_common() if count >= config.min_count]
    known = set(words)
    if vectors is not None:
        words += [word for word in vectors.words[: config.max_vectors] if word not in known]
    return TextTokenizer(word_tokenizer(words, config))


def fit_characters(texts: Iterable[str], min_count: int = 1) -> TextTokenizer:
    """Every character seen at least `min_count` times as its own token, white space and line ends included."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    often = [character for character, count in counts.items() if count >= min_count]
    characters = sorted(often, key=lambda character: (-counts[character], character))
    tokenizer = Tokenizer(models.WordLevel(_numbered(characters), unk_token=SPECIAL_TOKENS[UNK]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_ANY_CHARACTER), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return TextTokenizer(tokenizer)


def fit_subwords(texts: Iterable[str], config: TokenizerConfig) -> TextTokenizer:
    """Byte-pair encoding (Sennrich et al. 2016); the first piece of a word includes the space before it."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS[UNK], fuse_unk=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary_size, special_tokens=list(SPECIAL_TOKENS), min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return TextTokenizer(tokenizer)


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    """Ids in order, after the special tokens; a word spelt like a special token stays unknown."""
    ordered = [*SPECIAL_TOKENS, *(token for token in tokens if token not in SPECIAL_TOKENS)]
    return {token: number for number, token in enumerate(ordered)}


def vector_rows(tokenizer: TextTokenizer, vectors: WordVectors | None) -> FloatArray | None:
    """`[vocabulary, size]`: the vector of each known word; NaN rows for the network to initialise."""
    if vectors is None:
        return None
    rows = np.full((tokenizer.vocabulary_size, vectors.size), np.nan, dtype=np.float32)
    for token_id in range(len(SPECIAL_TOKENS), tokenizer.vocabulary_size):
        vector = vectors.find(tokenizer.token(token_id))
        if vector is not None:
            rows[token_id] = vector
    return rows
