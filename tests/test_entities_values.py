"""Amounts, currencies and names as people write them, and the values they stand for."""

import pytest

from paydesk.entities.amounts import amount
from paydesk.entities.candidates import sums, units
from paydesk.entities.currencies import currency
from paydesk.entities.names import name
from paydesk.entities.tagger import TokenSpan
from paydesk.entities.tokens import tokenize


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1200", "1200"),
        ("1,200.50", "1200.50"),
        ("1.250,00", "1250.00"),
        ("1.250", "1250"),
        ("12 400,50", "12400.50"),
        ("12\u00a0400,50", "12400.50"),
        ("2'350.00", "2350.00"),
        ("1,10,000", "110000"),
        ("4,56,200/-", "456200"),
        ("99,-", "99"),
        ("120.-", "120"),
        (".50", "0.50"),
        ("0.125", "0.125"),
        ("35k", "35000"),
        ("7.5k", "7500"),
        ("1.2m", "1200000"),
        ("2 lakh", "200000"),
        ("1.5 crore", "15000000"),
        ("two thousand", "2000"),
        ("one twenty", "120"),
        ("six thousand fifty and 50/100", "6050.50"),
        ("twenty five", "25"),
        ("28 tis", "28000"),
        ("15mila", "15000"),
        ("three ninety nine", "399"),
        ("eight dollars fifty", "8.5"),
        ("two pounds and five", "2.05"),
        ("one hundred and five", "105"),
        ("two hundred & no/100 dollars", "200.00"),
        ("1,250 and 50/100", "1250.50"),
        ("three quarters of a million", "750000"),
        ("two dozen", "24"),
        ("three and a half grand", "3500"),
        ("a grand", "1000"),
        ("one lakh eighty five thousand", "185000"),
        ("Forty-one thousand eight hundred and fifty", "41850"),
        ("nine hundred and five", "905"),
        ("half a million", "500000"),
        ("a tenner", "10"),
    ],
)
def test_an_amount_in_any_convention_is_a_plain_decimal(written: str, value: str) -> None:
    assert amount(written) == value


@pytest.mark.parametrize("written", ["", "soon", "the rest", "tis the season", "tusen takk"])
def test_words_without_a_number_are_no_amount(written: str) -> None:
    assert amount(written) is None


@pytest.mark.parametrize(
    "written",
    [
        "five or twenty",
        "one or two",
        "five to ten thousand",
        "two invoices of fifty",
        "three times twenty",
        "five point twenty five",
        "four and twenty",
        "two fifty fifty",
        "ninety-nine ninety-nine",
        "five thousand thousand",
        "five of 10/100",
        "two and twenty/100",
        "mille deux cents",
    ],
)
def test_what_is_not_surely_one_number_is_none(written: str) -> None:
    assert amount(written) is None


def test_a_currency_of_three_decimals_has_them() -> None:
    text = "Please pay KWD 475.500 to Al Noor Trading"
    tokens = tokenize(text)
    spans = [TokenSpan(2, 2, "CUR", 1.0), TokenSpan(3, 3, "SUM", 1.0)]
    assert [token.text for token in tokens[2:4]] == ["KWD", "475.500"]
    assert [found.value for found in sums(units(tokens, spans), tokens, text)] == ["475.500"]


