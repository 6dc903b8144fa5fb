# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pause of Python's garbage collection."""

from __future__ import annotations

import gc

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.garbage import pause_garbage_collection


def test_garbage_collection_resumes_after_an_error() -> None:
    with pytest.raises(ValueError, match="stop"), pause_garbage_collection():
        assert not gc.isenabled()
        raise ValueError("stop")
    assert gc.isenabled()


def test_inner_pause_does_not_end_the_outer_pause() -> None:
    with pause_garbage_collection():
        with pause_garbage_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
