"""What the handlers find in the app."""

from aiohttp import web

from scheduler.client import Client
from service.api_keys import ApiKeys
from service.generations import Generations
from service.limits import KeyLimits
from service.metrics import Metrics
from service.settings import ServeSettings
from service.streams import Ticker

SETTINGS = web.AppKey("settings", ServeSettings)
CLIENT = web.AppKey("client", Client)
GENERATIONS = web.AppKey("generations", Generations)
METRICS = web.AppKey("metrics", Metrics)
API_KEYS: web.AppKey[ApiKeys | None] = web.AppKey("api_keys")
"""None: everyone is let in."""
LIMITS = web.AppKey("limits", KeyLimits)
PUBLIC_ROUTES: web.AppKey[frozenset[tuple[str, str]]] = web.AppKey("public_routes")
"""Method and path of the routes that need no key."""
CORS_ORIGINS: web.AppKey[frozenset[str]] = web.AppKey("cors_origins")
"""Origins of the web sites that may use the service; `*` for all."""
SOCKETS: web.AppKey[set[web.WebSocketResponse]] = web.AppKey("sockets")
"""Those that are open."""
TICKER = web.AppKey("ticker", Ticker)
