"""What a command line says of a tuning becomes its settings; a report is one line."""

import argparse
import math
from dataclasses import replace

from engines.training.tune_settings import Terms, TuneProgress, TuneSettings
from streamer.commands import tune_options


def parsed(*words: str) -> TuneSettings:
    parser = argparse.ArgumentParser()
    tune_options.configure(parser)
    return tune_options.settings(parser.parse_args(["winds", "--truth", "archive", *words]), (0, 0))


def test_with_nothing_said_the_settings_are_the_defaults() -> None:
    assert parsed() == TuneSettings()


def test_what_is_said_is_obeyed() -> None:
    words = "--minutes 20 --draws 4 --training-tile 32 48 --sampler-rate 0 --no-mirror --seed 3"
    loss = "--band 0.25 --patch 0.5 --gradient 0.4 --spread 0.3 --spread-aim 1.05"

    found = parsed(*words.split(), *loss.split())

    wanted = TuneSettings(minutes=20.0, draws=4, tile=(32, 48), sampler_rate=0.0, seed=3)
    terms = Terms(band=0.25, patch=0.5, gradient=0.4, spread=0.3, aim=1.05)
    assert found == replace(wanted, mirror=False, terms=terms)


def test_a_gpu_works_alone_and_in_bfloat16_unless_told_otherwise() -> None:
    found = parsed("--device", "cuda")

    assert (found.workers, found.precision) == (1, "bf16")
    assert parsed("--device", "cuda", "--precision", "f32").precision == "f32"


def test_a_report_is_one_line_with_the_time_that_is_left() -> None:
    report = TuneProgress(
        step=100, share=0.25, loss=0.41234, held_back_loss=0.42, crps=0.4, spread_skill=0.98,
        seconds=60.0,
    )  # fmt: skip
    first = replace(report, step=0, share=0.0, loss=math.nan)

    assert tune_options.words(report) == (
        "[########                      ]  25%  step 100: held back 0.4200, CRPS 0.4000, "
        "spread/skill 0.980, loss 0.4123, 3.0 min left"
    )
    assert tune_options.words(first).endswith(
        "step 0: held back 0.4200, CRPS 0.4000, spread/skill 0.980"
    )
