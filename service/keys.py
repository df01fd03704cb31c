"""What the handlers find in the app."""

from aiohttp import web

from scheduler.client import Client
from service.generations import Generations
from service.metrics import Metrics
from service.settings import ServeSettings
from service.streams import Ticker

SETTINGS = web.AppKey("settings", ServeSettings)
CLIENT = web.AppKey("client", Client)
GENERATIONS = web.AppKey("generations", Generations)
METRICS = web.AppKey("metrics", Metrics)
TICKER = web.AppKey("ticker", Ticker)
