"""What a grammar costs a translation: `python -m tests.load.grammar_cost models/sql-en/1 dev.tsv`.

Milliseconds of one core an answer, each sentence alone, answered with and without the grammar in turn: no server.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

from service.inference.engines.open_bundle import OpenBundle, open_bundle
from training.data.read import read_records
from training.data.records import SentencePair

ROUNDS = 3


def cost_ms(opened: OpenBundle, source: str, *, constrained: bool, num_beams: int) -> float:
    """Milliseconds of process time of one answer."""
    task: Any = opened.task
    begin = time.process_time()
    example = task.preprocess(source, task.parameters_type(constrained=constrained, num_beams=num_beams))
    (output,) = task.run(opened.runner, [example])
    task.plain_answer(example, output)
    return 1000 * (time.process_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("file", type=Path)
    chosen = parser.parse_args()
    opened = open_bundle(chosen.bundle, "cpu")
    sources = [record.source for record in read_records("translation", chosen.file) if isinstance(record, SentencePair)]
    for num_beams in (1, 4):
        costs: dict[bool, list[float]] = {False: [], True: []}
        for number, source in enumerate(sources * ROUNDS):
            for constrained in (False, True) if number % 2 else (True, False):
                found = cost_ms(opened, source, constrained=constrained, num_beams=num_beams)
                costs[constrained].append(found)
        free, bound = costs[False], costs[True]
        print(
            f"{num_beams} beams: {mean(free):.1f} ms an answer without the grammar, {mean(bound):.1f} with it, "
            f"ratio {mean(bound) / mean(free):.2f} (medians {median(free):.1f} and {median(bound):.1f})"
        )


if __name__ == "__main__":
    main()
