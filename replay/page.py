"""One self-contained HTML page, from a template: no network, no text of a log that could become part of the page.

Rules of this file
- A template extends `page.html`; what it shows is escaped by Jinja, and every text is made printable first (`plain`).
- Styles and scripts are files beside the templates, written into the page; the policy names them by their hashes, so
  that the browser runs these and nothing else, loads nothing and sends nothing. There are no style attributes.
- What a script is to know stands in the page as JSON, in which no `<` is left that could end its element.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from detector.core.amounts import counted, number, size
from detector.response.plain import printable

TEXT_LIMIT = 2000
"""Characters of one text; what is longer is cut."""
POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
INERT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def render(
    template: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = (), data: Any = None, **content: Any
) -> str:
    """The page as text. styles, scripts: further files beside the template. data: JSON for the scripts, as `#data`.

    Texts in `content` and `data` may be anybody's.
    """
    loader = PackageLoader("replay", "templates")
    environment = _environment(loader)
    style, script = (
        "".join(loader.get_source(environment, name)[0] for name in names) for names in (("page.css", *styles), scripts)
    )
    policy = POLICY.format(script=_hash(script) if script else "'none'", style=_hash(style))
    return environment.get_template(template).render(
        plain(content)
        | {
            "policy": policy,
            "style": Markup(style),  # noqa: S704  our own file
            "script": Markup(script),  # noqa: S704  our own file
            "data": Markup(inert(plain(data))),  # noqa: S704  nothing in it can end its element
            "version": version("bucketwatch"),
        }
    )


def plain(value: Any) -> Any:
    """The same with every text on one line and free of control characters: none may hide or turn round what is read."""
    if isinstance(value, str):
        return printable(value, TEXT_LIMIT)
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def inert(value: Any) -> str:
    """JSON that may stand in a script element: it cannot end it, nor begin a comment."""
    return json.dumps(value, separators=(",", ":")).translate(INERT)


def _environment(loader: PackageLoader) -> Environment:
    environment = Environment(
        loader=loader,
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "counted": counted,
        "number": number,
        "size": size,
        "words": lambda text: str(text).replace("_", " "),
    }
    return environment


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
