"""The HTML page in a browser: its controls work, and axe-core finds nothing to report in either scheme."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import regcheck
from regcheck.core.finding import Severity
from regcheck.core.patch import Edit, Patch
from regcheck.core.report import Report
from regcheck.report import rendered
from regcheck.report.view import View

BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("axe_playwright_python") is None, reason="needs axe-playwright-python"),
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium or its headless shell"),
]

PATCH = Patch("gate it", True, (Edit(6, 59, 6, 68, "self.rate if self.training else 0.0"),))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.drop(self.body(x))
        return y


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER)
        yield started
        started.close()


@pytest.fixture
def document(report: Report) -> str:
    """A page with all of its parts: findings of each severity, charts, a patch, the graph, and the other sections."""
    audited = regcheck.audit(Net(), torch.ones(8, 8), options={"devices": ["cpu"]})
    findings = [
        replace(report.findings[0], module=f"net.blocks.{number}.attn", severity=severity, patch=PATCH)
        for number, severity in enumerate([*Severity] * 3)
    ]
    rest = {"not_checked": report.not_checked, "refuted": report.refuted}
    whole = replace(audited, findings=(*audited.findings, *findings, report.findings[1]), **rest)
    text = rendered(whole, "html", View(show_refuted=True, command="regcheck audit net.py:Net"))
    assert all(f'id="{each}"' in text for each in ("graph", "not-checked", "coverage"))
    return text


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, document: str, scheme: str, width: int) -> None:
    """axe-core reports no violation in either scheme, in a wide and in a narrow window.

    It leaves nothing to a person, but for the contrast of texts in drawings, which `test_page.py` computes.
    """
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    page.set_content(document)
    found = Axe().run(page, options={"resultTypes": ["violations", "incomplete"]}).response
    page.close()
    assert found["testEngine"]["name"] == "axe-core" and len(found["passes"]) > 20
    violations, left = (
        {(each["id"], node["html"]) for each in found[kind] for node in each["nodes"]}
        for kind in ("violations", "incomplete")
    )
    assert violations == set()
    assert {(rule, html) for rule, html in left if (rule, html[:6]) != ("color-contrast", "<text ")} == set()


def test_the_controls_work(browser: Any, report: Report) -> None:
    """In a window of 400 pixels the controls filter, group and collapse; a link reveals a card that a filter hides.

    The page's own policy is in force.
    """
    findings = [
        replace(report.findings[0], module=f"net.blocks.{number}.attn", severity=severity, patch=PATCH)
        for number, severity in enumerate([*Severity] * 3)
    ]
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.set_content(rendered(replace(report, findings=tuple(findings), live=True), "html"))
    visible = page.locator("article:visible")
    assert visible.count() == 9
    page.select_option("[name=severity]", "=error")
    assert visible.count() == 3 and page.locator("output").text_content() == "3 of 9 shown"
    page.select_option("[name=group]", "severity")
    assert page.locator(".group:visible").count() == 1
    page.select_option("[name=severity]", "")
    assert page.locator(".group > summary").all_text_contents() == ["error (3)", "warning (3)", "info (3)"]
    page.click("[name=collapse]")
    assert page.locator(".cards article details[open]").count() == 0
    page.select_option("[name=severity]", "=info")
    target = page.locator("article.error").first
    assert target.is_hidden()
    page.evaluate("id => { location.hash = id }", target.get_attribute("id"))
    target.wait_for(state="visible")
    assert target.locator("details").get_attribute("open") is not None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
