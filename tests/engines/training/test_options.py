"""What a card tells of a command is what anybody may type, and of a fit how far it is."""

from engines.training import options
from engines.training.settings import Progress


def test_a_command_is_told_without_the_folders_of_its_machine() -> None:
    given = ["../data/train", "--output", "/somewhere/else/winds", "--width", "32", "--name", "a b"]

    assert options.told("downscaled bundle train", given) == (
        "downscaled bundle train ../data/train --output winds --width 32 --name 'a b'"
    )


def test_a_report_tells_the_loss_the_pace_and_the_time_left() -> None:
    report = Progress(300, 0.25, 0.6123, 0.5987, 1.0, 60.0)

    assert options.words(report) == (
        "[########                      ]  25%  step 300: loss 0.6123, held back 0.5987, "
        "5 steps/s, 3.0 min left"
    )
