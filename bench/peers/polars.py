"""Polars: every file inflated and read with the schema of the needed fields, then one lazy query."""

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import polars as pl

from bench.question import Question, asked, tell

SCHEMA = {
    "Records": pl.List(
        pl.Struct(
            {
                "eventID": pl.String,
                "eventTime": pl.String,
                "eventName": pl.String,
                "userIdentity": pl.Struct({"arn": pl.String}),
            }
        )
    )
}


def records(path: Path) -> pl.DataFrame:
    """(eventID, arn, epoch second) of the GetObject records of a file."""
    document = pl.read_json(BytesIO(gzip.decompress(path.read_bytes())), schema=SCHEMA)
    return (
        document.explode("Records")
        .unnest("Records")
        .filter(pl.col("eventName") == "GetObject")
        .select(
            "eventID",
            pl.col("userIdentity").struct.field("arn"),
            pl.col("eventTime").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.epoch("s").alias("at"),
        )
    )


def answer(question: Question) -> list[tuple[str, int]]:
    """Requests a second, summed over the window that ends at each."""
    every = pl.concat([records(path) for path in sorted(Path(question.folder).iterdir())])
    once = every.lazy().unique("eventID").with_columns(pl.col("at") // question.grain * question.grain)
    seconds = once.group_by("arn", "at").agg(pl.len().cast(pl.Int64).alias("n")).sort("arn", "at")
    sums = seconds.rolling("at", period=f"{question.window}i", group_by="arn").agg(pl.col("n").sum())
    reached = sums.filter(pl.col("n") >= question.threshold).group_by("arn").agg(pl.col("at").min())
    return reached.collect().rows()


if __name__ == "__main__":
    tell(answer(asked()))
