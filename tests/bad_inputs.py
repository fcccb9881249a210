"""More than three hundred requests that are wrong in some way, each with the status it must get."""

from collections.abc import Iterator
from dataclasses import dataclass, field

_JSON = {"Content-Type": "application/json"}
_BIG = b"x" * 1_048_577


@dataclass(frozen=True)
class BadInput:
    """One request, and the status of its answer."""

    status: int
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For the report of a failure."""
        headers = " ".join(f"{name}={value}" for name, value in self.headers.items())
        return f"{self.method} {self.path[:60]} {self.body[:60]!r} {headers[:60]}"


# No route takes these as a JSON object.
_NO_OBJECT: tuple[tuple[int, bytes], ...] = (
    (400, b""),
    (400, b" "),
    (400, b"\n\n"),
    (400, b"\x00"),
    (400, b"null"),
    (400, b"true"),
    (400, b"1"),
    (400, b"1.5"),
    (400, b'"text"'),
    (400, b"[]"),
    (400, b'[{"amount": 1}]'),
    (400, b"{"),
    (400, b"}"),
    (400, b"{}}"),
    (400, b"{]"),
    (400, b"{'amount': 1}"),
    (400, b"{amount: 1}"),
    (400, b'{"amount": 1,}'),
    (400, b'{"amount" 1}'),
    (400, b'{"amount": }'),
    (400, b'{"amount": 1'),
    (400, b'{"amount": 1} {"amount": 2}'),
    (400, b'{"amount": 1}x'),
    (400, b'{"amount": 1}\x00'),
    (400, b'{"amount": NaN}'),
    (400, b'{"amount": -NaN}'),
    (400, b'{"amount": nan}'),
    (400, b'{"amount": Infinity}'),
    (400, b'{"amount": -Infinity}'),
    (400, b'{"amount": 1e999}'),
    (400, b'{"amount": -1e999}'),
    (400, b'{"amount": 01}'),
    (400, b'{"amount": +1}'),
    (400, b'{"amount": .5}'),
    (400, b'{"amount": 5.}'),
    (400, b'{"amount": 0x10}'),
    (400, b'{"amount": 1_000}'),
    (400, b'{"amount": 1e}'),
    (400, b'{"amount": ' + b"9" * 5_000 + b"}"),
    (400, b'{"amount": 1, "amount": 2}'),
    (400, b'{"amount": 1, "x": {"a": 1, "a": 1}}'),
    (400, b'{"amount": 1, "\\u0061mount": 2}'),
    (400, b'{"x": [{"a": 1}, {"b": 1, "b": 2}], "amount": 1}'),
    (400, b'{"tx_id": "\xff"}'),
    (400, b'{"tx_id": "\xc3"}'),
    (400, b'{"tx_id": "\xed\xa0\x80"}'),
    (400, b'{"tx_id": "\\ud800"}'),
    (400, b'{"tx_id": "\\udc00\\ud800"}'),
    (400, b'{"tx_id": "\\x41"}'),
    (400, b'{"tx_id": "\\u12"}'),
    (400, b'{"tx_id": "a\nb"}'),
    (400, b'{"tx_id": "a\tb"}'),
    (400, b'{"tx_id": "open}'),
    (400, b'\xef\xbb\xbf{"amount": 1}'),
    (400, '{"amount": 1}'.encode("utf-16")),
    (400, '{"amount": 1}'.encode("utf-32")),
    (400, b'{"amount": 1} // a comment'),
    (400, b'/* a comment */ {"amount": 1}'),
    (400, b"amount=1&tx_id=2"),
    (400, b"<amount>1</amount>"),
    (400, b"--boundary\r\nContent-Disposition: form-data\r\n\r\n1\r\n--boundary--"),
    (400, b'{"a": ' * 65 + b"1" + b"}" * 65),
    (400, b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}"),
    (400, b'{"a": ' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    (400, b'{"a": ' + b"[" * 100_000),
    (413, b'{"x": "' + _BIG + b'"}'),
)

_ENCODINGS: tuple[dict[str, str], ...] = (
    {"Content-Type": "application/json; charset=latin-1"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": 'application/json;charset="iso-8859-1"'},
    {"Content-Type": "text/plain; charset=windows-1252"},
    {"Content-Type": "application/json; charset=none-such"},
    {"Content-Encoding": "gzip"},
    {"Content-Encoding": "br"},
    {"Content-Encoding": "deflate, gzip"},
    {"Content-Encoding": "zstd"},
)

_BULK_ENCODINGS: tuple[dict[str, str], ...] = (
    {"Content-Type": "application/x-ndjson; charset=latin-1"},
    {"Content-Type": "application/xml"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Encoding": "br"},
    {"Content-Encoding": "gzip, gzip"},
)
_ARROW = "application/vnd.apache.arrow.stream"
_NO_ROWS: tuple[tuple[str, bytes], ...] = (
    ("text/plain", b"\xff\xfe1\x00"),
    ("text/csv", b""),
    ("text/csv", b"a,b\n1,2\n"),
    ("text/csv", b"amount,amount,email,email\n1,1,1,1\n"),
    ("text/csv", b"\xff\n1\n"),
    (_ARROW, b""),
    (_ARROW, b"ARROW1\x00\x00"),
    (_ARROW, b"\xff\xff\xff\xff\xff\xff\xff\x7f"),
    (_ARROW, b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"\x00" * 16),
)

_SCORES: tuple[bytes, ...] = (
    b"{}",
    b'{"tx_id": "TX1"}',
    b'{"Amount": 1}',
    b'{"amount": null}',
    b'{"amount": "12"}',
    b'{"amount": ""}',
    b'{"amount": true}',
    b'{"amount": []}',
    b'{"amount": {}}',
    b'{"amount": -1}',
    b'{"amount": -0.01}',
    b'{"amount": 1e13}',
    b'{"amount": 1e308}',
    b'{"amount": 1000000000001}',
    b'{"amount": 123456789012345678901234567890}',
    b'{"amount": 1, "hour": 24}',
    b'{"amount": 1, "hour": -1}',
    b'{"amount": 1, "hour": 1.5}',
    b'{"amount": 1, "hour": "3"}',
    b'{"amount": 1, "hour": true}',
    b'{"amount": 1, "hour": []}',
    b'{"amount": 1, "hour": 1e30}',
    b'{"amount": 1, "hour": 99999999999999999999}',
    b'{"amount": 1, "timestamp": "soon"}',
    b'{"amount": 1, "timestamp": ""}',
    b'{"amount": 1, "timestamp": 1772334000}',
    b'{"amount": 1, "timestamp": "1772334000"}',
    b'{"amount": 1, "timestamp": "2026-02-30T00:00:00Z"}',
    b'{"amount": 1, "timestamp": "2026-03-01T25:00:00Z"}',
    b'{"amount": 1, "timestamp": true}',
    b'{"amount": 1, "tx_id": null}',
    b'{"amount": 1, "tx_id": true}',
    b'{"amount": 1, "tx_id": []}',
    b'{"amount": 1, "tx_id": {}}',
    b'{"amount": 1, "tx_id": "a\\u0000b"}',
    b'{"amount": 1, "tx_id": "' + b"a" * 201 + b'"}',
    b'{"amount": 1, "category": 5, "store": "\\u0000"}',
    b'{"amount": 1, "category": true}',
    b'{"amount": 1, "category": ["food"]}',
    b'{"amount": 1, "category": "' + b"a" * 201 + b'"}',
    b'{"amount": 1, "store": {}}',
    b'{"amount": 1, "store": "' + b"a" * 201 + b'"}',
    b'{"amount": 1, "customer_id": false}',
    b'{"amount": 1, "customer_id": "' + b"a" * 201 + b'"}',
)

_EMAILS: tuple[bytes, ...] = (
    b"{}",
    b'{"email": null}',
    b'{"email": ""}',
    b'{"email": 5}',
    b'{"email": true}',
    b'{"email": []}',
    b'{"email": {"text": "pay"}}',
    b'{"mail": "pay"}',
    b'{"EMAIL": "pay"}',
    b'{"email": "' + b"a" * 200_001 + b'"}',
)

_FORM = b'"accountA": "Harper Ltd", "accountB": "Contoso GmbH"'
_PAYMENTS: tuple[bytes, ...] = (
    b"{}",
    b"{" + _FORM + b"}",
    b'{"accountA": "Harper Ltd", "amount": 5}',
    b'{"accountB": "Harper Ltd", "amount": 5}',
    b'{"accountA": "", "accountB": "Contoso", "amount": 5}',
    b'{"accountA": " ", "accountB": "Contoso", "amount": 5}',
    b'{"accountA": null, "accountB": "Contoso", "amount": 5}',
    b'{"accountA": 5, "accountB": "Contoso", "amount": 5}',
    b'{"accountA": ["x"], "accountB": "Contoso", "amount": 5}',
    b'{"accountA": "a\\u0000b", "accountB": "Contoso", "amount": 5}',
    b'{"accountA": "' + b"a" * 71 + b'", "accountB": "Contoso", "amount": 5}',
    b'{"accountA": "//x", "accountB": "Contoso", "amount": 5}',
    b'{"accountA": "Harper <b>", "accountB": "Contoso", "amount": 5}',
    b'{"accountA": "...", "accountB": "Contoso", "amount": 5}',
    b"{" + _FORM + b', "amount": 0}',
    b"{" + _FORM + b', "amount": -5}',
    b"{" + _FORM + b', "amount": null}',
    b"{" + _FORM + b', "amount": true}',
    b"{" + _FORM + b', "amount": "x"}',
    b"{" + _FORM + b', "amount": ""}',
    b"{" + _FORM + b', "amount": "1,250.00"}',
    b"{" + _FORM + b', "amount": "1e3"}',
    b"{" + _FORM + b', "amount": "NaN"}',
    b"{" + _FORM + b', "amount": "-5"}',
    b"{" + _FORM + b', "amount": 1.234}',
    b"{" + _FORM + b', "amount": 1e30}',
    b"{" + _FORM + b', "amount": "' + b"9" * 40 + b'"}',
    b"{" + _FORM + b', "amount": [5]}',
    b"{" + _FORM + b', "amount": 5, "currency": "XXQ"}',
    b"{" + _FORM + b', "amount": 5, "currency": ""}',
    b"{" + _FORM + b', "amount": 5, "currency": 978}',
    b"{" + _FORM + b', "amount": 5.5, "currency": "JPY"}',
    b"{" + _FORM + b', "amount": 5, "creditorAccount": "DE00"}',
    b"{" + _FORM + b', "amount": 5, "creditorAgent": "NOBIC"}',
    b"{" + _FORM + b', "amount": 5, "debtorAccount": "GB00"}',
    b"{" + _FORM + b', "amount": 5, "remittance": ""}',
    b"{" + _FORM + b', "amount": 5, "remittance": "' + b"a" * 141 + b'"}',
    b"{" + _FORM + b', "amount": 5, "executionDate": "tomorrow"}',
    b"{" + _FORM + b', "amount": 5, "executionDate": "2000-01-01"}',
    b"{" + _FORM + b', "amount": 5, "remitance": "misspelt"}',
    b"{" + _FORM + b', "amount": 5, "override": {}}',
    b"{" + _FORM + b', "amount": 5, "override": {"decision_id": "x", "reason": ""}}',
    b"{" + _FORM + b', "amount": 5, "override": "yes"}',
)

_QUERIES: tuple[str, ...] = (
    "limit=0",
    "limit=201",
    "limit=-1",
    "limit=1.5",
    "limit=",
    "limit=x",
    "limit=1e2",
    "limit=%D9%A3",
    "limit=99999999999999999999",
    "limit=1&limit=2",
    "limit=%00",
    "cursor=zzz",
    "cursor=1",
    "cursor=.",
    "cursor=-1.5",
    "cursor=99999999999999999999.1",
    "unknown=1",
    "limt=5",
)
_FILTERS: tuple[str, ...] = (
    "level=",
    "level=high",
    "level=SEVERE",
    "level=2",
    "level=HIGH&level=LOW",
    "since=yesterday",
    "since=1772334000",
    "since=2026-02-30",
    "since=2026-03-01T00:00:00+02:00",  # a + in a query is a space
    "until=",
    "until=12:00",
    "store=%00",
    "store=" + "a" * 201,
    "stroe=Berlin",
)

_PATHS: tuple[tuple[int, str], ...] = (
    (404, "/nope"),
    (404, "/score/"),
    (404, "/stats/"),
    (404, "/Score"),
    (404, "/score/extra"),
    (404, "//score"),
    (404, "/score%2f"),
    (404, "/.env"),
    (404, "/admin"),
    (404, "/healthz"),
    (404, "/docs.json"),
    (404, "/static_content/index.css"),
    (404, "/desk/../../settings.py"),
    (404, "/%2e%2e/%2e%2e/etc/passwd"),
    (404, "/pages/index.html"),
    (404, "/%ff%fe"),
    (404, "/" + "a" * 8_000),
    (404, "/payment/none"),
    (404, "/payment/" + "a" * 2_000),
    (404, "/payment/%F0%9F%92%B8"),
    (400, "/payment/%00"),
    (404, "/payment/"),
    (404, "/payment/a/b"),
    (404, "/score/jobs/none"),
    (404, "/score/jobs/none/result"),
    (404, "/predict/jobs/" + "a" * 2_000),
    (400, "/predict/jobs/%00"),
    (404, "/transaction/never-scored"),
    (404, "/transaction/"),
    (404, "/transaction/" + "a" * 2_000),
    (404, "/transaction/%ff"),
    (404, "/transaction/'; DROP TABLE decisions; --"),
    (400, "/transaction/a%00b"),
    (400, "/transaction/%00"),
    (400, "/transaction/TX0042%0A"),
    (400, "/hello%0A"),
    (400, "/transaction/a%0Ab"),
    (400, "/hello?name=%00"),
    (400, "/hello?name=a&name=b"),
    (400, "/stats?%00"),
)

_METHODS: tuple[tuple[str, str], ...] = tuple(
    (method, path)
    for path, allowed in {
        "/score": "POST",
        "/predict": "POST",
        "/score/bulk": "POST",
        "/predict/bulk": "POST",
        "/score/jobs": "POST",
        "/payment": "POST",
        "/echo": "POST",
        "/stats": "GET",
        "/decisions": "GET",
        "/transaction/TX1": "GET",
        "/payments": "GET",
        "/health": "GET",
        "/livez": "GET",
        "/openapi.json": "GET",
        "/schema.json": "GET",
        "/": "GET",
    }.items()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")
    if method != allowed
)


def bad_inputs() -> Iterator[BadInput]:
    """All of them."""
    for path in ("/score", "/predict", "/payment", "/echo"):
        for status, body in _NO_OBJECT:
            yield BadInput(status, "POST", path, body, _JSON)
        for headers in _ENCODINGS:
            yield BadInput(415, "POST", path, b'{"amount": 1}', headers)
        yield BadInput(413, "POST", path, b"", {**_JSON, "Content-Length": "99999999999"})
    yield from _bulk_inputs()
    for path, bodies in {"/score": _SCORES, "/predict": _EMAILS, "/payment": _PAYMENTS}.items():
        for body in bodies:
            yield BadInput(400, "POST", path, body, _JSON)
    for key in ("", "a" * 256):
        yield BadInput(400, "POST", "/score/jobs", b'{"amount": 1}', {"Idempotency-Key": key})
        good = b"{" + _FORM + b', "amount": 5}'
        yield BadInput(400, "POST", "/payment", good, {**_JSON, "Idempotency-Key": key})
    unknown = b'{"decision_id": "none", "reason": "it is meant"}'
    yield BadInput(
        422, "POST", "/payment", b"{" + _FORM + b', "amount": 5, "override": ' + unknown + b"}"
    )
    for query in _QUERIES:
        yield BadInput(400, "GET", f"/decisions?{query}")
        yield BadInput(400, "GET", f"/payments?{query}")
    for query in _FILTERS:
        yield BadInput(400, "GET", f"/decisions?{query}")
        yield BadInput(400, "GET", f"/decisions.csv?{query}")
    for query in ("limit=5", "cursor=1.1"):
        yield BadInput(400, "GET", f"/decisions.csv?{query}")
    for status, path in _PATHS:
        yield BadInput(status, "GET", path)
    for method, path in _METHODS:
        yield BadInput(405, method, path)
    for headers in (
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example:3000"},
        {"Host": "10.0.0.1"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "file://"},
    ):
        yield BadInput(403, "POST", "/score", b'{"amount": 1}', headers)


def _bulk_inputs() -> Iterator[BadInput]:
    for path in ("/score/bulk", "/predict/bulk", "/score/jobs", "/predict/jobs"):
        yield BadInput(413, "POST", path, b"", {"Content-Length": "99999999999"})
        for headers in _BULK_ENCODINGS:
            yield BadInput(415, "POST", path, b'{"amount": 1}', headers)
        for kind, body in _NO_ROWS:
            yield BadInput(400, "POST", path, body, {"Content-Type": kind})
