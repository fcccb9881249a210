"""The OpenAPI document as one page to read, which needs no script and loads nothing."""

from html import escape
from typing import Any

import orjson


def docs_page(document: dict[str, Any]) -> str:
    """The page."""
    operations = "".join(
        _operation(path, method, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    info = document["info"]
    about = "".join(f"<p>{escape(part)}</p>" for part in info["description"].split("\n\n"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Paydesk {escape(info["version"])}: the HTTP contract</title>
<link rel="stylesheet" href="/desk/desk.css">
</head>
<body>
<main class="reading">
<h1>Paydesk {escape(info["version"])}</h1>
{about}
<p>The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>
{operations}
</main>
</body>
</html>
"""


def _operation(path: str, method: str, op: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"<h2><code>{method.upper()} {escape(path)}</code></h2>"]
    parts.append(f"<p>{escape(op['summary'])} {escape(op.get('description', ''))}</p>")
    if op["parameters"]:
        parts.append(_table(("parameter", "in", "meaning"), map(_parameter, op["parameters"])))
    for media, content in op.get("requestBody", {}).get("content", {}).items():
        parts.append(
            f"<p>Body, {escape(media)}:</p>{_example(content)}{_fields(content, document)}"
        )
    rows = []
    for status, response in op["responses"].items():
        if status < "400":
            parts.append(f"<p>Answer {status}: {escape(response['description'])}</p>")
            parts.extend(_example(content) for content in response["content"].values())
        else:
            rows.append((status, response["description"]))
    parts.append(_table(("error", "meaning"), rows))
    return f"<section>{''.join(parts)}</section>"


def _parameter(parameter: dict[str, Any]) -> tuple[str, str, str]:
    return parameter["name"], parameter["in"], parameter.get("description", "")


def _fields(content: dict[str, Any], document: dict[str, Any]) -> str:
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    schema = document["components"]["schemas"].get(name, {})
    required = schema.get("required", [])
    rows = [
        (field, "yes" if field in required else "", about.get("description", ""))
        for field, about in schema.get("properties", {}).items()
    ]
    return _table(("field", "required", "meaning"), rows) if rows else ""


def _example(content: dict[str, Any]) -> str:
    examples = content.get("examples", {})
    return "".join(f"<pre>{escape(_text(each['value']))}</pre>" for each in examples.values())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _table(headings: tuple[str, ...], rows: Any) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
