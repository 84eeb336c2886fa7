"""Map refusals to HTTP status codes and headers, for server-sent events and REST calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from ime_live.errors import AuthenticationError, CloseCode, LimitError, RefusedError
from ime_live.gateway.auth.cors import FOREIGN_ORIGIN
from ime_live.gateway.query.stream_query import NOT_COVERED, UNKNOWN

_BY_KIND: Final = {UNKNOWN: 404, NOT_COVERED: 403, FOREIGN_ORIGIN: 403}
_BY_CODE: Final = {CloseCode.TRY_AGAIN_LATER: 503, CloseCode.INTERNAL_ERROR: 500}


def status_of(refusal: RefusedError) -> int:
    """Return the HTTP status: 401, 403, 404, 429, 500, 503, or 422 for a wrong parameter."""
    if isinstance(refusal, AuthenticationError):
        return 401
    if isinstance(refusal, LimitError):
        return refusal.status
    return _BY_CODE.get(refusal.code) or _BY_KIND.get(refusal.kind, 422)


def headers_of(refusal: RefusedError) -> Mapping[str, str]:
    """Return the additional headers of the response, such as ``Retry-After``."""
    if isinstance(refusal, LimitError):
        return {"Retry-After": str(math.ceil(refusal.retry_after))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(refusal, AuthenticationError) else {}
