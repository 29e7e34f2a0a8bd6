"""What lemmas cost a parser: `python -m tests.load.lemma_cost BEFORE AFTER dev.conllu`, bundles without and with them.

Process time of one core, in interleaved rounds, of the task's own code and its graphs: no server.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from string import ascii_lowercase
from typing import Any

from service.inference.engines.open_bundle import OpenBundle, open_bundle
from training.data.read import read_records
from training.data.records import ParsedSentence

SENTENCES, ROUNDS = 480, 5


def cost_ms(opened: OpenBundle, sentences: Sequence[Sequence[str]], batch_size: int) -> float:
    """Milliseconds of process time a sentence."""
    task: Any = opened.task
    begin = time.process_time()
    for start in range(0, len(sentences), batch_size):
        examples = [task.preprocess(words, task.parameters_type()) for words in sentences[start : start + batch_size]]
        for example, output in zip(examples, task.run(opened.runner, examples), strict=True):
            task.plain_answer(example, output)
    return 1000 * (time.process_time() - begin) / len(sentences)


def compare(name: str, bundles: Sequence[OpenBundle], sentences: Sequence[Sequence[str]], batch_size: int) -> None:
    """Print the median over rounds of each bundle."""
    rounds = [[cost_ms(opened, sentences, batch_size) for opened in bundles] for _ in range(ROUNDS)]
    without, with_lemmas = (median(column) for column in zip(*rounds, strict=True))
    print(f"{name}: {without:.2f} ms without lemmas, {with_lemmas:.2f} ms with them")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("dev", type=Path)
    chosen = parser.parse_args()
    bundles = [open_bundle(path, "cpu") for path in (chosen.before, chosen.after)]
    records = [record for record in read_records("parsing", chosen.dev) if isinstance(record, ParsedSentence)]
    sentences = [record.words for record in records[:SENTENCES]]
    compare("a sentence alone", bundles, sentences, 1)
    compare("a sentence, 16 in a batch", bundles, sentences, 16)
    rng = random.Random(1)
    unknown = ["".join(rng.choices(ascii_lowercase, k=32)) for _ in range(256)]
    compare("256 unknown words of 32 letters", bundles, [unknown], 1)


if __name__ == "__main__":
    main()
