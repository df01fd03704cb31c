import pytest

from service.arguments import make_parser, setting_flags


def flags_of(*arguments: str) -> dict[str, str]:
    return setting_flags(make_parser("1").parse_args(arguments))


def test_only_the_settings_that_were_given_are_there() -> None:
    assert flags_of("serve", "--port", "9000", "--access-log") == {"port": "9000", "access_log": "true"}
    assert flags_of("generate", "a boat", "--steps", "4", "--threads", "2") == {"threads": "2"}


def test_what_may_be_given_again_adds_up() -> None:
    assert flags_of("serve", "--lora", "style:0.5", "--lora", "detail") == {"lora": "style:0.5,detail"}


def test_compile_may_stand_alone() -> None:
    assert flags_of("serve", "--compile", "--port", "9000") == {"compile": "default", "port": "9000"}
    assert flags_of("calibrate", "--compile", "max-autotune") == {"compile": "max-autotune"}


def test_a_size_is_a_width_and_a_height() -> None:
    options = make_parser("1").parse_args(["generate", "a boat", "--size", "256x320"])
    assert (options.width, options.height) == ("256", "320")


def test_help_shows_what_a_value_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser("1").parse_args(["generate", "--help"])
    text = capsys.readouterr().out
    for shown in (
        "--sampler {euler,euler_a,dpmpp_2m,ddim,unipc,lcm}",
        "--lora PATH[:SCALE]",
        "--num-images N",
        "--vae",
    ):
        assert shown in text
