"""Makes a challenger the champion, if it is no worse on the same held-out data."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient

from paydesk.errors import PaydeskError
from paydesk.registry import versions
from paydesk.registry.kinds import Kind
from paydesk.registry.versions import Version
from paydesk.tracking_store import CHAMPION, SERVING

FORCED = "promotion.forced"


class WorseChallengerError(PaydeskError):
    """The challenger is worse than the champion, or fails a golden case."""


@dataclass(frozen=True)
class Comparison:
    """Champion and challenger on the challenger's held-out data; the champion may be missing."""

    challenger: Version
    champion: Version | None
    challenger_metrics: Mapping[str, float]
    champion_metrics: Mapping[str, float]
    objections: list[str]


def compare(client: MlflowClient, kind: Kind, challenger: Version) -> Comparison:
    """Measures both on the data that was held out when the challenger was trained.

    Raises ServingFormError when a serving form cannot be had or does not keep parity.
    """
    champion = None
    if versions.has_champion(client, kind.name):
        champion = versions.named(client, kind.name, CHAMPION)
    with versions.scratch() as ours, versions.scratch() as theirs:
        serving = versions.download(challenger, SERVING, ours)
        kind.prove(serving)
        holdout = versions.holdout(challenger, ours)
        new = kind.measure(serving, holdout, challenger.params)
        old: Mapping[str, float] = {}
        if champion is not None and champion.number != challenger.number:
            champions = versions.download(champion, SERVING, theirs)
            old = kind.measure(champions, holdout, challenger.params)
        objections = kind.golden_failures(serving)
    if old and new[kind.decisive] < old[kind.decisive] - kind.tolerance:
        objections.append(
            f"{kind.decisive} falls from {old[kind.decisive]:.4f} to {new[kind.decisive]:.4f}"
        )
    return Comparison(challenger, champion, new, old, objections)


def promote(client: MlflowClient, compared: Comparison, *, force: bool, why: str) -> None:
    """Moves @champion to the challenger; a forced promotion is recorded as a tag of the version.

    Raises WorseChallengerError when there are objections and `force` is not given.
    """
    challenger = compared.challenger
    if compared.objections and not force:
        message = (
            f"{challenger.name} version {challenger.number} is not promoted: "
            f'{"; ".join(compared.objections)}. To promote it all the same: --force --why "…".'
        )
        raise WorseChallengerError(message)
    if force:
        against = "; ".join(compared.objections) or "nothing"
        versions.tag(client, challenger, FORCED, f"{why} (against: {against})")
    versions.make_champion(client, challenger)
