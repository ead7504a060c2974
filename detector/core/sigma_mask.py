"""The detection of a Sigma rule as a mask over a batch. Pure.

Texts are compared once for each distinct value. Expressions run in RE2, in time linear in the text: whoever writes into
a log cannot make one take for ever.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import numpy as np
import re2

from detector.core.access import I32, AccessBatch, Index, Mask, Outcome
from detector.core.kinds.sigma import Expression, SigmaRule
from detector.core.select import Selector
from detector.core.sigma_fields import FIELDS, source_of

Matches = Callable[[str | None], bool]


Holds = Callable[[AccessBatch, Index], Mask]
"""Of some rows of a batch those for which something holds."""


class SigmaSelector(Selector):
    """Which records a Sigma rule counts."""

    def __init__(self, rule: SigmaRule) -> None:
        super().__init__(rule.where)
        self._holds = compiled(rule.detection)

    def narrow(self, batch: AccessBatch, rows: Index) -> Index:
        """Of these rows those that the detection chooses."""
        rows = super().narrow(batch, rows)
        return rows[self._holds(batch, rows)]


def compiled(expression: Expression) -> Holds:
    """A function that says of rows whether the expression holds."""
    kind, *inner = expression
    if kind == "field":
        name, how, what = inner
        return _leaf(name, matcher(how, what))
    parts = [compiled(one) for one in inner]
    if kind == "not":
        return lambda batch, rows: ~parts[0](batch, rows)
    joined = np.logical_and if kind == "and" else np.logical_or
    return lambda batch, rows: joined.reduce([part(batch, rows) for part in parts])


def matcher(how: str, what: str | bool) -> Matches:
    """Whether a text, or none, is what a rule asks for."""
    if how == "exists":
        return lambda text: (text is not None) == what
    if how == "cidr":
        network = ipaddress.ip_network(str(what))
        return lambda text: text is not None and _inside(text, network)
    expression = re2.compile(str(what), quiet())  # type: ignore[no-untyped-call]
    return lambda text: text is not None and expression.search(_plain(text)) is not None


def quiet() -> re2.Options:
    """RE2 says what is wrong to whoever asks, and not to the terminal."""
    options = re2.Options()
    options.log_errors = False
    return options


def _plain(text: str) -> str:
    """Half a character (a lone surrogate) is none that RE2 knows."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _inside(text: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(text) in network
    except ValueError:
        return False


def _leaf(name: str, matches: Matches) -> Holds:
    field = FIELDS[name]
    told = field.of_principal
    if told is not None:
        return lambda batch, rows: _by_code(
            batch.who[rows], len(batch.principals), lambda code: matches(told(batch.principals[code])), matches
        )
    if field.derived == "error":
        of_outcome = np.array([matches(text) for text in _ERROR_TEXTS], np.bool_)

        def of_error(batch: AccessBatch, rows: Index) -> Mask:
            column = batch.text[field.column].take(rows)
            found = _by_code(column.codes, len(column.values), lambda code: matches(column.values[code]), matches)
            return np.where(column.codes >= 0, found, of_outcome[batch.outcome[rows]])

        return of_error
    texts = TEXTS_OF[field.derived]

    def of_column(batch: AccessBatch, rows: Index) -> Mask:
        column = batch.text[field.column]
        values = column.values
        return _by_code(column.codes[rows], len(values), lambda code: any(map(matches, texts(values[code]))), matches)

    return of_column


_ERROR_TEXTS = [{Outcome.success: None, Outcome.denied: "AccessDenied"}.get(one, "") for one in sorted(Outcome)]
"""By outcome, what stands for an error code where a log gives none; an error that is no denial has no name then."""

TEXTS_OF: dict[str, Callable[[str], tuple[str | None, ...]]] = {
    "": lambda text: (text,),
    "source": lambda api: (source_of(api),),
    "agent": lambda text: (text, f"[{text}]"),
}
"""What of a column's text is compared: any of these."""


def _by_code(codes: I32, count: int, of_code: Callable[[int], bool], matches: Matches) -> Mask:
    """Of every code (-1: there is no value); each distinct one is looked at once."""
    table = np.zeros(count + 1, np.bool_)
    for code in np.unique(codes).tolist():
        table[code] = matches(None) if code < 0 else of_code(code)
    return table[codes]
