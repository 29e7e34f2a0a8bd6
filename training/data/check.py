"""Data checks before training: faults by file and line, label balance, lengths, duplicates, leaks between splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Sized

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.bundle.task_options import TrainedTask
from training.data.channels import channel_profiles, render_channels
from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Located, ReadOptions
from training.data.formats.understanding import sentence_about
from training.data.profile import MAX_EXAMPLES, SplitProfile, Unit, profile, units_of
from training.data.read import read_located
from training.data.split import shortened, shortened_name

_BAR_CHARACTERS = 40
_MAX_LABELS_SHOWN = 25
#: What is compared between records, and what may differ where it is the same; of most tasks text and label.
_COMPARED = {"transcription": ("sound", "text")}


class Finding(BaseModel):
    """A fault or a warning. `line` is None if it concerns the whole file."""

    model_config = ConfigDict(extra="forbid")

    path: str
    line: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}" if self.line is not None else f"{self.path}: {self.what}"


class Comparison(BaseModel):
    """Another split compared with train. Shares are percentages."""

    model_config = ConfigDict(extra="forbid")

    name: str
    unknown_tokens: int = Field(description="words (characters of running text) not in train, with repeats")
    out_of_vocabulary: float = Field(description="their share of all tokens")
    leaks: int = Field(description="records whose text also occurs in train")
    leak_share: float
    leak_lines: list[tuple[int, int]] = Field(description="(line in train, line here)")
    unseen_labels: dict[str, int] = Field(description="labels that are not in train, with counts")


class DataReport(BaseModel):
    """Faults, warnings, profiles and comparisons of all splits."""

    model_config = ConfigDict(extra="forbid")

    task: str
    understood: dict[str, dict[str, str]] = Field(default={}, description="facts by file: format, columns, scheme ...")
    faults: list[Finding]
    warnings: list[Finding]
    splits: list[SplitProfile]
    comparisons: list[Comparison]

    @property
    def exit_code(self) -> int:
        """1 if any line is unusable, else 0. Warnings, duplicates and leaks are left to human judgement."""
        return 1 if self.faults else 0


def run(
    task: TrainedTask,
    train: str,
    dev: str | None = None,
    test: str | None = None,
    options: ReadOptions | None = None,
) -> DataReport:
    """Check one to three splits. Faults in the files are reported, not raised."""
    report = Report(strict=False)
    units: dict[str, list[Unit]] = {}
    profiles = []
    for name, path in (("train", train), ("dev", dev), ("test", test)):
        if path is not None:
            records = _read(task, path, options, report)
            units[name] = units_of(records)
            counted = profile(name, path, task, units[name])
            profiles.append(counted.model_copy(update={"channels": channel_profiles(records)}))
    return DataReport(
        task=task,
        understood=report.understood,
        faults=[_finding(fault) for fault in report.faults],
        warnings=[_finding(warning) for warning in report.warnings],
        splits=profiles,
        comparisons=[_compare(name, units["train"], other) for name, other in units.items() if name != "train"],
    )


def _read(task: TrainedTask, path: str, options: ReadOptions | None, report: Report) -> list[Located]:
    try:
        return read_located(task, path, options, report)
    except DataFault as fault:  # the rest of the file cannot be read
        report.faults.append(fault)
        return []


def _finding(fault: DataFault) -> Finding:
    what = f"{fault.what}; {fault.allowed}" if fault.allowed else fault.what
    return Finding(path=str(fault.path), line=fault.line, what=what)


def _compare(name: str, train: Sequence[Unit], other: Sequence[Unit]) -> Comparison:
    vocabulary = {token for unit in train for token in unit.tokens}
    num_tokens = sum(len(unit.tokens) for unit in other)
    unknown = sum(token not in vocabulary for unit in other for token in unit.tokens)
    leaks = _leaks(train, other)
    known_labels = {label for unit in train for label in unit.labels}
    unseen = Counter(label for unit in other for label in unit.labels if label not in known_labels)
    return Comparison(
        name=name,
        unknown_tokens=unknown,
        out_of_vocabulary=100 * unknown / max(1, num_tokens),
        leaks=len(leaks),
        leak_share=100 * len(leaks) / max(1, len(other)),
        leak_lines=leaks[:MAX_EXAMPLES],
        unseen_labels=dict(unseen.most_common()),
    )


def _leaks(train: Sequence[Unit], other: Sequence[Unit]) -> list[tuple[int, int]]:
    """(line in train, line here) of each record that shares a text with train."""
    lines: dict[str, int] = {}
    for unit in train:
        for key in unit.keys:
            lines.setdefault(key, unit.line)
    shared = ((next((lines[key] for key in unit.keys if key in lines), None), unit.line) for unit in other)
    return [(there, here) for there, here in shared if there is not None]


def render(report: DataReport, console: Console) -> None:
    """Print the report: first what was understood of each file, last what is wrong."""
    console.print("[bold]Read as[/]")
    for path, facts in report.understood.items():
        console.print(f"  {escape(sentence_about(path, facts))}", highlight=False, soft_wrap=True)
    for split in report.splits:
        _render_split(split, report.task, console)
    for comparison in report.comparisons:
        if report.task == "forecasting":
            _render_comparison_of_series(comparison, console)
        else:
            _render_comparison(comparison, report.task, console)
    _render_findings("Warnings", report.warnings, console)
    _render_findings("Faults", report.faults, console)
    verdict = f"[red]{_counted(report.faults, 'fault')}[/]" if report.faults else "[green]no faults[/]"
    console.print(f"{report.task}: {verdict}, {_counted(report.warnings, 'warning')}")


def _counted(things: Sized, name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"


def _render_split(split: SplitProfile, task: str, console: Console) -> None:
    console.print(f"[bold]{split.name}[/] {escape(split.path)}", highlight=False, soft_wrap=True)
    if split.channels:
        console.print(f"  {split.records:,} rows; duplicate times: {split.duplicates:,}")
        render_channels(split.channels, console)
        return
    console.print(
        f"  {split.records:,} records, {split.tokens:,} tokens, "
        f"mean {split.mean_length:.1f} and at most {split.max_length:,} {split.length_unit}"
    )
    console.print(f"  duplicates: {split.duplicates:,}{_lines(split.duplicate_lines)}")
    what, decision = _COMPARED.get(task, ("text", "label"))
    console.print(f"  same {what} with another {decision}: {split.conflicts:,}{_lines(split.conflict_lines)}")
    bars = {
        f"{bar.shortest}-{bar.longest}" if bar.longest > 2 else str(bar.longest): bar.count for bar in split.lengths
    }
    console.print(_bar_table(f"length in {split.length_unit}", bars))
    if split.labels:
        shown = dict(list(split.labels.items())[:_MAX_LABELS_SHOWN])
        console.print(_bar_table(f"labels ({len(split.labels)} distinct)", shown, sum(split.labels.values())))
        rest = list(split.labels.items())[_MAX_LABELS_SHOWN:]
        if rest:
            console.print(f"  and {len(rest)} more, with {rest[-1][1]:,} to {rest[0][1]:,} each")


def _bar_table(title: str, counts: Mapping[str, int], total: int | None = None) -> Table:
    """Counts with their share of `total`, which is their sum where all of them are shown."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    largest, total = max(counts.values(), default=1), max(1, sum(counts.values()) if total is None else total)
    for name, count in counts.items():
        bar = "█" * round(_BAR_CHARACTERS * count / max(1, largest))
        table.add_row(escape(shortened_name(name)), f"{count:,}", f"{bar} {100 * count / total:.1f} %")
    return table


