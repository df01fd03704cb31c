import json
import math
from typing import Any

import msgspec
import pytest

from scheduler.messages import DeviceMemory, ModelInfo, StepPeak
from scheduler.request import GenerateParams
from scheduler.room import USABLE
from service.errors import ApiError
from service.schemas import GenerateBody
from service.sizes import NAMED_SIZES, NamedSize, fit_named_size
from tests.service.harness import MODEL


def parse_all(model: ModelInfo = MODEL, **fields: object) -> list[GenerateParams]:
    """One for each image."""
    return GenerateBody.parse(json.dumps({"prompt": "a", "seed": 0, **fields}).encode(), model).to_params(model)


def parse(**fields: Any) -> GenerateParams:
    return parse_all(**fields)[0]


def parse_query(**fields: str) -> GenerateParams:
    return GenerateBody.parse_strings({"prompt": "a", **fields}, MODEL).to_params(MODEL)[0]


def problems(**fields: object) -> dict[str, str]:
    """Messages by field."""
    with pytest.raises(ApiError) as caught:
        parse(**fields)
    assert caught.value.status == 422
    return {problem.param or "": problem.msg for problem in caught.value.problems}


def test_the_defaults_are_those_of_the_parameters() -> None:
    assert parse() == GenerateParams(prompt="a", width=256, height=256)


def test_every_field_is_taken_over() -> None:
    assert parse(
        prompt="b",
        negative_prompt="c",
        num_inference_steps=7,
        width=128,
        height=192,
        guidance_scale=2.5,
        guidance_rescale=0.7,
        sampler="lcm",
        seed=3,
        preview_every=1,
        preview_interval_ms=1500,
        preview_size=64,
        preview_quality=50,
        preview_format="webp",
        image_format="png",
        image_quality=80,
        original_size=[768, 1024],
        target_size=[512, 640],
        crops_coords_top_left=[16, 0],
        priority=-3,
        deadline_ms=2500,
    ) == GenerateParams(
        prompt="b",
        negative_prompt="c",
        num_steps=7,
        width=128,
        height=192,
        guidance_scale=2.5,
        guidance_rescale=0.7,
        sampler="lcm",
        seed=3,
        preview_every=1,
        preview_interval=1.5,
        preview_size=64,
        preview_quality=50,
        preview_format="webp",
        image_format="png",
        image_quality=80,
        original_size=(768, 1024),
        target_size=(512, 640),
        crop=(16, 0),
        priority=-3,
        deadline=2.5,
    )


def test_no_negative_prompt_and_an_empty_one_differ() -> None:
    assert parse(negative_prompt=None).negative_prompt is None
    assert parse(negative_prompt="").negative_prompt == ""
    assert parse().negative_prompt == "blurry, low quality"


