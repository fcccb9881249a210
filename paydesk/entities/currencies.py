"""Turns a currency's mark (symbol, word or code) into its ISO 4217 code, and says when in doubt."""

import re
from functools import lru_cache
from typing import NamedTuple

import pycountry

from paydesk.iso4217 import DECIMALS

# Marks that mean one currency wherever they stand, in lower case.
_PLAIN: dict[str, str] = {
    "€": "EUR", "eur": "EUR", "euro": "EUR", "euros": "EUR", "euros.": "EUR", "e": "EUR",
    "euors": "EUR", "euos": "EUR", "eruo": "EUR", "euor": "EUR", "eurs": "EUR", "euri": "EUR",
    "£": "GBP", "gbp": "GBP", "pound": "GBP", "pounds": "GBP", "sterling": "GBP", "stg": "GBP",
    "quid": "GBP", "pounds sterling": "GBP", "nicker": "GBP", "pouns": "GBP",
    "usd": "USD", "us$": "USD", "us dollar": "USD", "us dollars": "USD", "u.s. dollars": "USD",
    "american dollars": "USD", "bucks": "USD", "greenbacks": "USD",
    "₹": "INR", "rs": "INR", "rs.": "INR", "re": "INR", "inr": "INR", "rupee": "INR",
    "rupees": "INR", "indian rupees": "INR", "rupaye": "INR",
    "zł": "PLN", "zl": "PLN", "pln": "PLN", "złoty": "PLN", "złotych": "PLN", "złote": "PLN",
    "zloty": "PLN", "zlotys": "PLN", "zlotych": "PLN", "zlote": "PLN", "polish zloty": "PLN",
    "polish zlotys": "PLN", "polish złoty": "PLN",
    "chf": "CHF", "sfr": "CHF", "sfr.": "CHF", "fr.": "CHF", "fr": "CHF", "franken": "CHF",
    "swiss francs": "CHF", "francs swiss": "CHF", "swiss franc": "CHF", "stutz": "CHF",
    "francs suisses": "CHF", "spänn": "SEK",
    "sek": "SEK", "dkk": "DKK", "nok": "NOK", "isk": "ISK", "swedish kronor": "SEK",
    "swedish crowns": "SEK", "danish kroner": "DKK", "danske kroner": "DKK",
    "norwegian kroner": "NOK", "kronor": "SEK",
    "czk": "CZK", "kč": "CZK", "kc": "CZK", "koruna": "CZK", "korun": "CZK", "czech crowns": "CZK",
    "huf": "HUF", "forint": "HUF", "forints": "HUF", "ft": "HUF",
    "leva": "BGN", "лв": "BGN", "грн": "UAH",
    "ron": "RON", "lei": "RON", "leu": "RON",
    "bgn": "BGN", "rsd": "RSD", "hrk": "HRK", "uah": "UAH", "hryvnia": "UAH", "hryvnias": "UAH",
    "₴": "UAH",
    "a$": "AUD", "au$": "AUD", "aud": "AUD", "australian dollars": "AUD",
    "aussie dollars": "AUD", "c$": "CAD", "ca$": "CAD", "cad": "CAD", "canadian dollars": "CAD",
    "can$": "CAD", "cdn": "CAD", "cdn$": "CAD", "nz$": "NZD", "nzd": "NZD",
    "new zealand dollars": "NZD", "nz dollars": "NZD", "kiwi dollars": "NZD",
    "s$": "SGD", "sgd": "SGD", "singapore dollars": "SGD", "hk$": "HKD", "hkd": "HKD",
    "hong kong dollars": "HKD", "r$": "BRL", "brl": "BRL", "reais": "BRL", "real": "BRL",
    "mx$": "MXN", "mxn": "MXN", "mexican pesos": "MXN",
    "₦": "NGN", "ngn": "NGN", "naira": "NGN", "zar": "ZAR", "rand": "ZAR", "rands": "ZAR",
    "kes": "KES", "ksh": "KES", "kshs": "KES", "ksh.": "KES", "ghs": "GHS", "gh₵": "GHS",
    "cedi": "GHS", "cedis": "GHS", "₵": "GHS", "ugx": "UGX", "tzs": "TZS", "tsh": "TZS",
    "egp": "EGP",
    "xof": "XOF", "fcfa": "XOF", "cfa": "XOF", "xaf": "XAF", "mad": "MAD", "dirhams": "AED",
    "dirham": "AED", "aed": "AED", "dhs": "AED", "dh": "AED", "sar": "SAR", "riyal": "SAR",
    "riyals": "SAR", "qar": "QAR", "qr": "QAR", "kd": "KWD", "bd": "BHD",
    "ils": "ILS", "₪": "ILS", "shekels": "ILS", "nis": "ILS",
    "try": "TRY", "₺": "TRY", "lira": "TRY", "liras": "TRY", "tl": "TRY",
    "jpy": "JPY", "yen": "JPY", "cny": "CNY", "rmb": "CNY", "yuan": "CNY", "krw": "KRW",
    "₩": "KRW", "won": "KRW", "thb": "THB", "baht": "THB", "฿": "THB", "php": "PHP",
    "₱": "PHP", "idr": "IDR", "rp": "IDR", "rupiah": "IDR", "vnd": "VND", "₫": "VND",
    "myr": "MYR", "rm": "MYR", "ringgit": "MYR", "pkr": "PKR", "lkr": "LKR", "bdt": "BDT",
    "taka": "BDT", "tk": "BDT", "৳": "BDT", "npr": "NPR", "nrs": "NPR", "slrs": "LKR",
    "twd": "TWD", "nt$": "TWD", "rub": "RUB",
    "₽": "RUB", "roubles": "RUB", "rubles": "RUB", "clp": "CLP", "cop": "COP", "ars": "ARS",
    "r": "ZAR", "n": "NGN", "gh¢": "GHS", "pesos mexicanos": "MXN", "n$": "NAD",
    "kenyan shillings": "KES", "shilling": "KES", "shillings": "KES", "us": "USD",
    "canadian": "CAD", "canadian funds": "CAD", "australian": "AUD", "krónur": "ISK",
    "pen": "PEN", "soles": "PEN", "jmd": "JMD", "j$": "JMD", "ttd": "TTD", "bbd": "BBD",
}  # fmt: skip

