"""Accessibility checks for every page, evaluated in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page, ViewportSize

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
PHONE: ViewportSize = {"width": 360, "height": 740}
#: Roles that require an accessible name.
NEEDS_A_NAME = {"button", "link", "textbox", "slider", "spinbutton", "checkbox", "option", "listbox", "img", "region"}

_LOW_CONTRAST = (Path(__file__).parent / "low_contrast.js").read_text(encoding="utf-8")


def contrast_of(page: Page) -> Any:
    """`found`: text nodes with too little contrast; `seen`: the number of text nodes checked."""
    return page.evaluate(_LOW_CONTRAST)


def named_parts(page: Page) -> list[tuple[str, str]]:
    """Return role and name of every node in the accessibility tree."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]


def nameless_roles(page: Page) -> list[str]:
    return [role for role, name in named_parts(page) if role in NEEDS_A_NAME and not name.strip()]


def width_of(page: Page) -> int:
    """Return the width of the page content, which exceeds the viewport if the page scrolls horizontally."""
    width: int = page.evaluate("document.documentElement.scrollWidth")
    rights: list[float] = page.locator("button, textarea, input, select, .answer").evaluate_all(
        "nodes => nodes.map(node => Math.floor(node.getBoundingClientRect().right))"
    )
    return int(max(width, *rights))