def test_a_random_seed_is_chosen_where_none_is_given() -> None:
    seeds = {parse(seed=None).seed for _ in range(8)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_each_image_has_a_seed_of_its_own_and_nothing_else() -> None:
    images = parse_all(seed=7, num_images=4)
    assert [image.seed for image in images] == [7, 8, 9, 10]
    assert {msgspec.structs.replace(image, seed=0) for image in images} == {parse()}


def test_after_the_last_seed_comes_the_first() -> None:
    assert [image.seed for image in parse_all(seed=2**32 - 2, num_images=3)] == [2**32 - 2, 2**32 - 1, 0]


def test_guidance_takes_as_many_rows_as_the_model_needs() -> None:
    distilled = msgspec.structs.replace(MODEL, guidance_rows=1)
    assert [image.num_rows for model in (MODEL, distilled) for image in parse_all(model)] == [2, 1]


def test_a_sampler_that_the_model_cannot_have_is_refused() -> None:
    limited = msgspec.structs.replace(MODEL, samplers=("euler", "lcm"))
    assert parse_all(limited, sampler="lcm")[0].sampler == "lcm"
    with pytest.raises(ApiError, match=r"^sampler: must be one of euler, lcm$"):
        parse_all(limited, sampler="ddim")


def test_sizes_to_imagine_may_be_objects_as_fal_has_them() -> None:
    asked = parse(original_size={"width": 1024, "height": 768}, target_size=None)
    assert (asked.original_size, asked.target_size) == ((768, 1024), None)


def test_a_whole_number_is_a_number() -> None:
    assert parse(guidance_scale=3).guidance_scale == 3.0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prompt", "", "must not be empty"),
        ("prompt", "a" * 2001, "must be at most 2000 characters long"),
        ("prompt", None, "must be a string"),
        ("prompt", 3, "must be a string"),
        ("prompt", "\ud800", "must be valid Unicode text"),
        ("negative_prompt", ["a"], "must be a string"),
        ("negative_prompt", "a" * 2001, "must be at most 2000 characters long"),
        ("num_inference_steps", 0, "must be at least 1"),
        ("num_inference_steps", 51, "must be at most 50"),
        ("num_inference_steps", "20", "must be a whole number"),
        ("num_inference_steps", 20.0, "must be a whole number"),
        ("num_inference_steps", True, "must be a whole number"),
        ("num_inference_steps", None, "must be a whole number"),
        ("width", 100, "must be a multiple of 8"),
        ("width", 56, "must be at least 64"),
        ("height", 1032, "must be at most 1024"),
        ("height", "256", "must be a whole number"),
        ("height", -8, "must be at least 64"),
        ("image_size", 512, "must be a JSON object"),
        ("guidance_scale", math.nan, "must be a finite number"),
        ("guidance_scale", math.inf, "must be a finite number"),
        ("guidance_scale", -0.1, "must be at least 0"),
        ("guidance_scale", 20.1, "must be at most 20"),
        ("guidance_scale", "5", "must be a number"),
        ("guidance_scale", False, "must be a number"),
        ("seed", -1, "must be at least 0"),
        ("seed", 2**32, "must be at most 4294967295"),
        ("seed", 1.5, "must be a whole number"),
        ("guidance_rescale", -0.1, "must be at least 0"),
        ("guidance_rescale", 1.1, "must be at most 1"),
        ("num_images", 0, "must be at least 1"),
        ("num_images", 5, "must be at most 4"),
        ("num_images", None, "must be a whole number"),
        ("preview_interval_ms", -1, "must be at least 0"),
        ("preview_interval_ms", 60_001, "must be at most 60000"),
        ("original_size", [768], "must be [height, width], such as [768, 1024]"),
        ("original_size", 768, "must be [height, width], such as [768, 1024]"),
        ("original_size", {"width": 768}, "must be [height, width], such as [768, 1024]"),
        ("target_size", [768, 1024, 3], "must be [height, width], such as [768, 1024]"),
        ("crops_coords_top_left", None, "must be [top, left], such as [0, 64]"),
        ("crops_coords_top_left", {"width": 0, "height": 0}, "must be [top, left], such as [0, 64]"),
        ("priority", 11, "must be at most 10"),
        ("priority", -11, "must be at least -10"),
        ("deadline_ms", 0, "must be at least 1"),
        ("deadline_ms", 86_400_001, "must be at most 86400000"),
        ("preview_every", -1, "must be at least 0"),
        ("preview_size", 63, "must be at least 64"),
        ("preview_size", 2049, "must be at most 2048"),
        ("preview_quality", 101, "must be at most 100"),
        ("preview_format", "png", "must be 'jpeg' or 'webp'"),
        ("image_format", "gif", "must be 'jpeg', 'png' or 'webp'"),
        ("image_quality", 0, "must be at least 1"),
        ("colour", "red", "is not a known field"),
        ("name", "x", "is not a known field"),
        ("sampler", "heun", "must be 'euler', 'euler_a', 'dpmpp_2m', 'ddim', 'unipc' or 'lcm'"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(field: str, value: object, message: str) -> None:
    assert problems(**{field: value}) == {field: message}


def test_a_missing_prompt() -> None:
    with pytest.raises(ApiError, match="prompt: is required"):
        GenerateBody.parse(b"{}", MODEL)


def test_all_problems_are_told_at_once() -> None:
    assert set(problems(prompt="", width=100, height=2000, seed="x", colour="red")) == {
        "prompt",
        "width",
        "height",
        "seed",
        "colour",
    }


def test_an_image_size_is_checked_like_any_other() -> None:
    assert problems(image_size={"width": 100, "colour": "red"}) == {
        "image_size.width": "must be a multiple of 8",
        "image_size.height": "is required",
        "image_size.colour": "is not a known field",
    }
    assert "square_hd" in problems(image_size="huge")["image_size"]


@pytest.mark.parametrize(
    ("field", "value", "where", "message"),
    [
        ("original_size", [0, 64], "original_size.0", "must be at least 1"),
        ("original_size", [64, 16385], "original_size.1", "must be at most 16384"),
        ("original_size", {"width": "64", "height": 64}, "original_size.1", "must be a whole number"),
        ("target_size", [64.0, 64], "target_size.0", "must be a whole number"),
        ("crops_coords_top_left", [0, -1], "crops_coords_top_left.1", "must be at least 0"),
        ("crops_coords_top_left", [True, 0], "crops_coords_top_left.0", "must be a whole number"),
    ],
)
def test_of_a_pair_the_wrong_number_is_named(field: str, value: object, where: str, message: str) -> None:
    assert problems(**{field: value}) == {where: message}


def test_an_image_size_stands_alone() -> None:
    message = "must not be given together with width or height"
    assert problems(image_size="square", width=256) == {"image_size": message}
    assert problems(image_size={"width": 64, "height": 64}, height=256) == {"image_size": message}


def test_an_image_size_in_pixels() -> None:
    assert (parse(image_size={"width": 128, "height": 64}).width, parse(image_size=None).width) == (128, 256)


def test_one_side_alone_leaves_the_other_to_the_model() -> None:
    assert (parse(width=128).width, parse(width=128).height) == (128, 256)


@pytest.mark.parametrize("name", NAMED_SIZES)
def test_a_named_size_keeps_its_shape_where_the_model_is_small(name: NamedSize) -> None:
    small = msgspec.structs.replace(MODEL, max_size=384, size_multiple=8)
    assert fit_named_size(name, MODEL) == NAMED_SIZES[name]
    width, height = fit_named_size(name, small)
    wanted_width, wanted_height = NAMED_SIZES[name]
    assert max(width, height) == 384
    assert width % 8 == height % 8 == 0
    assert width / height == pytest.approx(wanted_width / wanted_height, rel=0.05)


def in_memory_for(row_pixels: int) -> ModelInfo:
    """A model whose steps have room for so many pixels, those of all their rows together."""
    per_pixel = 1000
    return msgspec.structs.replace(
        MODEL,
        memory=DeviceMemory(
            available=math.ceil(row_pixels * per_pixel / USABLE),
            resting=0,
            step_peaks=(StepPeak(256**2, 1, 256**2 * per_pixel),),
            decode_peak=0,
            decode_pixels=256**2,
        ),
    )


@pytest.mark.parametrize(
    ("fields", "field"), [({"width": 800, "height": 800}, "width"), ({"image_size": "square_hd"}, "image_size")]
)
def test_a_picture_that_never_fits_into_memory_is_refused(fields: dict[str, object], field: str) -> None:
    model = in_memory_for(2 * 640 * 640)
    with pytest.raises(ApiError) as caught:
        parse_all(model, **fields)
    assert (caught.value.status, caught.value.problems[0].loc) == (422, ["body", field])
    assert caught.value.problems[0].msg.endswith(
        " does not fit into the server's memory, "
        "which holds with guidance at most 640x640, or as many pixels in another shape"
    )


def test_a_picture_that_fits_into_memory_is_taken() -> None:
    model = in_memory_for(2 * 640 * 640)
    assert parse_all(model, width=640, height=640)[0].width == 640
    assert parse_all(model, width=1024, height=400)[0].width == 1024
    assert parse_all(model, width=800, height=800, guidance_scale=1)[0].width == 800


def test_without_guidance_a_step_has_one_row_to_hold() -> None:
    with pytest.raises(ApiError, match="memory") as caught:
        parse_all(in_memory_for(2 * 640 * 640), width=1024, height=1024, guidance_scale=1)
    assert "which holds at most 904x904" in caught.value.problems[0].msg


def test_format_is_another_name_for_image_format() -> None:
    assert parse(format="webp").image_format == "webp"
    assert problems(format="webp", image_format="webp") == {"format": "is not a known field"}


def test_a_query_is_text() -> None:
    params = parse_query(num_inference_steps="7", guidance_scale="2.5", seed="4", image_size="square", sampler="ddim")
    assert (params.num_steps, params.guidance_scale, params.seed, params.width) == (7, 2.5, 4, 512)
    assert params.sampler == "ddim"
    params = parse_query(preview_interval_ms="250", priority="-3", deadline_ms="1000", guidance_rescale="0.5")
    assert (params.preview_interval, params.priority, params.deadline) == (0.25, -3, 1.0)
    assert params.guidance_rescale == 0.5


def test_in_a_query_pairs_have_a_comma_between() -> None:
    params = parse_query(original_size="768,1024", target_size="512,640", crops_coords_top_left="0,64")
    assert (params.original_size, params.target_size, params.crop) == ((768, 1024), (512, 640), (0, 64))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", "x", "seed: must be a whole number"),
        ("guidance_scale", "nan", "guidance_scale: must be a finite number"),
        ("num_inference_steps", "7.5", "num_inference_steps: must be a whole number"),
        ("num_images", "5", "num_images: must be at most 4"),
        ("sampler", "heun", "sampler: must be 'euler', 'euler_a', 'dpmpp_2m', 'ddim', 'unipc' or 'lcm'"),
        ("original_size", "768x1024", "original_size: must be [height, width], such as [768, 1024]"),
        ("original_size", "768,1024,3", "original_size: must be [height, width], such as [768, 1024]"),
        ("original_size", "768,a", "original_size.1: must be a whole number"),
        ("target_size", "768," + "9" * 5000, "target_size.1: must be a whole number"),
        ("crops_coords_top_left", "-1,0", "crops_coords_top_left.0: must be at least 0"),
    ],
)
def test_a_query_is_checked(field: str, value: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_query(**{field: value})
    assert [str(problem) for problem in caught.value.problems] == [message]
    assert caught.value.problems[0].loc[0] == "query"
