"""What a rule would have done: other thresholds and windows, and other rule sets, over history.

`summary` reads history once, `shelf` keeps what it read, `windows` counts anew from that, `tune` compares thresholds,
`diff` compares two rule sets; `shown`, `chart` and `command` are for people.
"""
