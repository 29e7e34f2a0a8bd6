"""What `unroll export` adds to the bundle of a parser: lemmas, and the cutting of raw text."""

from __future__ import annotations

from pathlib import Path

import typer

from training.cli.options import say


def add_to_parser(bundle: Path, lemmas: bool, segmenter: bool) -> Path:
    """Train what is asked for, and publish the bundle again; its folder is returned. Raises UnrollError."""
    if lemmas:
        from training.publish.additions.lemmas import add_lemmas

        bundle = add_lemmas(bundle, say)
        typer.echo(f"{bundle} gives lemmas; every other output is unchanged")
    if segmenter:
        from training.publish.additions.segmentation import add_segmenter

        bundle = add_segmenter(bundle, say)
        typer.echo(f"{bundle} cuts raw text; every answer to lists of words is unchanged")
    return bundle
