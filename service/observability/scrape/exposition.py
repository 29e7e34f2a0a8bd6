"""The text of `/metrics`, in the format that the client accepts.

The client library takes 18 us for a line, and 500 models have 75,000. Here the text of a series is kept until its
values change, and the lines of gauges and counters keep all but the number.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import Exemplar, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from service.observability.scrape.series_family import SeriesFamily, SeriesValues

#: The text of all metrics and its media type, by the header Accept of who asks.
Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]

_Encode = Callable[[Collector], bytes]

_OPEN_METRICS = "application/openmetrics-text"
_END = b"# EOF\n"
#: Schemes that change our names, which are asked for by nobody who scrapes us.
_RENAMES = ("escaping=dots", "escaping=values")
#: Series that are written before the event loop gets its turn: about a millisecond. The interpreter alone would let it
#: wait 5 ms each time.
_NUM_AT_ONCE = 128
#: Names and labels of gauges that are kept.
_MAX_LABELS = 100_000


class Exposition:
    """Writes the metrics of one process, or of all workers, again and again. Any thread may call it."""

    def __init__(self) -> None:
        self._texts = {True: _FamilyTexts(is_open=True), False: _FamilyTexts(is_open=False)}
        self._lock = threading.Lock()

    def write(self, metrics: Collector, accept: str) -> tuple[bytes, str]:
        """Text and media type. Call it in a thread, because it writes thousands of lines."""
        encode, media_type = choose_encoder(accept)
        if any(scheme in media_type for scheme in _RENAMES):
            return encode(metrics), media_type
        is_open = media_type.startswith(_OPEN_METRICS)
        with self._lock:
            parts = [part for family in metrics.collect() for part in self._texts[is_open].write(family, encode)]
        return "".join(parts).encode() + (_END if is_open else b""), media_type


class _FamilyTexts:
    """The texts of families in one of the two formats, by name and values of the labels."""

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open
        self._heads: dict[str, str] = {}
        self._series: dict[tuple[str, tuple[str, ...]], tuple[SeriesValues, str]] = {}
        self._labels: dict[tuple[str, ...], str] = {}

    def write(self, family: Metric, encode: _Encode) -> Iterator[str]:
        if isinstance(family, SeriesFamily):
            yield self._head(family, encode)
            yield from _with_pauses(self._text_of(family, *series) for series in family.series)
        elif family.type in ("counter", "gauge") and all(map(_is_plain, family.samples)):
            yield self._head(family, encode)
            yield from _with_pauses(self._line(sample) for sample in family.samples)
        else:
            yield _encoded(family, encode)
            time.sleep(0)

    def _head(self, family: Metric, encode: _Encode) -> str:
        """The lines of help and type."""
        head = self._heads.get(family.name)
        if head is None:
            empty = Metric(family.name, family.documentation, family.type, family.unit)
            head = self._heads[family.name] = _encoded(empty, encode)
        return head

    def _text_of(self, family: SeriesFamily, values: tuple[str, ...], measured: SeriesValues) -> str:
        key = family.name, values
        known = self._series.get(key)
        if known is None or known[0] != measured:
            exemplars = measured.exemplars if self._is_open else {}
            write = _histogram_text if family.bounds else _counter_text
            known = self._series[key] = measured, write(family, values, measured._replace(exemplars=exemplars))
        return known[1]

    def _line(self, sample: Sample) -> str:
        key = (sample.name, *sample.labels, *sample.labels.values())
        name = self._labels.get(key)
        if name is None:
            if len(self._labels) > _MAX_LABELS:  # digests of bundles that are gone
                self._labels.clear()
            pairs = [_pair(*label) for label in sorted(sample.labels.items())]
            name = self._labels[key] = f"{sample.name}{_braced(pairs)}"
        return f"{name} {_number(sample.value)}\n"


def _is_plain(sample: Sample) -> bool:
    """Whether its line is a name, labels and a value in both formats."""
    return sample.timestamp is None and sample.exemplar is None and not sample.name.endswith("_created")


class _One(Collector):
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


def _encoded(family: Metric, encode: _Encode) -> str:
    """What the client library writes."""
    return encode(_One(family)).removesuffix(_END).decode()


def _with_pauses(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        if number % _NUM_AT_ONCE == 0:
            time.sleep(0)  # without the lock of the interpreter
        yield text


def _counter_text(family: SeriesFamily, values: tuple[str, ...], measured: SeriesValues) -> str:
    pairs = [_pair(*label) for label in sorted(zip(family.label_names, values, strict=True))]
    return f"{family.name}_total{_braced(pairs)} {_number(measured.total)}\n"


def _histogram_text(family: SeriesFamily, values: tuple[str, ...], measured: SeriesValues) -> str:
    labels = sorted(zip(family.label_names, values, strict=True))
    pairs = [_pair(*label) for label in labels]
    before = "".join(f"{pair}," for pair, (name, _) in zip(pairs, labels, strict=True) if name < "le")
    after = "".join(f",{pair}" for pair, (name, _) in zip(pairs, labels, strict=True) if name > "le")
    start, exemplars = f'{family.name}_bucket{{{before}le="', measured.exemplars
    sums = list(accumulate(measured.counts))
    lines = [
        f'{start}{bound}"{after}}} {_number(count)}{_exemplar(exemplars.get(number))}\n'
        for number, (bound, count) in enumerate(zip(family.bounds, sums, strict=True))
    ]
    braced = _braced(pairs)
    lines.append(f"{family.name}_count{braced} {_number(sums[-1])}\n")
    lines.append(f"{family.name}_sum{braced} {_number(measured.total)}\n")
    return "".join(lines)


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    labels = ",".join(_pair(*label) for label in sorted(exemplar.labels.items()))
    return f" # {{{labels}}} {_number(exemplar.value)} {exemplar.timestamp}"


def _number(value: float) -> str:
    """As Go writes it, which is what scrapers are used to."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _braced(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _pair(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{escaped}"'
