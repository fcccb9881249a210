"""A frame of transactions as the forest takes it, and as its figures need it.

Training and promotion both begin here: what is compared is what was trained.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paydesk.registry.risk_metrics import Labelled
from paydesk.risk.features import Encoder


def encode(encoder: Encoder, data: pd.DataFrame) -> NDArray[np.float32]:
    """The features (n, k) of n transactions: columns amount, timestamp and category."""
    category = data["category"].astype(object)
    return encoder.columns(
        data["amount"].to_numpy(np.float64),
        data["timestamp"].dt.hour.to_numpy(),
        category.where(category.notna(), None).tolist(),
    )


def labelled(data: pd.DataFrame) -> Labelled:
    """Truth, day and card of `data`; the card is None where the data has no customers."""
    day = data["timestamp"].dt.normalize().astype("int64").to_numpy()
    card = None
    if data["customer_id"].notna().all():
        card = pd.factorize(data["customer_id"])[0].astype(np.int64)
    return Labelled(data["label"].to_numpy() == 1, day, card)
