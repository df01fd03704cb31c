/** A generation as a command, a program or a link. None of them ever holds the API key. */

import * as keys from "./keys.js";
import { toFragment } from "./link.js";

/** @typedef {import("./api.js").Settings} Settings */

/** Watches the events while the picture forms. @param {Settings} settings */
export function asCurl(settings) {
  const lines = [
    `curl -N ${quoted(address("stream"))}`,
    "-H 'Content-Type: application/json'",
    ...(keys.current() ? ['-H "Authorization: Key $LATENTCAST_KEY"'] : []),
    `-d ${quoted(JSON.stringify(settings))}`,
  ];
  return lines.join(" \\\n     ");
}

/** Saves the finished pictures; needs nothing but Python. @param {Settings} settings */
export function asPython(settings) {
  const withKey = Boolean(keys.current());
  const headers = ['"Content-Type": "application/json"'];
  if (withKey) {
    headers.push('"Authorization": "Key " + os.environ["LATENTCAST_KEY"]');
  }
  const program = [
    "import base64",
    "import json",
    ...(withKey ? ["import os"] : []),
    "import urllib.request",
    "",
    `settings = json.loads(${pythonText(JSON.stringify(settings))})`,
    "request = urllib.request.Request(",
    `    ${pythonText(address(""))},`,
    "    data=json.dumps(settings).encode(),",
    `    headers={${headers.join(", ")}},`,
    ")",
    "with urllib.request.urlopen(request) as response:",
    "    answer = json.load(response)",
    'for number, image in enumerate(answer["images"]):',
    '    kind = image["content_type"].split("/")[1]',
    '    with open(f"picture-{number}.{kind}", "wb") as file:',
    '        file.write(base64.b64decode(image["url"].split(",")[1]))',
    "",
  ];
  return program.join("\n");
}

/** Fills the form of whoever opens it. @param {Settings} settings */
export function asLink(settings) {
  return `${address("")}#${toFragment(settings)}`;
}

/** @param {string} path */
function address(path) {
  return new URL(path, document.baseURI.split(/[?#]/)[0]).href;
}

/** For a POSIX shell. @param {string} text */
export function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** JSON's strings are Python's too. @param {string} text */
function pythonText(text) {
  return JSON.stringify(text);
}
