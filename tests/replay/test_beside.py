"""Work on several processes gives what work on one gives, in the same order."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from replay import beside, reader
from replay.beside import in_order
from replay.files import Files, LogPath

SIZES = [50, 0, 3, 20, 1, 40, 0, 0, 30, 2] * 3
"""Milliseconds that a piece of work takes, and thousands of numbers it makes."""


def numbers(size):
    time.sleep(size / 1000)
    return os.getpid(), np.arange(size * 1000)


def made(jobs):
    """What comes of all pieces, and by how many processes."""
    results = list(in_order(numbers, SIZES, jobs))
    return [array.tolist() for _, array in results], {process for process, _ in results}


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_results_come_in_order_however_long_each_takes(jobs):
    arrays, processes = made(jobs)
    assert arrays == [list(range(size * 1000)) for size in SIZES]
    assert os.getpid() in processes
    assert len(processes) in range(min(jobs, 2), jobs + 1)


@pytest.mark.parametrize("room", [4096, 1 << 18])
def test_what_a_place_has_no_room_for_comes_all_the_same(room):
    with patch.object(beside, "ROOM", room):
        assert made(2)[0] == made(1)[0]


def test_processes_that_inherit_no_memory_send_their_results():
    with patch.object(multiprocessing, "get_start_method", lambda: "spawn"):
        assert made(2)[0] == made(1)[0]


def fails(size):
    if size == 3:
        raise ValueError("no such size")
    return numbers(size)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_any_process_is_raised_here(jobs):
    with pytest.raises(ValueError, match="no such size"):
        list(in_order(fails, SIZES, jobs))


@pytest.mark.parametrize(("count", "jobs"), [(0, 2), (1, 2), (63, 2), (500, 1), (500, 2), (500, 8)])
def test_every_file_is_in_one_chunk_and_the_last_chunks_of_several_processes_are_small(count, jobs):
    paths = [LogPath(Path(f"logs/{number:03}.gz"), 1000) for number in range(count)]
    chunks = list(reader.chunks_of(Files(paths), jobs))
    assert [file.path for chunk in chunks for file in chunk] == [file.path for file in paths]
    assert all(len(chunk) <= reader.CHUNK_FILES for chunk in chunks)
    if jobs > 1 and count == 500:
        assert len(chunks[-1]) <= reader.LAST_FILES
