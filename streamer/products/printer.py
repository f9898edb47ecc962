"""Products of a step as records: encoded, named, with headers; one parameter at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

from engines.errors import DownscaledError
from streamer.bus.record import Outgoing
from streamer.domain import Interval, Statistic, Step, StepKey
from streamer.grib.encode import (
    PARAM_TARGETS,
    Draw,
    FieldTarget,
    Template,
    encode_all,
    encode_statistic,
    mars_keys,
)
from streamer.grib.templates import Templates
from streamer.headers import Sender, field_headers
from streamer.intake.accumulation import step_interval
from streamer.products.ensemble import Ensemble
from streamer.records import FieldEntry, FieldNames, list_field

#: A published field: how its step's record lists it, and what the topic gets.
Pair = tuple[FieldEntry, Outgoing]


class Refused(DownscaledError):
    """A field that was made but cannot be sent."""

    reason = "output_too_large"


@dataclass(frozen=True, slots=True)
class Printer:
    """Writes the fields of one line of steps; on any thread.

    bundle: its digest. group: whose records they are. record_limit: what the topic takes, bytes.
    """

    templates: Templates
    bundle: str
    topic: str
    group: str
    record_limit: int

    def records(
        self, step: Step, ensemble: Ensemble, parameter: str, traceparent: bytes | None
    ) -> list[Pair]:
        """Return all that is told of one parameter of a product: its draws, then its statistics.

        Raises EncodeError, and Refused for a message that the topic does not take.
        """
        sender = Sender(self.group, traceparent)
        made = []
        for names, message, template, draw in _messages(self.templates, step, ensemble, parameter):
            if len(message) > self.record_limit:
                which = names.statistic or f"draw {names.draw}"
                raise Refused(
                    f"{parameter} of {step.key.text}, {which}: {len(message)} bytes, topic "
                    f"{self.topic} takes {self.record_limit}; raise its max.message.bytes or "
                    "lower output.packing.bits"
                )
            made.append(self._record(step.key, names, message, template, draw, sender))
        return made

    def _record(
        self,
        key: StepKey,
        names: FieldNames,
        message: bytes,
        template: Template,
        draw: Draw | None,
        sender: Sender,
    ) -> Pair:
        entry = list_field(message, key, names, template.param_id)
        headers = field_headers(key, entry, self.bundle, mars_keys(template, draw), sender)
        return entry, Outgoing(self.topic, key.text.encode(), message, headers)


def _messages(
    templates: Templates, step: Step, ensemble: Ensemble, parameter: str
) -> Iterator[tuple[FieldNames, bytes, Template, Draw | None]]:
    """Yield a parameter's messages, each with its names and the template that it was made from.

    Draws are made from the message of the member that they were drawn for, statistics from the
    first member's.
    """
    making, members = ensemble.making, step.members

    def template(member: Step, statistic: Statistic | None) -> Template:
        message, factor, interval = _source(member, ensemble, parameter)
        target = FieldTarget(
            step.key,
            parameter,
            making.grid,
            factor,
            interval,
            statistic=statistic,
            weighted=making.weights is not None,
            param=None if parameter in ensemble.channels else PARAM_TARGETS[parameter],
        )
        return templates.prepare(message, target)

    for statistic in making.told[parameter]:
        if statistic is None:
            for place, member in enumerate(members):
                prepared, first = template(member, None), place * len(making.draws)
                draws = encode_all(
                    ensemble.draws(parameter, place), prepared, first, of=ensemble.size
                )
                for number, encoded in enumerate(draws, first):
                    names = FieldNames(making.name, parameter, draw=number)
                    yield names, encoded, prepared, Draw(number, of=ensemble.size)
        else:
            prepared = template(members[0], statistic)
            values = ensemble.statistic(statistic, parameter)
            encoded = encode_statistic(values, prepared, ensemble.size)
            names = FieldNames(making.name, parameter, statistic=statistic.text)
            yield names, encoded, prepared, None


def _source(step: Step, ensemble: Ensemble, parameter: str) -> tuple[bytes, float, Interval | None]:
    """Return the message that a parameter is made from, the factor of its units, its interval."""
    fields = {field.parameter: field for field in step.fields}
    if parameter in fields:
        field = fields[parameter]
        interval = step_interval(field, step.since)
        # Rates leave as amounts, as they came.
        return field.message, field.factor / (1.0 if interval is None else interval.hours), interval
    return fields[ensemble.inputs(parameter)[0]].message, 1.0, None
