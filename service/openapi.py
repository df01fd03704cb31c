"""The OpenAPI document, made from the route table and the pydantic models."""

import re
import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from scheduler.messages import ModelInfo
from scheduler.version import package_version
from service.access import KEY_PARAMETERS
from service.errors import ErrorBody
from service.routes import Answer, Route
from service.schemas import GenerateBody

REFERENCE = "#/components/schemas/{model}"

Json = dict[str, Any]

KEY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "query": {"type": "apiKey", "in": "query", "name": KEY_PARAMETERS[0]},
}
"""How a key is sent, to a service that asks for keys."""


def openapi_document(routes: Sequence[Route], model: ModelInfo | None) -> Json:
    """With a model, the sizes that it can paint and its samplers are in the document."""
    schemas = _schemas(routes)
    if model is not None:
        _bound_sizes(schemas, model)
        _name_samplers(schemas, model)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Latentcast", "version": package_version()},
        "tags": _tags(routes),
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": KEY_SCHEMES},
    }


def _tags(routes: Sequence[Route]) -> list[Json]:
    """One for each module with routes: the first paragraph of its docstring says what it is for."""
    modules = {_tag(route): sys.modules[route.handler.__module__] for route in routes}
    return [
        {"name": tag, "description": (module.__doc__ or "").partition("\n\n")[0]} for tag, module in modules.items()
    ]


def _tag(route: Route) -> str:
    return route.handler.__module__.rpartition(".")[2]


def _schemas(routes: Sequence[Route]) -> dict[str, Json]:
    models: dict[type[BaseModel], None] = {ErrorBody: None}
    for route in routes:
        bodies = (route.body, route.query_body, *(answer.body for answer in route.answers))
        models.update((body, None) for body in bodies if body is not None)
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    schemas: dict[str, Json] = definitions["$defs"]
    return schemas


def _bound_sizes(schemas: dict[str, Json], model: ModelInfo) -> None:
    bounds = {"minimum": model.min_size, "maximum": model.max_size, "multipleOf": model.size_multiple}
    for side, default in (("width", model.default_width), ("height", model.default_height)):
        schemas["ImageSize"]["properties"][side].update(bounds)
        optional = schemas[GenerateBody.__name__]["properties"][side]
        optional["default"] = default
        next(kind for kind in optional["anyOf"] if kind["type"] == "integer").update(bounds)


def _name_samplers(schemas: dict[str, Json], model: ModelInfo) -> None:
    sampler = schemas[GenerateBody.__name__]["properties"]["sampler"]
    next(kind for kind in sampler["anyOf"] if kind["type"] == "string")["enum"] = list(model.samplers)


def _operation(route: Route, schemas: dict[str, Json]) -> Json:
    operation: Json = {
        "tags": [_tag(route)],
        "summary": route.summary,
        "parameters": _parameters(route, schemas),
        "responses": _answers(route.answers) | {str(status): _error(status) for status in _errors(route)},
        "security": [{}] if route.is_public else [{}, *({name: []} for name in KEY_SCHEMES)],
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(route.body)}},
        }
    return operation


def _errors(route: Route) -> list[int]:
    """With keys, any route but a public one may ask for one."""
    return sorted({*route.errors, *(() if route.is_public else (HTTPStatus.UNAUTHORIZED,))})


def _parameters(route: Route, schemas: dict[str, Json]) -> list[Json]:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query_body is not None:
        schema = schemas[route.query_body.__name__]
        parameters += [
            {"name": name, "in": "query", "required": name in schema["required"], "schema": field, **_style(field)}
            for name, field in schema["properties"].items()
        ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.query.items()
    ]
    return parameters


def _style(field: Json) -> Json:
    """The numbers of an array come with commas between."""
    kinds = field.get("anyOf", [field])
    return {"explode": False} if any(kind.get("type") == "array" for kind in kinds) else {}


def _answers(answers: Sequence[Answer]) -> Json:
    return {str(answer.status): _answer(answer) for answer in answers}


def _answer(answer: Answer) -> Json:
    if answer.status == HTTPStatus.NO_CONTENT:
        return {"description": answer.description}
    schema = _reference(answer.body) if answer.body else {"type": "string"}
    return {"description": answer.description, "content": {answer.content_type: {"schema": schema}}}


def _error(status: int) -> Json:
    content = {"application/json": {"schema": _reference(ErrorBody)}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": REFERENCE.format(model=model.__name__)}
