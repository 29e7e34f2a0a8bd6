"""The options of `unroll score`, with their help."""

from __future__ import annotations

from typing import Annotated

import typer

ScoreArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL IN OUT", help="A model, the file or folder to read, and the file to write."),
]
TextColumnOption = Annotated[
    str | None, typer.Option(help="Column of the inputs.", show_default="the first with a usual name")
]
KeepOption = Annotated[
    list[str] | None,
    typer.Option(help="Columns to keep, repeated or with commas; `none` keeps none.", show_default="all"),
]
OutputColumnsOption = Annotated[
    list[str] | None,
    typer.Option(help="Columns of the answers, such as label,score.", show_default="the usual ones of the task"),
]
PrefixOption = Annotated[str, typer.Option(help="Prefix of the names of the columns of the answers.")]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="Request parameter, such as top_k=3; repeatable."),
]
EncodingOption = Annotated[str | None, typer.Option(help="Encoding of a text file.", show_default="utf-8")]
SeparatorOption = Annotated[
    str | None, typer.Option(help="Separator of a table, such as ';' or tab.", show_default="found by the content")
]
HeaderOption = Annotated[bool, typer.Option(help="Whether the first row of a table names its columns.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes that score.", show_default="one for each core, one on a GPU")
]
PrecisionOption = Annotated[str, typer.Option(help="fp32, bf16, int8, or auto: the faster of fp32 and bf16.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
CompressionOption = Annotated[
    str | None, typer.Option(help="Of Parquet: zstd, snappy, gzip, lz4 or none.", show_default="zstd")
]
PartRowsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Rows that are scored and written at a time.", show_default="8192; 256 of texts to write"),
]
ShardsOption = Annotated[bool, typer.Option("--shards", help="Write a folder of parts instead of one file.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace OUT, once the new one is whole.")]
RestartOption = Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run has done.")]
NamedModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="The model, instead of the first argument.")
]
VersionOption = Annotated[str | None, typer.Option(help="Version of the model.", show_default="the highest")]
