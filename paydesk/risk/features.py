"""A transaction's features: the one definition that training, serving, batch and streams use.

Every feature is exact in float32 arithmetic from the same float64 inputs, whether it is computed
from one value or from a column: only comparisons and one division, then one rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoder:
    """Turns amount, hour and category into the forest's input.

    `categories` are those seen in training, in order; a category never seen is none of them.
    `typical_amounts` has the median genuine amount of each category, and last that of all
    transactions, which stands for a category never seen.
    """

    categories: tuple[str, ...]
    typical_amounts: tuple[float, ...]
    _codes: dict[str | None, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        codes: dict[str | None, int] = {name: n for n, name in enumerate(self.categories)}
        object.__setattr__(self, "_codes", codes)

    @property
    def names(self) -> list[str]:
        """The features' names, in the order of the columns."""
        shown = [f"category={name}" for name in self.categories]
        return ["amount", "amount_to_typical", "hour", *shown]

    def knows(self, category: str | None) -> bool:
        """Whether `category` was seen in training."""
        return category in self._codes

    def row(self, amount: float, hour: int, category: str | None) -> NDArray[np.float32]:
        """The features (1, k) of one transaction."""
        code = self._codes.get(category, len(self.categories))
        values = _features(amount, hour, code, self.typical_amounts[code], len(self.categories))
        return np.array([values], dtype=np.float32)

    def columns(
        self, amount: NDArray[np.float64], hour: NDArray[Any], category: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """The features (n, k) of n transactions."""
        unseen = len(self.categories)
        codes = np.fromiter(
            (self._codes.get(name, unseen) for name in category), np.int64, len(amount)
        )
        typical = np.asarray(self.typical_amounts, dtype=np.float64)[codes]
        values = _features(np.asarray(amount, np.float64), hour, codes, typical, unseen)
        return np.column_stack([np.asarray(value, np.float32) for value in values])

    def as_json(self) -> dict[str, Any]:
        """What `from_json` needs."""
        return {"categories": list(self.categories), "typical_amounts": list(self.typical_amounts)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Encoder":
        """The encoder that `as_json` described."""
        return cls(tuple(stored["categories"]), tuple(stored["typical_amounts"]))


def _features(amount: Any, hour: Any, code: Any, typical: Any, categories: int) -> list[Any]:
    return [amount, amount / typical, hour, *(code == n for n in range(categories))]
