"""The access review: who used what, how much, from where, when last; what was never used; what could be tightened.

kept access records → `columns` (codes and numbers) → `usage` (counts) → `judged` (what they say) → files and tables
"""
