import json
from typing import Any

import msgspec

from service.app import ROUTES
from service.openapi import openapi_document
from tests.service.harness import MODEL, Service


def references(node: object) -> set[str]:
    """All `$ref`s in a document."""
    if isinstance(node, dict):
        found = {str(value) for name, value in node.items() if name == "$ref"}
        return found.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


def body_schema(document: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = document["components"]["schemas"]["GenerateBody"]["properties"]
    return schema


def test_every_route_is_in_it() -> None:
    document = openapi_document(ROUTES, MODEL)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}


def test_every_route_belongs_to_an_interface_that_is_described() -> None:
    document = openapi_document(ROUTES, MODEL)
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    used = [operation["tags"] for methods in document["paths"].values() for operation in methods.values()]
    assert {tag for tags in used for tag in tags} == set(described)
    assert all(len(tags) == 1 for tags in used)
    assert described["native"].startswith("The native interface: ")


def test_every_reference_leads_somewhere() -> None:
    document = openapi_document(ROUTES, MODEL)
    for reference in references(document):
        node: Any = document
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]


def test_every_field_tells_its_range() -> None:
    fields = body_schema(openapi_document(ROUTES, MODEL))
    steps = fields["num_inference_steps"]
    assert (steps["minimum"], steps["maximum"], steps["default"]) == (1, 50, 20)
    sides = {"type": "integer", "minimum": 64, "maximum": 1024, "multipleOf": 8}
    for side in ("width", "height"):
        assert fields[side]["default"] == 256
        assert sides in fields[side]["anyOf"]


def test_the_samplers_are_those_that_are_served() -> None:
    limited = msgspec.structs.replace(MODEL, samplers=("euler", "lcm"))
    assert body_schema(openapi_document(ROUTES, limited))["sampler"]["anyOf"][0]["enum"] == ["euler", "lcm"]
    assert len(body_schema(openapi_document(ROUTES, None))["sampler"]["anyOf"][0]["enum"]) == 6


def test_every_field_says_what_it_is() -> None:
    fields = body_schema(openapi_document(ROUTES, MODEL))
    plain = {"preview_quality", "preview_format", "image_quality"}  # these need no words
    assert {name for name, field in fields.items() if not field.get("description")} == plain


def test_numbers_of_a_pair_have_a_comma_between_in_a_query() -> None:
    parameters = openapi_document(ROUTES, MODEL)["paths"]["/generate"]["get"]["parameters"]
    pairs = {parameter["name"] for parameter in parameters if parameter.get("explode") is False}
    assert pairs == {"original_size", "target_size", "crops_coords_top_left"}


def test_before_the_model_is_loaded_sizes_are_open() -> None:
    assert "minimum" not in json.dumps(body_schema(openapi_document(ROUTES, None))["width"])


def test_a_query_has_the_fields_of_the_body() -> None:
    parameters = openapi_document(ROUTES, MODEL)["paths"]["/generate"]["get"]["parameters"]
    by_name = {parameter["name"]: parameter for parameter in parameters}
    assert by_name["prompt"]["required"]
    assert not by_name["seed"]["required"]
    assert by_name["encoding"]["in"] == "query"


def test_routes_that_may_ask_for_a_key_say_so() -> None:
    paths = openapi_document(ROUTES, MODEL)["paths"]
    stream = paths["/stream"]["post"]
    assert stream["security"] == [{}, {"bearer": []}, {"query": []}]
    assert "401" in stream["responses"]
    page = paths["/"]["get"]
    assert page["security"] == [{}]
    assert "401" not in page["responses"]


async def test_it_is_served(service: Service) -> None:
    answer = await service.http.get("/openapi.json")
    assert (await answer.json())["openapi"] == "3.1.0"
