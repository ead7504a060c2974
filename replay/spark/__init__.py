"""Apache Spark as the machine that the one engine runs on: history (`history.py`), and what comes live (`live.py`).

The only package that imports pyspark, and only when it is asked for.
"""
