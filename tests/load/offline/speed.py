"""Rows a second of offline scoring beside the bare graphs, on the same texts and one core, in interleaved rounds.

    python -m tests.load.offline.speed --model intent-en --rounds 5

`bare` runs the graph alone, over groups of 16 rows sorted by length and padded in advance. `scorer` is `Scorer` on the
texts: checks, tokenization, batches, graph, answers and columns. `file` is `unroll score` from a CSV to a Parquet file
in this process: reading, writing and syncing as well. Times are of the CPU: other processes disturb them less.
"""

from __future__ import annotations

import csv
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from service.bundle.padding import lengths_of, pad_ids, pad_nested_ids
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import open_bundle
from service.offline import Scorer
from service.offline.job.run import FileJob, score_file
from service.offline.reading.options import ReadOptions
from service.tasks.catalogue import predicts
from service.tasks.core.parameters import check_parameters

_GROUP = 16
_DATA = Path(os.environ.get("UNROLL_DATA_DIR", ""))


def main(model: str = "intent-en", models: Path = Path("models"), rows: int = 3000, rounds: int = 5) -> None:
    """Print rows a second of each, and the ratio to the bare graphs: of the best rounds, and round by round."""
    texts = _texts(model, rows)
    scorer = Scorer(model, models=models, device="cpu")
    scorer.open()
    opened = open_bundle(scorer.path, device="cpu", precision="fp32")
    work: dict[str, Callable[[], object]] = {
        "bare": _bare(opened, texts),
        "scorer": lambda: scorer({"text": texts}),
        "file": _file(scorer, texts),
    }
    for run in work.values():
        run()  # once before it counts
    rates: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        for name in list(work)[:: 1 if number % 2 else -1]:
            started_s = time.process_time()
            work[name]()
            rates[name].append(len(texts) / (time.process_time() - started_s))
    print(f"{model}: {len(texts):,} texts, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    best = {name: max(found) for name, found in rates.items()}
    for name, found in rates.items():
        told = f"{best[name] / best['bare']:.2f} of bare by the best, {_of_bare(found, rates['bare'])} by the rounds"
        print(f"  {name:7} {statistics.median(found):9,.0f} rows/s, at best {best[name]:9,.0f}: {told}")


def _of_bare(found: Sequence[float], bare: Sequence[float]) -> str:
    """The median and the range of the ratios of each round."""
    ratios = sorted(one / other for one, other in zip(found, bare, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _texts(model: str, number: int) -> list[str]:
    """Distinct questions for a classifier, distinct sentences for a tagger."""
    if model.startswith(("pos", "ner")):
        lines = (_DATA / "ud_english_ewt" / "en_ewt-ud-dev.conllu").read_text(encoding="utf-8").splitlines()
        found = [line.removeprefix("# text = ") for line in lines if line.startswith("# text = ")]
    else:
        with (_DATA / "clinc150" / "train.tsv").open(encoding="utf-8") as file:
            found = [row["text"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    found = list(dict.fromkeys(found))
    random.Random(0).shuffle(found)
    return found[:number]


def _bare(opened: OpenBundle, texts: Sequence[str]) -> Callable[[], None]:
    """Runs of the graph over groups that are padded in advance."""
    assert predicts(opened.task)
    task: Any = opened.task
    parameters = check_parameters(task.parameters_type, {})
    examples = sorted((task.preprocess(text, parameters) for text in texts), key=lambda example: example.length)
    groups = [examples[first : first + _GROUP] for first in range(0, len(examples), _GROUP)]
    (graph,) = opened.bundle.manifest.graphs
    feeds = [_feeds(group) for group in groups]

    def run() -> None:
        for feed in feeds:
            opened.runner.run(graph, feed)

    return run


def _feeds(group: Sequence[Any]) -> dict[str, Any]:
    if hasattr(group[0], "word_ids"):
        words = [example.word_ids for example in group]
        characters = {"characters": pad_nested_ids([example.character_ids for example in group])}
        return {"words": pad_ids(words), "lengths": lengths_of(words), **(characters if group[0].character_ids else {})}
    tokens = [example.sequence for example in group]
    return {"tokens": pad_ids(tokens), "lengths": lengths_of(tokens)}


def _file(scorer: Scorer, texts: Sequence[str]) -> Callable[[], None]:
    folder = Path(tempfile.mkdtemp(prefix="speed-"))
    source = folder / "in.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    job = FileJob(scorer, source, folder / "out.parquet", ReadOptions(scorer.kind), overwrites=True)
    return lambda: (score_file(job), None)[1]


if __name__ == "__main__":
    typer.run(main)