@pytest.mark.parametrize(
    ("mark", "text", "code"),
    [
        ("£", "", "GBP"),
        ("quid", "", "GBP"),
        ("Rs.", "", "INR"),
        ("zł", "", "PLN"),
        ("A$", "", "AUD"),
        ("Canadian dollars", "", "CAD"),
        ("euro", "", "EUR"),
        ("BWP", "", "BWP"),
        ("$", "Send $40 to Pat", "USD"),
        ("$", "Send $40 to Pat in Toronto, Interac is fine", "CAD"),
        ("kr", "kr 4.500 to Brdr. Lindegaard VVS ApS", "DKK"),
        ("kr", "4 500 kr to Fjordvik in Bergen", "NOK"),
        ("kr", "2 000 kr to Lindqvist AB", "SEK"),
        ("kr", "2 000 kr to Lotta in Malmö, as always", "SEK"),  # "as" is no Norwegian company
        ("kr", "2 000 kr, Danske Bank, to Malmö Foto AB", "SEK"),
        ("kr", "PAY 2 000 KR AS USUAL TO LOTTA IN MALMÖ", "SEK"),
        ("kr", "2 000 kr to Anna Lund in Reykjavik", "ISK"),
        ("kr", "2 000 kr (NOK) to Lindqvist AB, Malmö", "NOK"),
        ("Rs", "Rs 400 to Multan Sweets, Delhi", "INR"),
        ("crowns", "two thousand crowns to Květinářství U Anděla", "CZK"),
        ("Rs.", "Rs. 8,000 to the mason", "INR"),
        ("Rs.", "Rs. 804,000 to Shifa Heart Centre, Lahore", "PKR"),
        ("rupees", "172,000 rupees for the clinic in Jaffna", "LKR"),
        ("Ft", "320 000 Ft for the hall", "HUF"),
        ("$", "$62.50 Aussie to Macca", "AUD"),
        ("$", "refund her the $239 NZ", "NZD"),
        ("Rs", "Rs 24,000, transfer through easypaisa", "PKR"),
        ("Tk.", "Tk. 45,000 to the printer", "BDT"),
    ],
)
def test_a_currency_mark_becomes_its_iso_code(mark: str, text: str, code: str) -> None:
    found = currency(mark, text)
    assert found is not None
    assert found.code == code


def test_a_mark_that_several_countries_share_is_flagged() -> None:
    bare = currency("$", "Send $40 to Pat")
    plain = currency("£", "Send £40 to Pat")
    assert bare is not None
    assert bare.note == "'$' alone is read as USD."
    assert plain is not None
    assert plain.note is None


def test_a_word_that_is_no_currency_has_none() -> None:
    assert currency("apples", "") is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("M/s Annamalai Boiler Leasing", "Annamalai Boiler Leasing"),
        ('"Annamalai Leasing"', "Annamalai Leasing"),
        ('"Szyszka" Zakład Usług Leśnych', '"Szyszka" Zakład Usług Leśnych'),
        ("Mr. J. R. Patel", "J. R. Patel"),
        ("Northwind\n> Traders Ltd", "Northwind Traders Ltd"),
        ("Penrose Brewery's", "Penrose Brewery"),
        ("Brackley's Timber plc", "Brackley's Timber plc"),
        ("O'Leary", "O'Leary"),
    ],
)
def test_a_name_loses_honorific_possessive_and_line_breaks(written: str, value: str) -> None:
    assert name(written) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("Beneficiary Her Majesty's Hounds Kennels", "Her Majesty's Hounds Kennels"),
        ("ACCT MUSTAPHA OIL & GAS VENTURES 0072219384", "MUSTAPHA OIL & GAS VENTURES"),
        ("BRAYE QUAY MARINA PLEASE", "BRAYE QUAY MARINA"),
        ("Ennistymon Historical Society. YES Padraig", "Ennistymon Historical Society"),
        ("drainiacs.", "drainiacs"),
        ("KPT Elektro, spol. s r.o.", "KPT Elektro, spol. s r.o."),
        ("Sr. Mary's Convent School", "Sr. Mary's Convent School"),
        ("Lady Bay Bakers", "Lady Bay Bakers"),
        ("Studio 54", "Studio 54"),
    ],
)
def test_what_the_tagger_took_too_much_of_is_cut_off(written: str, value: str) -> None:
    assert name(written) == value


def test_titles_go_from_a_person_and_dots_stay_with_what_they_abbreviate() -> None:
    assert name("Advocate Golam Mostafa Tarafder", person=True) == "Golam Mostafa Tarafder"
    assert name("Kalinga Stevedores & Co", dotted=True) == "Kalinga Stevedores & Co."
    assert name("Agnieszka B", person=True, dotted=True) == "Agnieszka B."
    assert name("Eastern Refractories Ltd", dotted=True) == "Eastern Refractories Ltd"
