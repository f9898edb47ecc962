"""Plain values become frozen dataclasses, or a list of every fault."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from streamer.reading import read


@dataclass(frozen=True, slots=True)
class Sail:
    area: float
    colour: Literal["white", "red"] = "white"


@dataclass(frozen=True, slots=True)
class Boat:
    name: str
    crew: int
    sails: tuple[Sail, ...] = ()
    depth: float | None = None
    tags: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if self.crew < 1:
            raise ValueError(f"crew: found {self.crew}, wanted 1 or more")


def test_sound_values_become_the_dataclass_they_describe() -> None:
    faults: list[str] = []

    boat = read(
        Boat, {"name": "Ada", "crew": 2, "sails": [{"area": 3}], "depth": 1}, "boat", faults
    )

    assert not faults
    assert boat == Boat("Ada", 2, (Sail(3.0),), depth=1.0)


def test_every_fault_is_found_at_once_and_says_where() -> None:
    faults: list[str] = []

    boat = read(
        Boat,
        {
            "nmae": "Ada",
            "crew": "two",
            "sails": [{"area": 1, "colour": "blue"}],
            "tags": {"a": "x"},
        },
        "boat",
        faults,
    )

    assert boat is None
    assert faults == [
        "boat.nmae: unknown key; did you mean `name`?",
        "boat.name: missing, wanted text",
        "boat.crew: found 'two', wanted a whole number",
        "boat.sails[0].colour: found 'blue', wanted one of white, red",
        "boat.tags.a: found 'x', wanted a whole number",
    ]


@pytest.mark.parametrize("found", [True, 1.5, None, "1"])
def test_a_whole_number_is_neither_a_truth_nor_a_fraction_nor_text(found: object) -> None:
    faults: list[str] = []

    read(Boat, {"name": "Ada", "crew": found}, "", faults)

    assert len(faults) == 1
    assert faults[0].startswith("crew: found ")


def test_what_the_dataclass_itself_refuses_is_a_fault_with_its_place() -> None:
    faults: list[str] = []

    read(Boat, {"name": "Ada", "crew": 0}, "boat", faults)

    assert faults == ["boat: crew: found 0, wanted 1 or more"]


def test_something_else_than_a_mapping_is_named() -> None:
    faults: list[str] = []

    read(Boat, ["Ada"], "boat", faults)

    assert faults == ["boat: found ['Ada'], wanted a mapping of keys"]
