"""Check the variants of a bundle: the loss they were accepted with, and the recorded examples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from service.bundle.load import Bundle
from service.bundle.manifest import Variant, VariantName
from service.inference.runtime.ort_runner import OrtRunner, can_run
from service.tasks.catalogue import task_of
from service.tasks.recorded import TOLERANCE, faults_of_embeddings, faults_of_examples

#: Largest accepted loss of the dev score in points; for a language model in percent of its perplexity, for a forecaster
#: in percent of its error.
MAX_DROP: dict[VariantName, float] = {"bf16": 0.2, "int8": 0.5}


def faults_of_variants(bundle: Bundle) -> Iterator[str]:
    """A sentence for each unacceptable variant: it loses too much, or answers an example differently.

    A variant that this machine cannot run is judged by its recorded figures alone.
    """
    for name, variant in bundle.manifest.variants.items():
        if variant.drop > MAX_DROP[name]:
            yield describe(name, variant)
        if can_run(bundle, name):
            runner = OrtRunner(bundle, "cpu", precision=name)
            task = task_of(bundle)
            faults = faults_of_examples(task, bundle.examples, runner, TOLERANCE[name])
            hidden = faults_of_embeddings(bundle, task, runner, TOLERANCE[name])
            yield from (f"{name}, {fault}" for fault in chain(faults, hidden))


def describe(name: VariantName, variant: Variant) -> str:
    """The figures of a variant in one line."""
    lost = round(variant.drop, 2) + 0.0  # avoids -0.00 for a gain too small to be shown
    return (
        f"{name}: dev {variant.measure} {variant.score:.4g}, fp32 {variant.fp32_score:.4g}, lost {lost:.2f} of "
        f"{MAX_DROP[name]:g} allowed; largest difference {variant.max_difference:.1e}, "
        f"{variant.agreement:.2f} % of decisions agree"
    )
