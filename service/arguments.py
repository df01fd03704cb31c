"""The flags of the command line, made from the settings and from what a request may hold."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from pydantic.fields import FieldInfo

from service.settings import (
    ENV_PREFIX,
    Bare,
    BatchSettings,
    Hidden,
    ModelSettings,
    Repeated,
    ServeSettings,
    SpeedSettings,
    choices,
    flag_name,
)

SETTING = "setting:"  # before the names of settings in what argparse gives, to tell them from other options

PAINT_FLAGS = {
    "negative_prompt": "--negative-prompt",
    "width": "--width",
    "height": "--height",
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "guidance_rescale": "--guidance-rescale",
    "seed": "--seed",
    "num_images": "--num-images",
    "preview_every": "--preview-every",
    "image_quality": "--image-quality",
}
"""Flag by field of `GenerateBody`."""

PAINT_HELP = {
    "negative_prompt": "what to keep out of the picture",
    "width": "pixels (default: the model's own)",
    "height": "pixels (default: the model's own)",
    "num_inference_steps": "denoising steps, 1 to 50 (default: 20)",
    "guidance_scale": "how closely to follow the prompt, 0 to 20 (default: 5)",
    "guidance_rescale": "how far to undo what guidance does to the contrast, 0 to 1 (default: 0)",
    "seed": "the same seed gives the same picture (default: random)",
    "num_images": "how many pictures, 1 to 4, each with a seed of its own (default: 1)",
    "preview_every": "steps from one preview to the next, with --previews or --gif (default: 5)",
    "image_quality": "of a JPEG or WebP, 1 to 100 (default: 95)",
}


def make_parser(version: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latentcast",
        description="Paints pictures from text and streams them while they form.",
        epilog=f"Every setting is also an environment variable: --port is {ENV_PREFIX}PORT.",
    )
    parser.add_argument("--version", action="version", version=f"latentcast {version}")
    usage = "latentcast {} [OPTIONS]"
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="start the service", usage=usage.format("serve")))
    _add_calibrate(commands.add_parser("calibrate", help="measure the model's speed", usage=usage.format("calibrate")))
    _add_generate(commands.add_parser("generate", help="paint one picture", usage=usage.format("generate PROMPT")))
    _add_new_key(commands.add_parser("new-key", help="make an API key"))
    _add_dev_cert(commands.add_parser("dev-cert", help="make a TLS certificate for this machine"))
    return parser


def setting_flags(options: argparse.Namespace) -> dict[str, str]:
    """The settings that were given as flags, as text by name; of those given again, all with commas between."""
    given = {name.removeprefix(SETTING): value for name, value in vars(options).items() if name.startswith(SETTING)}
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in given.items()}


class SizeAction(argparse.Action):
    """`256x320` -> width and height."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        width, _, height = str(values).partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            parser.error(f"{option_string} {values}: must be width and height in pixels, such as 256x256")
        namespace.width, namespace.height = width, height


def _add_serve(parser: argparse.ArgumentParser) -> None:
    own = {name: field for name, field in ServeSettings.model_fields.items() if name not in SpeedSettings.model_fields}
    _add_settings(parser, "service", own)
    _add_settings(parser, "speed", _speed_fields())
    _add_settings(parser, "model", ModelSettings.model_fields)


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT", help="what to paint")
    output_help = "a .png, .jpg or .webp (default: out.png); of several pictures out-0.png, out-1.png, ..."
    parser.add_argument("-o", "--output", default="out.png", metavar="FILE", help=output_help)
    parser.add_argument("--previews", type=Path, metavar="DIR", help="write each preview into this folder")
    gif_help = "write how the picture formed: its previews and itself, as an animation; of several out-0.gif, ..."
    parser.add_argument("--gif", type=Path, metavar="FILE", help=gif_help)
    url_help = "let a service that runs there paint, instead of loading a model here"
    parser.add_argument("--url", metavar="URL", help=url_help)
    parser.add_argument("--key", metavar="KEY", help=f"API key for that service (or {ENV_PREFIX}KEY)")
    parser.add_argument("--size", action=SizeAction, metavar="WxH", help="width and height in one, such as 256x256")
    for field, flag in PAINT_FLAGS.items():
        metavar = "TEXT" if field == "negative_prompt" else "N"
        parser.add_argument(flag, dest=field, metavar=metavar, help=PAINT_HELP[field])
    _add_settings(parser, "model", ModelSettings.model_fields)


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measures how long a denoising step takes by rows and size, and keeps it for `latentcast serve`."
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it into a .png")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it as JSON")
    others = {*SpeedSettings.model_fields, "calibration"}
    _add_settings(parser, "batches", {n: field for n, field in BatchSettings.model_fields.items() if n not in others})
    _add_settings(parser, "speed", _speed_fields())
    _add_settings(parser, "model", ModelSettings.model_fields)


def _speed_fields() -> dict[str, FieldInfo]:
    return {n: field for n, field in SpeedSettings.model_fields.items() if n not in ModelSettings.model_fields}


def _add_new_key(parser: argparse.ArgumentParser) -> None:
    parser.description = "Prints a line for --api-key-file, and on standard error the key: new-key alice >> keys.txt"
    parser.add_argument("name", metavar="NAME", help="whose key it is")


def _add_dev_cert(parser: argparse.ArgumentParser) -> None:
    parser.description = "Makes a certificate for this machine, and the authority that clients are told to trust."
    parser.add_argument("--dir", type=Path, default=Path("certs"), help="where to put the files (default: certs)")
    host_help = "another name or address of this machine; may be given again"
    parser.add_argument("--host", action="append", default=[], dest="hosts", metavar="NAME", help=host_help)
    parser.add_argument("--force", action="store_true", help="replace the files that are there")


def _add_settings(parser: argparse.ArgumentParser, title: str, fields: Mapping[str, FieldInfo]) -> None:
    group = parser.add_argument_group(title)
    for name, field in fields.items():
        options: dict[str, object] = {"dest": SETTING + name, "default": argparse.SUPPRESS, "help": _help(field)}
        if field.annotation is bool:
            options |= {"action": "store_const", "const": "true"}
        elif repeated := next((mark for mark in field.metadata if isinstance(mark, Repeated)), None):
            options |= {"action": "append", "metavar": repeated.one}
        else:
            options["metavar"] = _metavar(field)
        if bare := next((mark for mark in field.metadata if isinstance(mark, Bare)), None):
            options |= {"nargs": "?", "const": bare.value}
        group.add_argument(flag_name(name), **options)  # type: ignore[arg-type]


def _help(field: FieldInfo) -> str:
    if any(isinstance(item, Hidden) for item in field.metadata):
        return argparse.SUPPRESS
    text = (field.description or "").rstrip(".")
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    match field.default:
        case bool():
            return text
        case int() | float():
            return f"{text} (default: {field.default:g})"
        case str():
            return f"{text} (default: {field.default})"
    return text


def _metavar(field: FieldInfo) -> str:
    if names := choices(field):
        return "{" + ",".join(names) + "}"
    if Path in (field.annotation, *get_args(field.annotation)):
        return "FILE"
    return "N" if field.annotation in (int, float, int | None) else "NAME"
