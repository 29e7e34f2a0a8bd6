"""From files to records: readers by format, data sets by name, and the split where a file has no dev part."""

from training.datasets.catalogue import NAMED_DATASETS, NamedDataset
from training.datasets.faults import DataFault, DatasetUnavailable
from training.datasets.locate import locate
from training.datasets.options import ReadOptions
from training.datasets.read import read_records
from training.datasets.split import split_records

__all__ = [
    "NAMED_DATASETS",
    "DataFault",
    "DatasetUnavailable",
    "NamedDataset",
    "ReadOptions",
    "locate",
    "read_records",
    "split_records",
]
