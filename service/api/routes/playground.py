"""The files of the playground: one page to try the models. It loads nothing from other servers."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[2] / "playground"
PAGE = "index.html"

#: Every file of the page. Other files in the folder are not served.
FILES = (
    PAGE,
    "app.js",
    "icon.svg",
    "arrays/editor.js",
    "arrays/outputs.js",
    "arrays/steps_chart.js",
    "charts/arc_diagram.js",
    "charts/arc_layout.js",
    "charts/attention_map.js",
    "charts/forecast_chart.js",
    "charts/line_chart.js",
    "charts/plot.js",
    "charts/step_cursor.js",
    "clips/clip_attention.js",
    "clips/clip_editor.js",
    "clips/clip_frames.js",
    "clips/picture_attention.js",
    "editors/drawing_pad.js",
    "editors/file_drop.js",
    "editors/microphone.js",
    "editors/picture.js",
    "editors/recorder.js",
    "editors/recorder_worklet.js",
    "editors/series.js",
    "editors/series_text.js",
    "editors/sound.js",
    "editors/text.js",
    "editors/thumbnails.js",
    "editors/wave.js",
    "elements/copy.js",
    "elements/copied_words.js",
    "elements/dom.js",
    "elements/roving_focus.js",
    "panels/key_form.js",
    "panels/live_panel.js",
    "panels/model_facts.js",
    "panels/model_list.js",
    "panels/theme.js",
    "panels/traffic.js",
    "requests/api.js",
    "requests/api_key.js",
    "requests/attachment.js",
    "requests/bytes.js",
    "requests/curl.js",
    "requests/event_stream.js",
    "requests/snippets.js",
    "speech/live_session.js",
    "speech/live_stream.js",
    "speech/programs.js",
    "speech/readings.js",
    "speech/refusals.js",
    "speech/speaking.js",
    "speech/timeline.js",
    "speech/transcript.js",
    "styles/answers.css",
    "styles/details.css",
    "styles/layout.css",
    "styles/parsing.css",
    "styles/signals.css",
    "styles/speech.css",
    "styles/theme.css",
    "views/captioning.js",
    "views/catalogue.js",
    "views/classification.js",
    "views/forecasting.js",
    "views/generation.js",
    "views/parsing.js",
    "views/plain_json.js",
    "views/prediction.js",
    "views/signals.js",
    "views/tagging.js",
    "views/transcription.js",
    "views/translation.js",
    "views/video.js",
    "workbench/beam_fields.js",
    "workbench/examples.js",
    "workbench/fields.js",
    "workbench/receipt.js",
    "workbench/refusal.js",
    "workbench/workbench.js",
)

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: The browser enforces it: no resources from other servers, no requests to them, no inline scripts.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

#: Cached, but revalidated each time, so that after an upgrade no old script runs on a new page.
_REVALIDATED = "no-cache"
#: For addresses that name the digest of the files: their content never changes.
_IMMUTABLE = "public, max-age=31536000, immutable"
_PREFIX = "playground/"
_DIGEST_CHARACTERS = 16


class PageFile(NamedTuple):
    """One file as it is served."""

    body: bytes
    content_type: str
    etag: str


def _served(body: bytes, name: str) -> PageFile:
    return PageFile(body, _CONTENT_TYPES[Path(name).suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _digest(files: Mapping[str, PageFile]) -> str:
    """One digest over all files: scripts import each other by relative addresses, so they are cached together."""
    etags = "".join(f"{name}{file.etag}" for name, file in sorted(files.items()))
    return hashlib.sha256(etags.encode()).hexdigest()[:_DIGEST_CHARACTERS]


_FILES = {name: _served((FOLDER / name).read_bytes(), name) for name in FILES}
#: Digest of all files, a folder in the addresses that the page loads.
DIGEST = _digest(_FILES)
_PAGE = _served(_FILES[PAGE].body.replace(_PREFIX.encode(), f"{_PREFIX}{DIGEST}/".encode()), PAGE)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The page. Its scripts and style sheets are addressed by their digest.

    Programs of KServe ask here whether the server is alive. A browser says that it takes `text/html`; they do not.
    """
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"status": "alive"}, headers={**SECURITY_HEADERS, "Vary": "Accept"})
    response = _response(request, _PAGE, _REVALIDATED)
    response.headers["Vary"] = "Accept"
    return response


@router.api_route("/playground/{name:path}", methods=["GET", "HEAD"])
async def page_file(request: Request, name: str) -> Response:
    """A script, a style sheet or the icon. Raises HTTPException for files that are not listed.

    An address with the digest of another release is answered too, uncached: during a rollout the page may come from
    one replica and its scripts from the next.
    """
    folder, _, rest = name.partition("/")
    has_digest = len(folder) == _DIGEST_CHARACTERS and set(folder) <= set(string.hexdigits)
    file = _FILES.get(rest if has_digest else name)
    if file is None:
        raise HTTPException(404, "the playground has no such file")
    return _response(request, file, _IMMUTABLE if folder == DIGEST else _REVALIDATED)


def _response(request: Request, file: PageFile, cache_control: str) -> Response:
    headers = {**SECURITY_HEADERS, "Cache-Control": cache_control, "ETag": file.etag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.content_type)
