"""Transactions to train on: simulated ones, or a file of the user's own."""

import csv
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from paydesk.risk.columns import DataError, find_columns
from paydesk.risk.transaction import LARGEST_AMOUNT

REQUIRED = ("amount", "timestamp", "label")
OPTIONAL = ("category", "customer_id", "store")

# name: share of the transactions, median amount in PLN, spread (sigma of the logarithm), day hours
_CATEGORIES = {
    "food": (0.22, 45.0, 0.6, (7, 21)),
    "groceries": (0.20, 95.0, 0.7, (7, 22)),
    "transport": (0.12, 22.0, 0.6, (5, 23)),
    "restaurants": (0.10, 85.0, 0.6, (11, 23)),
    "fuel": (0.08, 230.0, 0.4, (6, 22)),
    "clothing": (0.07, 180.0, 0.7, (9, 21)),
    "health": (0.06, 75.0, 0.7, (8, 20)),
    "entertainment": (0.05, 60.0, 0.7, (14, 23)),
    "home": (0.04, 260.0, 0.9, (9, 20)),
    "electronics": (0.04, 700.0, 0.8, (9, 21)),
    "travel": (0.02, 650.0, 0.9, (8, 22)),
}
_NIGHT_SHARE = 0.03  # of genuine transactions, at any hour whatever the category's hours
_FIRST_DAY = np.datetime64("2026-01-05T00:00:00", "s")


_OFFSET = r"(?:Z|[+-]\d{2}:?\d{2})$"


def simulate(
    *, customers: int = 1_500, stores: int = 400, days: int = 90, seed: int = 7
) -> pd.DataFrame:
    """Transactions of `customers` at `stores` over `days`, amounts in PLN, about 0.8% fraud.

    Columns: tx_id, timestamp, customer_id, store, category, amount, label (0 or 1) and scenario.
    The way of making them (customers with habits of their own, fraud by scenario) follows Le Borgne
    et al., "Reproducible Machine Learning for Credit Card Fraud Detection", chapter 3. Scenarios:

    - night_electronics: a stolen card buys electronics between 0 and 5 h, for 900 to 6,000.
    - compromised_card: for 3 to 8 days, a card's thief adds purchases of 3 to 8 times its owner's
      usual amount, in electronics, travel, clothing and entertainment.
    - compromised_store: for 2 to 5 days, every third transaction of a store is a copied card's, for
      1.5 to 4 times the usual amount.

    There are a few frauds of each kind however small the sizes, so that something can be learnt:
    with 50 customers and 5 days the share of fraud is some 7%.
    """
    chance = np.random.default_rng(seed)
    genuine = _genuine(chance, customers, stores, days)
    fraud = [
        _night_electronics(chance, genuine, days),
        _compromised_cards(chance, genuine, customers, days),
    ]
    all_of_it = pd.concat([genuine, *fraud], ignore_index=True)
    _compromise_stores(chance, all_of_it, stores, days)
    all_of_it = all_of_it.sort_values("timestamp", kind="stable", ignore_index=True)
    all_of_it["amount"] = all_of_it["amount"].clip(1.0, 50_000.0).round(2)
    all_of_it.insert(0, "tx_id", [f"TX{n:07d}" for n in range(len(all_of_it))])
    return all_of_it


def _genuine(chance: np.random.Generator, customers: int, stores: int, days: int) -> pd.DataFrame:
    names = np.array(list(_CATEGORIES))
    share, median, spread, hours = (
        np.array(values) for values in zip(*_CATEGORIES.values(), strict=True)
    )
    store_category = chance.choice(len(names), size=stores, p=share / share.sum())
    store_category[: len(names)] = np.arange(len(names))  # every category has a store
    a_day = chance.gamma(4.0, 0.4, customers)  # 1.6 on average
    wealth = np.exp(chance.normal(0.0, 0.35, customers))
    counts = chance.poisson(a_day[:, None], (customers, days))
    customer = np.repeat(np.arange(customers), counts.sum(axis=1))
    day = np.concatenate([np.repeat(np.arange(days), row) for row in counts])
    category = chance.choice(len(names), size=len(customer), p=share / share.sum())
    by_category = [np.flatnonzero(store_category == n) for n in range(len(names))]
    store = np.empty(len(customer), dtype=np.int64)
    for n, those in enumerate(by_category):
        here = category == n
        store[here] = chance.choice(those, size=int(here.sum()))
    begin, end = hours[category, 0], hours[category, 1]
    hour = begin + (end - begin) * chance.beta(2.2, 2.0, len(customer))
    at_night = chance.random(len(customer)) < _NIGHT_SHARE
    hour[at_night] = chance.uniform(0, 24, int(at_night.sum()))
    amount = np.exp(chance.normal(np.log(median[category] * wealth[customer]), spread[category]))
    return pd.DataFrame(
        {
            "timestamp": _moment(day, hour),
            "customer_id": _numbered("C", customer),
            "store": _numbered("S", store),
            "category": names[category],
            "amount": amount,
            "label": np.zeros(len(customer), dtype=np.int64),
            "scenario": np.full(len(customer), "genuine"),
        }
    )


