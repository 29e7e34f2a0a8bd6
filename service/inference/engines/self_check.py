"""Self-check of a bundle at load: its recorded examples are answered again, on the provider that will serve.

This is also the warm-up: afterwards every graph of the bundle has run.
"""

from __future__ import annotations

from itertools import chain

from service.bundle.load import EXAMPLES_FILE
from service.errors import ParityFailed
from service.inference.engines.engine import OpenBundle
from service.tasks.recorded import TOLERANCE, faults_of_embeddings, faults_of_examples, faults_of_labels


def self_check(opened: OpenBundle, tolerance: float | None = None) -> None:
    """Answer every example of the bundle and compare. The default tolerance is that of the precision in use.

    Raises:
        ParityFailed: names the first example that differs, and the field.
    """
    allowed = TOLERANCE[opened.runner.precision] if tolerance is None else tolerance
    faults = faults_of_examples(opened.task, opened.bundle.examples, opened.runner, allowed)
    faults = chain(faults, faults_of_embeddings(opened.bundle, opened.task, opened.runner, allowed))
    if opened.runner.precision == "fp32":
        faults = chain(faults, faults_of_labels(opened.bundle, opened.task, opened.runner))
    fault = next(faults, None)
    if fault is not None:
        raise ParityFailed(opened.bundle.path / EXAMPLES_FILE, fault)
