"""REG201: modes that the program sets through `training` flags."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
    "the flag of the whole only, set by hand": Row(
        """
        def scores(model):
            model.training = False
            with torch.no_grad():
                return model(x)  # <-
        scores(Net())
        """,
        ("REG201 error",),
    ),
    "every flag, set by hand": Row(
        """
        def scores(model):
            for each in model.modules():
                each.training = False
            with torch.no_grad():
                return model(x)
        scores(trained())
        """
    ),
    "dropout switched on again by hand": Row(
        """
        def scores(model):
            model.eval()
            model.drop.training = True
            with torch.no_grad():
                return model(x)  # <-
        scores(trained())
        """,
        ("REG201 info",),
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
