"""How a file's columns are named: the same words for training and for scoring."""

from collections.abc import Collection, Mapping, Sequence

from paydesk.errors import PaydeskError


class DataError(PaydeskError):
    """The data cannot be used; the message names file, column and row."""


def parse_columns(spec: str, known: Collection[str]) -> dict[str, str]:
    """`amount=amt,store=shop` as a mapping of Paydesk's names, all `known`, to the file's.

    Raises DataError for a name that is not known or a part without `=`.
    """
    named: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        ours, equals, theirs = (word.strip() for word in part.partition("="))
        if not equals or not theirs or ours not in known:
            message = f"--columns: {part!r} is not NAME=COLUMN with NAME one of {', '.join(known)}."
            raise DataError(message)
        if ours in named:
            message = f"--columns: {ours} is given twice."
            raise DataError(message)
        named[ours] = theirs
    return named


def find_columns(
    place: str,
    has: Sequence[str],
    columns: Mapping[str, str],
    *,
    required: Collection[str],
    optional: Collection[str],
) -> dict[str, str]:
    """The columns to take, Paydesk's name to the file's, of a file that `has` these.

    A name that `columns` leaves out is looked for as it is; an optional one may be missing then.
    Raises DataError, which begins with `place`.
    """
    taken = {}
    for name in (*required, *optional):
        theirs = columns.get(name, name)
        if has.count(theirs) > 1:
            message = f"{place}: there is more than one column {theirs!r}: rename all but one."
            raise DataError(message)
        if theirs in has:
            taken[name] = theirs
        elif name in required or name in columns:
            message = (
                f"{place}: there is no column {theirs!r} for {name}; it has "
                f"{', '.join(has)}. Name it with --columns {name}=COLUMN."
            )
            raise DataError(message)
    return taken