def _render_comparison(comparison: Comparison, task: str, console: Console) -> None:
    console.print(f"[bold]{comparison.name} compared with train[/]")
    console.print(
        f"  out of vocabulary: {comparison.out_of_vocabulary:.2f} % of the tokens ({comparison.unknown_tokens:,})"
    )
    what, _ = _COMPARED.get(task, ("text", "label"))
    console.print(
        f"  {what}s that are also in train (leaks): {comparison.leaks:,} ({comparison.leak_share:.2f} %)"
        f"{_lines(comparison.leak_lines)}"
    )
    if task == "transcription":
        return
    names = shortened([f"{shortened_name(label)} ({count:,})" for label, count in comparison.unseen_labels.items()])
    console.print(f"  labels that are not in train: {escape(names) or 'none'}")


def _render_comparison_of_series(comparison: Comparison, console: Console) -> None:
    console.print(f"[bold]{comparison.name} compared with train[/]")
    console.print(f"  times that are also in train (leaks): {comparison.leaks:,}{_lines(comparison.leak_lines)}")


def _render_findings(title: str, findings: Sequence[Finding], console: Console) -> None:
    if findings:
        console.print(f"[bold]{title}[/]")
    for finding in findings[:MAX_EXAMPLES]:
        console.print(f"  {escape(str(finding))}", highlight=False, soft_wrap=True)
    if len(findings) > MAX_EXAMPLES:
        console.print(f"  and {len(findings) - MAX_EXAMPLES:,} more")


def _lines(pairs: Sequence[tuple[int, int]]) -> str:
    """Up to three pairs of lines, such as ` (lines 3 and 17, 4 and 9)`."""
    shown = ", ".join(f"{first} and {second}" for first, second in pairs[:3])
    return f" (lines {shown}{', …' if len(pairs) > 3 else ''})" if shown else ""