# Marks that several countries share: what each means by default, and by the marks that decide.
_SHARED: dict[str, str] = {
    "$": "USD", "dollar": "USD", "dollars": "USD", "dolars": "USD", "¥": "JPY",
    "kr": "SEK", "kr.": "SEK", "kroner": "NOK", "krone": "NOK", "krona": "SEK", "crowns": "SEK",
    "franc": "CHF", "francs": "CHF", "peso": "MXN", "pesos": "MXN",
}  # fmt: skip

# Marks that several countries share, too, but of one so much the most that no note is due.
_RUPEES = frozenset(["rs", "rs.", "re", "rupee", "rupees"])

# Marks that are ordinary words or initials too: known as currencies only once a span was found.
_WORDS_TOO = frozenset(
    ["try", "pen", "all", "real", "re", "r", "n", "us", "canadian", "australian", "won", "rm",
     "mad", "pound", "ft", "e", "fr", "kc", "bd", "kd", "qr"]
)  # fmt: skip
_THREE = 3
_SYMBOLS = frozenset("$€£₹₦₴₪₺₩฿₱₫₽৳₵¥")


class Currency(NamedTuple):
    """An ISO 4217 code, with a note where the mark alone leaves it open."""

    code: str
    note: str | None = None


def is_currency_mark(low: str) -> bool:
    """Whether the lower-case token is, or is part of, a currency's mark."""
    return (low in _PLAIN and low not in _WORDS_TOO) or low in _SHARED or low in _SYMBOLS


def currency(mark: str, text: str) -> Currency | None:
    """The currency that `mark` means in `text`; None when it is no mark we know.

    A shared mark ("$", "kr") is decided by what else the text shows of a country; without that it
    takes its default, and the note says so.
    """
    low = re.sub(r"\s+", " ", mark).strip(" ,;:()-/").lower()
    compact = low.replace(" ", "")
    for form in (low, compact, low.rstrip("."), compact.rstrip(".")):
        if form in _RUPEES:
            found = _decide(form, text)
            return found if found.code != "INR" else Currency("INR")
        if form in _PLAIN:
            return Currency(_PLAIN[form])
    for form in (low, compact.rstrip(".")):
        if form in _SHARED:
            return _decide(form, text)
    return Currency(compact.upper()) if compact.upper() in _codes() else None


def has_thousandths(mark: str) -> bool:
    """Whether `mark` is of a currency with three decimals: "340.500" of it is no 340 thousand."""
    found = currency(mark, "")
    return found is not None and DECIMALS.get(found.code) == _THREE


@lru_cache(maxsize=1)
def _codes() -> frozenset[str]:
    return frozenset(entry.alpha_3 for entry in pycountry.currencies)


def _decide(mark: str, text: str) -> Currency:
    family = _SIGNS.get(_FAMILY[mark], {})
    written = [code for code in family if re.search(rf"(?<!\w){code}(?!\w)", text)]
    for code, signs in family.items():
        # A code says more than a place.
        if code in written or (not written and signs.search(text)):
            return Currency(code, f"{mark!r} is read as {code} by what else the mail says.")
    code = _SHARED.get(mark) or _PLAIN[mark]
    return Currency(code, f"{mark!r} alone is read as {code}.")


_FAMILY: dict[str, str] = {
    **dict.fromkeys(("$", "dollar", "dollars", "dolars"), "dollar"),
    **dict.fromkeys(("kr", "kr.", "kroner", "krone", "krona", "crowns"), "krone"),
    **dict.fromkeys(("franc", "francs"), "franc"),
    **dict.fromkeys(("peso", "pesos"), "peso"),
    **dict.fromkeys(_RUPEES, "rupee"),
    "¥": "yen",
}


def _any(*words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)


