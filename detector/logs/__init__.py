"""Bytes of logs → access records. Pure: no file is opened here."""
