"""The kinds of rules: a module each, with its model. `detector.core.rule` has the list of them."""
