"""Scope of loss: what somebody read, whose it is, where it went, and what else belongs to it.

kept access records → `who` (whom it is about) → `follow` (who is followed, and by which rule) → `select` (their
records) → `loss` (objects, people, sources, copies) → files, page, notification
"""
