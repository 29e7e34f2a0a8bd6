"""Classification baselines: the majority label, and a linear classifier on TF-IDF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from training.data.records import LabelledSignal, LabelledText
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.scoring import classification_scores

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

LINEAR = "TF-IDF + linear SVM"
_ONE_WORD_TEXTS = 1.5


def majority_label(
    train: Sequence[LabelledText | LabelledSignal], dev: Sequence[LabelledText | LabelledSignal]
) -> BaselineResult:
    """Always the label that is most frequent in `train`."""
    counts = Counter(record.label for record in train)
    label = min(counts, key=lambda name: (-counts[name], name))
    return _result("majority label", dev, [label] * len(dev))


def linear_classifier(train: Sequence[LabelledText], dev: Sequence[LabelledText], outside: str) -> BaselineResult:
    """`linear_labels`, or the majority label where train has a single label. Confidence is the distance to the border.

    `outside` is the out-of-scope label.
    """
    if len({record.label for record in train}) == 1:
        return majority_label(train, dev)
    model, texts = _fitted(train), [record.text for record in dev]
    distances = model.decision_function(texts)
    confidences = np.abs(distances) if distances.ndim == 1 else distances.max(axis=1)
    predicted = [str(label) for label in model.predict(texts)]
    gold = [record.label for record in dev]
    return BaselineResult(LINEAR, classification_scores(gold, predicted, confidences.tolist(), outside))


def linear_labels(train: Sequence[LabelledText], dev: Sequence[LabelledText]) -> list[str]:
    """TF-IDF of words and pairs of words, and a linear support vector machine (Fan et al. 2008, LIBLINEAR).

    Texts that are mostly single words, such as names, use character n-grams of 1 to 4 instead.
    """
    labels = [record.label for record in train]
    if len(set(labels)) == 1:
        return labels[:1] * len(dev)
    return [str(label) for label in _fitted(train).predict([record.text for record in dev])]


def _fitted(train: Sequence[LabelledText]) -> Pipeline:
    # Imported here: scikit-learn and SciPy take as long as PyTorch, and a process that only trains needs neither.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    mean_words = sum(len(record.text.split()) for record in train) / len(train)
    if mean_words < _ONE_WORD_TEXTS:
        features = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
    else:
        features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
    model = make_pipeline(features, LinearSVC(random_state=0))
    model.fit([record.text for record in train], [record.label for record in train])
    return model


def _result(name: str, dev: Sequence[LabelledText | LabelledSignal], predicted: Sequence[str]) -> BaselineResult:
    return BaselineResult(name, classification_scores([record.label for record in dev], predicted))
