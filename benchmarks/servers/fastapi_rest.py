"""The REST call as usually written with FastAPI: Redis, json and a dependency for the token."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Annotated, Any

import jwt
import redis.asyncio as redis
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

app = FastAPI()
store = redis.from_url(os.environ["REDIS_URL"])
bearer = HTTPBearer()


def subject(sent: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    """Return the subject of the token."""
    try:
        claims = jwt.decode(sent.credentials, os.environ["JWT_SECRET"], algorithms=["HS256"])
    except jwt.PyJWTError as error:
        raise HTTPException(401, "invalid token") from error
    return str(claims["sub"])


@app.get("/live/data/overview/contract/name")
async def overview(
    contract_names: Annotated[list[str], Query()], who: Annotated[str, Depends(subject)]
) -> dict[str, Any]:
    """Static fields and last states."""
    del who
    keys = [f"bench:{kind}:{name}" for name in contract_names for kind in ("static", "last")]
    found = await store.mget(keys)
    data = {}
    for name, static, last in zip(contract_names, found[::2], found[1::2], strict=True):
        data[name] = {**json.loads(static), **json.loads(last)} if static and last else None
    status = {
        "State": True,
        "ServerTimeStamp": time.time(),
        "Version": "1.0",
        "Author": "somebody",
        "Description": {"fa": "موفق", "en": "successful"},
        "StatusCode": 200,
    }
    return {"Data": data, "Status": status}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop")