# What in a mail shows a country. The first match, in this order, decides.
_SIGNS: dict[str, dict[str, re.Pattern[str]]] = {
    "dollar": {
        "USD": _any(r"USD", r"US\$", r"U\.S\. dollars?", r"US dollars?"),
        "AUD": _any(r"AUD", r"A\$", r"Australian dollars?", r"Aussie", r"Pty", r"ABN",
                    r"Sydney", r"Melbourne", r"Brisbane", r"Perth", r"NSW",
                    r"Queensland", r"BSB", r"PayID", r"\+61"),
        "CAD": _any(r"CAD", r"C\$", r"Canadian(?: dollars?)?", r"Toronto", r"Vancouver",
                    r"Montreal",
                    r"Ontario", r"Alberta", r"Interac", r"Quebec", r"Calgary", r"HST"),
        "NZD": _any(r"NZD", r"NZ\$", r"NZ", r"New Zealand", r"Dunedin", r"Christchurch",
                    r"Auckland", r"Wellington", r"Kia ora"),
        "SGD": _any(r"SGD", r"S\$", r"Singapore", r"Pte", r"PayNow"),
        "HKD": _any(r"HKD", r"HK\$", r"Hong Kong"),
    },
    "krone": {
        "DKK": _any(r"DKK", r"Denmark", r"Danish", r"ApS", r"A/S", r"København", r"Copenhagen",
                    r"Aarhus", r"Odense", r"Aalborg", r"\+45", r"MobilePay", r"CVR", r"moms,? dk",
                    r"danske(?! bank)", r"dansk", r"Jylland", r"Sjælland", r"Fyn", r"Vejle",
                    r"Kolding", r"Herning", r"Roskilde", r"Svendborg", r"Esbjerg", r"Randers",
                    r"Kære", r"(?:De )?bedste hilsner"),
        "NOK": _any(r"NOK", r"Norway", r"Norwegian", r"Oslo", r"Bergen", r"Trondheim", r"Stavanger",
                    r"Tromsø", r"(?-i:ASA)", r"\+47", r"Vipps", r"norske", r"Hei alle", r"dugnad",
                    r"borettslag\w*", r"(?-i:[A-ZÆØÅ]\w*[a-zæøå] AS)"),
        "SEK": _any(r"SEK", r"Sweden", r"Swedish", r"Stockholm",
                    r"Göteborg", r"Gothenburg", r"Malmö", r"Uppsala", r"\+46", r"Swish",
                    r"bankgiro", r"kronor", r"Umeå", r"Linköping", r"Västerås", r"Örebro",
                    r"Brf", r"Hälsningar", r"Tack för", r"svenska",
                    r"(?-i:[A-ZÅÄÖ]\w*[a-zåäö] AB)"),
        "CZK": _any(r"CZK", r"Kč", r"Czech", r"Prague", r"Praha", r"Brno", r"s\.r\.o\.",
                    r"\w*[ěřů]\w*"),
        "ISK": _any(r"ISK", r"Iceland", r"Reykjav[ií]k", r"ehf\.?"),
    },
    "franc": {
        "XOF": _any(r"XOF", r"CFA", r"FCFA", r"Dakar", r"Abidjan", r"Senegal", r"Sénégal"),
        "XAF": _any(r"XAF", r"Douala", r"Cameroon", r"Yaoundé"),
        "CHF": _any(r"CHF", r"Swiss", r"Switzerland", r"Zürich", r"Genève", r"Geneva", r"Lausanne"),
    },
    "peso": {
        "PHP": _any(r"PHP", r"Manila", r"Philippines?", r"GCash"),
        "ARS": _any(r"ARS", r"Buenos Aires", r"Argentin\w+"),
        "CLP": _any(r"CLP", r"Chile", r"Santiago"),
        "COP": _any(r"COP", r"Bogotá", r"Colombia\w*"),
        "MXN": _any(r"MXN", r"Mexic\w+", r"México"),
    },
    "rupee": {
        "INR": _any(r"INR", r"India\w*", r"GSTIN", r"IFSC", r"UPI", r"\+91", r"Mumbai", r"Delhi",
                    r"Bengaluru", r"Bangalore", r"Chennai", r"Kolkata", r"Hyderabad", r"Pune",
                    r"Ahmedabad", r"Jaipur"),
        "PKR": _any(r"PKR", r"Pakistan\w*", r"Lahore", r"Karachi", r"Islamabad", r"Rawalpindi",
                    r"Faisalabad", r"Peshawar", r"Pindi", r"Multan", r"Sialkot",
                    r"Easypaisa", r"JazzCash", r"\+92"),
        "LKR": _any(r"LKR", r"(?:Sri )?Lankan?", r"Colombo", r"Kandy", r"Jaffna", r"Galle",
                    r"Matara", r"Negombo", r"Matale", r"Avurudu", r"\+94"),
        "NPR": _any(r"NPR", r"Nepal\w*", r"Kathmandu", r"Pokhara", r"\+977"),
    },
    "yen": {
        "CNY": _any(r"CNY", r"RMB", r"China", r"Shanghai", r"Shenzhen", r"Beijing", r"Guangzhou"),
        "JPY": _any(r"JPY", r"Japan", r"Tokyo", r"Osaka"),
    },
}  # fmt: skip