def _night_electronics(
    chance: np.random.Generator, genuine: pd.DataFrame, days: int
) -> pd.DataFrame:
    count = max(3, len(genuine) // 400)
    shops = genuine.loc[genuine["category"] == "electronics", "store"].unique()
    return pd.DataFrame(
        {
            "timestamp": _moment(chance.integers(0, days, count), chance.uniform(0, 5.5, count)),
            "customer_id": chance.choice(genuine["customer_id"].unique(), count),
            "store": chance.choice(shops, count),
            "category": np.full(count, "electronics"),
            "amount": chance.uniform(900, 6_000, count),
            "label": np.ones(count, dtype=np.int64),
            "scenario": np.full(count, "night_electronics"),
        }
    )


def _compromised_cards(
    chance: np.random.Generator, genuine: pd.DataFrame, customers: int, days: int
) -> pd.DataFrame:
    usual = genuine.groupby("customer_id")["amount"].mean()
    cases = max(3, round(customers * days / 900))
    card = chance.choice(usual.index.to_numpy(), cases)
    begin = chance.integers(0, max(1, days - 3), cases)
    lasts = chance.integers(3, 9, cases)
    purchases = chance.integers(3, 8, cases)
    which = np.repeat(np.arange(cases), purchases)
    day = np.minimum(begin[which] + chance.integers(0, lasts[which]), days - 1)
    liked = ["electronics", "travel", "clothing", "entertainment"]
    category = chance.choice(liked, len(which))
    shops = {name: rows["store"].unique() for name, rows in genuine.groupby("category")}
    store = [chance.choice(shops[name]) for name in category]
    amount = usual.loc[card[which]].to_numpy() * chance.uniform(3, 8, len(which))
    return pd.DataFrame(
        {
            "timestamp": _moment(day, chance.uniform(0, 24, len(which))),
            "customer_id": card[which],
            "store": store,
            "category": category,
            "amount": amount,
            "label": np.ones(len(which), dtype=np.int64),
            "scenario": np.full(len(which), "compromised_card"),
        }
    )


def _compromise_stores(
    chance: np.random.Generator, transactions: pd.DataFrame, stores: int, days: int
) -> None:
    cases = max(1, round(stores * days / 900))
    day = (transactions["timestamp"].to_numpy() - _FIRST_DAY).astype("timedelta64[D]").astype(int)
    genuine = (transactions["label"] == 0).to_numpy()
    store = transactions["store"].to_numpy()
    for _ in range(cases):
        begin = int(chance.integers(0, max(1, days - 2)))
        ends = begin + int(chance.integers(2, 6))
        name = f"S{int(chance.integers(0, stores)):05d}"
        here = np.flatnonzero(genuine & (store == name) & (day >= begin) & (day < ends))
        copied = here[chance.random(len(here)) < 1 / 3]
        transactions.loc[copied, "amount"] *= chance.uniform(1.5, 4.0, len(copied))
        transactions.loc[copied, "label"] = 1
        transactions.loc[copied, "scenario"] = "compromised_store"


def _moment(day: np.ndarray, hour: np.ndarray) -> np.ndarray:
    seconds = day.astype(np.int64) * 86_400 + (hour * 3_600).astype(np.int64)
    return _FIRST_DAY + seconds.astype("timedelta64[s]")


def _numbered(letter: str, numbers: np.ndarray) -> list[str]:
    return [f"{letter}{n:05d}" for n in numbers]


def load(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """The transactions of a CSV or Parquet file, in the columns that `simulate` gives.

    `columns` maps Paydesk's names to the file's; a name left out is looked for as it is. category,
    customer_id and store may be missing. Raises DataError, which names file, column and row.
    """
    raw = _read(path)
    has = _names(path, raw)
    taken = find_columns(str(path), has, columns, required=REQUIRED, optional=OPTIONAL)
    if raw.empty:
        message = f"{path}: the file has no rows."
        raise DataError(message)
    place = _Place(path)
    data = pd.DataFrame(
        {
            "timestamp": _timestamps(raw[taken["timestamp"]], place, taken["timestamp"]),
            "amount": _amounts(raw[taken["amount"]], place, taken["amount"]),
            "label": _labels(raw[taken["label"]], place, taken["label"]),
        }
    )
    for name in OPTIONAL:
        if name in taken:
            texts = raw[taken[name]].astype("string").astype(object)
            data[name] = texts.where(texts.notna(), None)
        else:
            data[name] = None
    return data.sort_values("timestamp", kind="stable", ignore_index=True)


def digest(transactions: pd.DataFrame) -> str:
    """SHA-256 (hex) of what is trained on: the values, whatever file they came in."""
    whole = hashlib.sha256()
    for name in (*REQUIRED, *OPTIONAL):
        hashed = pd.util.hash_pandas_object(transactions[name], index=False)
        whole.update(hashed.to_numpy().tobytes())
    return whole.hexdigest()


def concatenate(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The transactions of several files, in order of time."""
    whole = pd.concat(parts, ignore_index=True)
    return whole.sort_values("timestamp", kind="stable", ignore_index=True)


class _Place:
    """Says where in the file a bad value stands."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refuse(self, column: str, bad: pd.Series, values: pd.Series, wanted: str) -> None:
        """Raises DataError for the first row where `bad` holds."""
        if not bad.any():
            return
        row = int(np.flatnonzero(bad.to_numpy())[0])
        line = f" (line {_line(self._path, row)})" if _is_csv(self._path) else ""
        value = values.iloc[row]
        shown = "nothing" if pd.isna(value) else repr(str(value))
        message = (
            f"{self._path}: column {column!r}, row {row + 1}{line}: {shown} is not {wanted}"
            f" ({int(bad.sum())} such rows)."
        )
        raise DataError(message)


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() in {".csv", ".gz"}


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file, its heading first, each with the line on which it begins."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as lines:
        reader = csv.reader(lines)
        begins = 1
        for record in reader:
            if record:
                yield begins, record
            begins = reader.line_num + 1


def _line(path: Path, row: int) -> int:
    """The line on which the row (from 0) of a CSV file begins; blank lines are no rows."""
    return next(islice(_records(path), row + 1, None))[0]


def _names(path: Path, raw: pd.DataFrame) -> list[str]:
    """The columns' names; pandas gives a CSV file's that come twice new ones."""
    if _is_csv(path):
        return next(_records(path), (1, []))[1]
    return [str(name) for name in raw.columns]


def _read(path: Path) -> pd.DataFrame:
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        if _is_csv(path):
            return pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""])
    except FileNotFoundError as error:
        message = f"{path}: there is no such file."
        raise DataError(message) from error
    except (OSError, EOFError, zlib.error, ValueError, pd.errors.ParserError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        message = f"{path}: cannot be read as {kind[1:]}: {why}."
        raise DataError(message) from error
    message = f"{path}: Paydesk reads .csv, .csv.gz and .parquet files."
    raise DataError(message)


def _amounts(values: pd.Series, place: _Place, column: str) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    bad = ~(numbers.ge(0) & numbers.le(LARGEST_AMOUNT))
    place.refuse(column, bad, values, f"an amount from 0 to {LARGEST_AMOUNT:.0e}")
    return numbers


def _labels(values: pd.Series, place: _Place, column: str) -> pd.Series:
    words = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
    labels = values.astype("string").str.strip().str.lower().map(words)
    place.refuse(column, labels.isna(), values, "a label: 0 or 1")
    return labels.astype("int64")


def _timestamps(values: pd.Series, place: _Place, column: str) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(values):
        moments = values
    else:
        # The hour as it was on the spot: an offset is dropped, and may differ from row to row.
        local = values.astype("string").str.replace(_OFFSET, "", regex=True)
        moments = pd.to_datetime(local, errors="coerce", format="ISO8601")
    place.refuse(column, moments.isna(), values, "a time such as 2026-11-21 09:30:00")
    if moments.dt.tz is not None:
        moments = moments.dt.tz_localize(None)  # in the column's own zone
    return moments.astype("datetime64[s]")
