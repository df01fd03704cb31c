from collections.abc import Sequence

import pytest

from scheduler.messages import Lora, Speedups
from service.settings import ModelSettings, ServeSettings, SettingsError, load_settings


def test_the_defaults() -> None:
    settings = load_settings(ServeSettings, {})
    assert (settings.host, settings.port, settings.batching, settings.workers) == ("127.0.0.1", 8000, "step", 1)
    assert (settings.deadline, settings.sampler, settings.lora) == (600, None, ())
    assert (settings.grace, settings.keep_minutes, settings.keep_mib, settings.drain_timeout) == (15, 10, 64, 30)


def test_flags_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTCAST_PORT", "9000")
    monkeypatch.setenv("LATENTCAST_BATCHING", "call")
    settings = load_settings(ServeSettings, {"port": "9001"})
    assert (settings.port, settings.batching) == (9001, "call")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"port": "99999"}, "--port 99999: must be a whole number from 0 to 65535"),
        ({"port": "http"}, "--port http: must be a whole number from 0 to 65535"),
        ({"dtype": "int8"}, "--dtype int8: must be one of auto, float32, bfloat16, float16"),
        ({"grace": "nan"}, "--grace nan: must be a number from 0 to 3600"),
        ({"keep_mib": "-1"}, "--keep-mib -1: must be a number of at least 0"),
        ({"deadline": "-1"}, "--deadline -1: must be a number from 0 to 86400"),
        ({"sampler": "heun"}, "--sampler heun: must be one of euler, euler_a, dpmpp_2m, ddim, unipc, lcm"),
        ({"warm_sizes": "512"}, "--warm-sizes 512: must be widths and heights in pixels, such as 512x512,1024x1024"),
        ({"warm_rows": "4,0"}, "--warm-rows 4,0: must be whole numbers, such as 4,8,16"),
        ({"workers": "0"}, "--workers 0: must be a whole number from 1 to 64"),
    ],
)
def test_a_bad_flag_is_named_with_what_is_allowed(flags: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(ServeSettings, flags)
    assert str(caught.value) == message


def test_a_bad_variable_is_named_like_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTCAST_MAX_ROWS", "1")
    with pytest.raises(SettingsError, match=r"^LATENTCAST_MAX_ROWS=1: must be a whole number from 2 to 1024$"):
        load_settings(ServeSettings, {})


def test_all_that_is_wrong_is_told_in_one_line() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(ServeSettings, {"port": "x", "workers": "y"})
    assert "--port x" in str(caught.value)
    assert "--workers y" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_worker_is_told() -> None:
    settings = load_settings(
        ServeSettings, {"model": "here", "max_rows": "8", "batching": "call", "engine": "fake", "fake_step_ms": "20"}
    )
    config = settings.serve_worker_config()
    assert (config.model, config.max_rows, config.batching, config.engine) == ("here", 8, "call", "fake")
    assert config.fake_step_seconds == 0.02


@pytest.mark.parametrize(
    ("text", "loras"),
    [
        ("style", [Lora("style", 1.0)]),
        ("a/style.safetensors:0.6", [Lora("a/style.safetensors", 0.6)]),
        ("owner/style:-1,detail:.5", [Lora("owner/style", -1.0), Lora("detail", 0.5)]),
        ("C:/style", [Lora("C:/style", 1.0)]),
        ("a:b:2", [Lora("a:b", 2.0)]),
        ("a:", [Lora("a:", 1.0)]),
        ("style:1e9", [Lora("style:1e9", 1.0)]),
        (" style , detail ", [Lora("style", 1.0), Lora("detail", 1.0)]),
        ("", []),
    ],
)
def test_loras_have_a_path_and_may_have_a_scale(
    monkeypatch: pytest.MonkeyPatch, text: str, loras: Sequence[Lora]
) -> None:
    monkeypatch.setenv("LATENTCAST_LORA", text)
    assert load_settings(ModelSettings, {}).worker_config().loras == tuple(loras)


def test_what_the_model_is_made_of_reaches_the_worker() -> None:
    config = load_settings(ModelSettings, {"vae": "fixed", "sampler": "lcm", "lora": "fast:0.5"}).worker_config()
    assert (config.vae, config.sampler, config.loras) == ("fixed", "lcm", (Lora("fast", 0.5),))


def test_what_makes_the_model_faster_reaches_the_worker() -> None:
    flags = {"compile": "default", "fuse_qkv": "true", "warm_sizes": "512x512, 1024x768", "warm_rows": "4, 8"}
    assert load_settings(ServeSettings, flags).serve_worker_config().speedups == Speedups(
        compile="default", fuse_qkv=True, warm_sizes=((512, 512), (1024, 768)), warm_rows=(4, 8)
    )
    assert load_settings(ServeSettings, {}).serve_worker_config().speedups == Speedups()


def test_one_picture_needs_no_service_settings() -> None:
    assert "port" not in ModelSettings.model_fields
    assert load_settings(ModelSettings, {"threads": "2"}).worker_config().threads == 2
