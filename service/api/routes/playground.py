"""The playground: one page to try the models. It loads nothing from other servers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[2] / "playground"
PAGE = "index.html"

#: Every file of the page. Other files in the folder are not served.
FILES = (
    PAGE,
    "icon.svg",
    "theme.css",
    "layout.css",
    "answers.css",
    "signals.css",
    "api.js",
    "app.js",
    "attachment.js",
    "bytes.js",
    "charts.js",
    "curl.js",
    "dom.js",
    "event_stream.js",
    "fields.js",
    "live_panel.js",
    "metrics_text.js",
    "model_facts.js",
    "model_list.js",
    "plot.js",
    "receipt.js",
    "refusal.js",
    "roving_focus.js",
    "step_cursor.js",
    "theme.js",
    "traffic.js",
    "workbench.js",
    "editors/drawing_pad.js",
    "editors/file_drop.js",
    "editors/picture.js",
    "editors/recorder.js",
    "editors/recorder_worklet.js",
    "editors/series.js",
    "editors/series_text.js",
    "editors/sound.js",
    "editors/text.js",
    "editors/wave.js",
    "views/attention_map.js",
    "views/beam_fields.js",
    "views/captioning.js",
    "views/catalogue.js",
    "views/classification.js",
    "views/forecast_chart.js",
    "views/forecasting.js",
    "views/generation.js",
    "views/picture_attention.js",
    "views/plain_json.js",
    "views/prediction.js",
    "views/signals.js",
    "views/tagging.js",
    "views/translation.js",
)

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: The browser enforces it: no resources from other servers, no requests to them, no inline scripts.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Cached, but revalidated each time, so that after an upgrade no old script runs on a new page.
    "Cache-Control": "no-cache",
}


class PageFile(NamedTuple):
    """One file as it is served."""

    body: bytes
    content_type: str
    etag: str


def _read(name: str) -> PageFile:
    body = (FOLDER / name).read_bytes()
    return PageFile(body, _CONTENT_TYPES[Path(name).suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


_PAGE_FILES = {name: _read(name) for name in FILES}


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The page."""
    return _response(request, _PAGE_FILES[PAGE])


@router.api_route("/playground/{name:path}", methods=["GET", "HEAD"])
async def page_file(request: Request, name: str) -> Response:
    """A script, a style sheet or the icon. Raises HTTPException for files that are not listed."""
    file = _PAGE_FILES.get(name)
    if file is None:
        raise HTTPException(404, "the playground has no such file")
    return _response(request, file)


def _response(request: Request, file: PageFile) -> Response:
    headers = {**_HEADERS, "ETag": file.etag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.content_type)
