"""Answers that are written down, for checks that ask."""

from __future__ import annotations

from typing import Any

from detector.doctor.result import Answer

ACCOUNT = "111122223333"
ABSENT = Answer(None, "absent", "NotFound", "x:Y")
DENIED = Answer(None, "denied", "AccessDenied: no", "x:Look")


class Asked:
    """Question → what is found, an Answer, or a function of the arguments. What is not written down is absent."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("__", ":"): value for name, value in answers.items()}
        self.put: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, question: str, /, region: str | None = None, **arguments: Any) -> Answer:
        self.put.append((question, arguments))
        found = self.answers.get(question, ABSENT)
        if callable(found):
            found = found(**arguments)
        return found if isinstance(found, Answer) else Answer(found, action=question)


def told(results: Any, status: str) -> list[str]:
    return [f"{one.check}: {one.what}" for one in results if one.status == status]
