"""What texts of several sentences cost a parser: `python -m tests.load.text_cost models/parse-en/1 dev.conllu`.

Process time of one core, the median of several rounds, of the task's own code and its graphs: no server.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

from service.bundle.task_options import ParsingOptions
from service.inference.engines.open_bundle import OpenBundle, open_bundle
from training.data.read import read_records
from training.data.readers.treebanks.raw_text import raw_text
from training.data.records import ParsedSentence

ROUNDS = 5
SIZES = (100, 1000, 4000)


def cost_ms(opened: OpenBundle, text: str) -> float:
    """Milliseconds of process time for one text alone."""
    task: Any = opened.task
    found = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        example = task.preprocess(text, task.parameters_type())
        (output,) = task.run(opened.runner, [example])
        task.plain_answer(example, output)
        found.append(1000 * (time.process_time() - begin))
    return median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("dev", type=Path)
    chosen = parser.parse_args()
    opened = open_bundle(chosen.bundle, "cpu")
    options = opened.bundle.manifest.options
    if not isinstance(options, ParsingOptions) or options.segmenter is None:
        parser.error(f"{chosen.bundle} cuts no text")
    limit = options.segmenter.max_characters
    records = [record for record in read_records("parsing", chosen.dev) if isinstance(record, ParsedSentence)]
    text = raw_text(records, str(chosen.dev)).text
    texts = {f"{size:,} characters of dev": text[:size] for size in (*SIZES, limit)}
    texts["one word without end"] = "a" * limit
    texts["words of one letter"] = "a b c d e f g h " * (limit // 16)
    texts["sentences of one letter"] = "a\n\n" * (limit // 3)
    for name, each in texts.items():
        print(f"{name}: {cost_ms(opened, each):.1f} ms")


if __name__ == "__main__":
    main()
