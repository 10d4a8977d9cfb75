"""Free names are the first ones, found in few steps."""

from __future__ import annotations

from qonnx_core.ir.names import free_name, numbered_name, unused_name


class _Counted(set[str]):
    """A set that counts how often it is asked."""

    asked = 0

    def __contains__(self, name: object) -> bool:
        self.asked += 1
        return super().__contains__(name)


def test_names_of_one_stem_are_numbered_without_a_gap() -> None:
    taken: set[str] = set()
    assert [free_name("a", taken) for _ in range(20)] == ["a", *(f"a_{number}" for number in range(1, 20))]


def test_numbers_begin_where_the_caller_says() -> None:
    assert unused_name("a", {"b"}, 2) == "a"
    assert unused_name("a", {"a"}, 2) == "a_2"
    assert numbered_name("a", {"b"}) == "a_1"
    assert numbered_name("a", {"a_2", "a_3"}, 2) == "a_4"


def test_a_name_behind_a_gap_is_free() -> None:
    taken = {"a", "a_1", "a_2", "a_4", "a_5"}
    made = [free_name("a", taken) for _ in range(5)]
    assert len(taken) == 10
    assert len(set(made)) == 5


def test_many_names_of_one_stem_take_few_questions_each() -> None:
    taken = _Counted()
    for _ in range(4000):
        free_name("a", taken)
    assert taken.asked < 4000 * 30
