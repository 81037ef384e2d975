"""How settings tests look at a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.domain.errors import SettingsInvalid
from gateway.settings import load


def refused(environ: dict[str, str], cwd: Path) -> list[str]:
    """The lines that `load` refuses these settings with."""
    with pytest.raises(SettingsInvalid) as failure:
        load(environ, cwd)
    assert str(failure.value) == "\n".join(failure.value.errors)
    assert all("\n" not in line for line in failure.value.errors)
    return failure.value.errors
