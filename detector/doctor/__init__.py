"""What makes a detector blind, judged from what its surroundings say of themselves. Pure.

A check is a function that asks (`Ask`), judges what it is told, and yields `Result`s. Who asks AWS is `aws.look`; what
may not be looked at is `skipped`, with the action that would have to be allowed, and never `ok`.
"""
