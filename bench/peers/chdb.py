"""chdb (ClickHouse in the process): SQL over the gzipped JSON files, only the fields that are needed."""

from __future__ import annotations

import json

import chdb

from bench.question import asked, tell

ANSWER = """
  with once as (
    select any(tupleElement(r, 'userIdentity').arn) as principal,
      intDiv(toUInt32(parseDateTimeBestEffort(any(tupleElement(r, 'eventTime')))), {grain}) * {grain} as at
    from (
      select arrayJoin(Records) as r
      from file('{folder}/*.json.gz', 'JSONEachRow', 'Records Array(Tuple(eventID String, eventTime String,
        eventName String, userIdentity Tuple(arn String)))')
    )
    where tupleElement(r, 'eventName') = 'GetObject'
    group by tupleElement(r, 'eventID')
  ),
  seconds as (select principal, at, count() as n from once group by principal, at),
  windows as (
    select principal, at,
      sum(n) over (partition by principal order by at range between {before} preceding and current row) as sum
    from seconds
  )
  select principal, min(at) as first from windows where sum >= {threshold} group by principal
  settings input_format_json_ignore_unknown_keys_in_named_tuple = 1
"""


def main() -> None:
    """One query."""
    question = asked()
    sql = ANSWER.format(
        folder=question.folder, grain=question.grain, before=question.window - 1, threshold=question.threshold
    )
    lines = str(chdb.query(sql, "JSONEachRow")).splitlines()
    found = [json.loads(line) for line in lines]
    tell((one["principal"], one["first"]) for one in found)


if __name__ == "__main__":
    main()
