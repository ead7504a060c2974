"""Drills: a generated organisation, thefts with labels, and what the rules make of them."""
