"""What `bench.spark` concludes from what it measured; nothing where starting drowns the records."""

from bench.spark import Cost, Line, follows, table

SIZES = (1.0, 2.0)


def line(small: list[tuple[float, float]], large: list[tuple[float, float]]) -> Line:
    return Line([Cost(*one) for one in small], [Cost(*one) for one in large], SIZES)


ALONE = line([(12, 12), (11, 11), (13, 13)], [(22, 22), (21, 21), (23, 23)])
SPARK = line([(50, 60)], [(80, 90)])
TWO = line([(50, 45)], [(81, 60)])


def test_what_a_gb_costs_and_the_plan_from_it():
    """By the medians of two sizes: what both have in common is the start."""
    lines = {"one process": ALONE, "Spark, 1 core": SPARK, "Spark, 2 cores": TWO}
    assert "| Spark, 1 core | 50.0, 60.0 | 80.0, 90.0 | 20.0 | 30 | 30 |" in table(lines)
    told = follows(lines)
    assert "Overhead of Spark: 3.0 times" in told
    assert "2.00 times as fast" in told
    assert "| 100 TB | 861 | 13.5 |" in told


def test_where_the_clock_is_not_clear_only_cpu_is_told():
    lines = {"one process": ALONE, "Spark, 1 core": line([(50, 60), (50, 91)], [(80, 90)]), "Spark, 2 cores": TWO}
    assert "| 20.0 | 30 | not clear |" in table(lines)
    assert "how much faster is not clear" in follows(lines)


def test_where_starting_drowns_the_records_nothing_follows():
    lines = {"one process": ALONE, "Spark, 1 core": line([(50, 60), (81, 60)], [(80, 90)]), "Spark, 2 cores": TWO}
    assert "| not clear | not clear | 30 |" in table(lines)
    assert follows(lines).startswith("Starting drowns what the records cost (Spark, 1 core)")
