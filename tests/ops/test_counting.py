"""Where the processes of `make run` count together."""

from ops.counting import forget_counts, metrics_directory
from ops.state import DataDir


def test_two_stacks_of_one_machine_count_apart_and_one_finds_its_place_again(tmp_path):
    one, other = DataDir.at(tmp_path / "one"), DataDir.at(tmp_path / "other")

    assert metrics_directory(one) == metrics_directory(DataDir.at(tmp_path / "one"))
    assert metrics_directory(one) != metrics_directory(other)


def test_counts_of_a_former_run_are_forgotten_with_their_directory(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_7.db").write_bytes(b"")

    forget_counts(tmp_path / "metrics")
    forget_counts(tmp_path / "metrics")

    assert not (tmp_path / "metrics").exists()


def test_what_somebody_else_keeps_there_stays(tmp_path):
    (tmp_path / "letter").write_text("dear")

    forget_counts(tmp_path)

    assert (tmp_path / "letter").read_text() == "dear"
