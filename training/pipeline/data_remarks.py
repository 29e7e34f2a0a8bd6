"""What should be known about the data before hours of training: refused if nothing can be learned, else remarked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from service.errors import UnrollError
from training.config.networks import ClassifierConfig
from training.config.recipe import Recipe
from training.data.records import LabelledSignal, LabelledText, Record, TaggedSentence
from training.data.split import labels_of, shortened
from training.evaluation.analysis.interval import wilson
from training.preprocessing.load_records import RunData

#: A score on fewer records than this is remarked upon, and so is training on fewer.
SMALL_DEV: Final = 100
SMALL_TRAIN: Final = 200
#: The share of one label, in percent, from which accuracy says little.
DOMINANT_PERCENT: Final = 80.0
#: Texts with fewer words than this, on average, are mostly single words.
ONE_WORD: Final = 1.5


def check_learnable(data: RunData) -> None:
    """Raises UnrollError where a part is empty, or where there is only one label, so that nothing is to be learned."""
    if not data.train or not data.dev:
        empty = "train" if not data.train else "dev"
        raise UnrollError(
            f"there is nothing to learn from: {empty} holds no record; train and dev need at least one each"
        )
    labels = _counted(data.train)
    if len(labels) == 1 and isinstance(data.train[0], LabelledText | LabelledSignal | TaggedSentence):
        (label,) = labels
        is_tags = isinstance(data.train[0], TaggedSentence)
        what = "word of train has the tag" if is_tags else "record of train has the label"
        raise UnrollError(
            f"every {what} {shortened([label])!r}: with one class there is nothing to tell apart; "
            "is this the right column (--column label=..., --column tag=...)?"
        )


def remarks(data: RunData) -> list[str]:
    """Sentences about the two parts: labels that are missing in one, few records, and a dominant label."""
    train, dev = _counted(data.train), _counted(data.dev)
    found = []
    unknown = [f"{label} ({count:,})" for label, count in dev.most_common() if label not in train]
    if unknown:
        found.append(f"labels of dev that are not in train, and count as wrong there: {shortened(unknown)}")
    unseen = [f"{label} ({count:,})" for label, count in train.most_common() if label not in dev]
    if unseen:
        found.append(f"labels of train that dev does not score, as none of its records has them: {shortened(unseen)}")
    if train and len(data.dev) < SMALL_DEV:
        low, high = wilson(len(data.dev) // 2, len(data.dev))
        found.append(
            f"dev holds only {len(data.dev):,} records: a score on it is uncertain by about "
            f"{(high - low) / 2:.0f} points either way; more of them: --dev FILE, or --set data.dev_percent=30"
        )
    return found


def hints(recipe: Recipe, data: RunData) -> list[str]:
    """What may help a model of these data, with the option that does it."""
    found = []
    if _reads_single_words(recipe, data.train):
        found.append(
            "most texts are a single word, which a network of words cannot look into: try characters, "
            "with --set tokenizer.unit=character"
        )
    labels = _counted(data.train)
    if labels and isinstance(data.train[0], LabelledText | LabelledSignal):
        label, count = labels.most_common(1)[0]
        share = 100 * count / len(data.train)
        if share >= DOMINANT_PERCENT:
            found.append(
                f"{share:.0f} % of train has the label {shortened([label])!r}: always giving it is right as often, so "
                "look at f1 rather than accuracy, and add records of the other labels"
            )
    if labels and len(data.train) < SMALL_TRAIN:
        found.append(f"train holds only {len(data.train):,} records: more of them help more than any setting")
    return found


def _reads_single_words(recipe: Recipe, train: Sequence[Record]) -> bool:
    texts = [record.text for record in train if isinstance(record, LabelledText)]
    if not texts or recipe.tokenizer.unit != "word" or not isinstance(recipe.network, ClassifierConfig):
        return False
    return recipe.network.characters == "none" and sum(len(text.split()) for text in texts) < ONE_WORD * len(texts)


def _counted(records: Sequence[Record]) -> Counter[str]:
    """How many records have each label."""
    return Counter(label for record in records for label in labels_of(record))
