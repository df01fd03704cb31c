/** The OpenAPI document as a page: routes by the interface that they belong to, and what their JSON holds. */

import { offerThemes } from "./appearance.js";
import { byId, el } from "./dom.js";
import { KeyDialog } from "./keydialog.js";
import * as keys from "./keys.js";
import { anchorOf, describe, fieldTable, parameterTable, prose, resolve } from "./schema.js";
import { TryIt } from "./tryit.js";

/** Headings, in the order of the page; a tag that is not here comes after them under its own name. */
const HEADINGS = {
  native: "Native",
  generate: "EventSource and WebSocket",
  fal: "fal",
  queue: "fal: queue",
  realtime: "fal: realtime",
  proxy: "fal: proxy",
  openai: "OpenAI",
  health: "Health and metrics",
  page: "Pages",
};
const PAGES = new Set(["docs", "app"]); // tags of single routes that are told under `page`
const UNTRIED = new Set(["101"]); // a WebSocket is not opened by fetch

/** @typedef {import("./tryit.js").Route} Route */

/** @param {Record<string, any>} document @returns {Map<string, Route[]>} by tag */
function routesByTag({ paths }) {
  const groups = new Map(Object.keys(HEADINGS).map((tag) => [tag, []]));
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = PAGES.has(operation.tags[0]) ? "page" : operation.tags[0];
      groups.set(tag, [...(groups.get(tag) ?? []), { method: method.toUpperCase(), path, operation }]);
    }
  }
  return new Map([...groups].filter(([, routes]) => routes.length > 0));
}

/** @param {Route} route */
function anchorOfRoute({ method, path }) {
  return `${method}${path}`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/-$/, "");
}

/** @param {Route} route */
function methodLabel({ method }) {
  return el("span", { class: "method", "data-method": method }, method);
}

/** @param {Route} route @param {Record<string, any>} schemas */
function routeElement(route, schemas) {
  const element = el(
    "details",
    { class: "route", id: anchorOfRoute(route) },
    el(
      "summary",
      {},
      methodLabel(route),
      el("code", { class: "path" }, route.path),
      el("span", { class: "summary" }, route.operation.summary),
    ),
  );
  element.addEventListener("toggle", () => element.append(...routeDetails(route, schemas)), { once: true });
  return element;
}

/** @param {Route} route @param {Record<string, any>} schemas @returns {HTMLElement[]} */
function routeDetails(route, schemas) {
  const { parameters, requestBody, responses } = route.operation;
  const parts = [];
  if (parameters.length > 0) {
    parts.push(el("h4", {}, "Parameters"), parameterTable(parameters));
  }
  if (requestBody) {
    const { schema } = requestBody.content["application/json"];
    parts.push(el("h4", {}, "JSON body: ", ...describe(schema)), fieldTable(resolve(schema, schemas)));
  }
  parts.push(el("h4", {}, "Answers"), answerTable(responses));
  if (!Object.keys(responses).some((status) => UNTRIED.has(status))) {
    parts.push(new TryIt(route, schemas).element);
  }
  return [el("div", { class: "route-body" }, ...parts)];
}

/** @param {Record<string, any>} responses */
function answerTable(responses) {
  const rows = Object.entries(responses).map(([status, { description, content }]) => {
    const [[type, { schema }] = ["", {}]] = Object.entries(content ?? {});
    const kind = schema?.$ref ? [" ", ...describe(schema)] : [];
    const told = type ? el("div", { class: "kind" }, type, ...kind) : "";
    return el("tr", {}, el("th", { scope: "row" }, el("code", {}, status)), el("td", {}, told, ...prose(description)));
  });
  return el("table", { class: "fields" }, el("tbody", {}, ...rows));
}

/** @param {string} tag @param {Route[]} routes @param {Record<string, any>} document */
function groupElement(tag, routes, { tags, components }) {
  const description = tags.find(({ name }) => name === tag)?.description ?? "";
  return el(
    "section",
    { id: `group-${tag}` },
    el("h2", {}, HEADINGS[tag] ?? tag),
    ...prose(description),
    ...routes.map((route) => routeElement(route, components.schemas)),
  );
}

/** @param {Record<string, any>} schemas */
function schemasElement(schemas) {
  const elements = Object.entries(schemas).map(([name, schema]) =>
    el(
      "details",
      { class: "route", id: anchorOf(name) },
      el("summary", {}, el("code", { class: "path" }, name)),
      el("div", { class: "route-body" }, ...prose(schema.description ?? ""), fieldTable(schema)),
    ),
  );
  return el("section", { id: "schemas" }, el("h2", {}, "What the JSON holds"), ...elements);
}

/** @param {Map<string, Route[]>} groups */
function contents(groups) {
  const items = [...groups].map(([tag, routes]) =>
    el(
      "li",
      {},
      el("a", { href: `#group-${tag}` }, HEADINGS[tag] ?? tag),
      el("ul", {}, ...routes.map((route) => el("li", {}, contentsLink(route)))),
    ),
  );
  return el("ul", {}, ...items, el("li", {}, el("a", { href: "#schemas" }, "What the JSON holds")));
}

/** @param {Route} route */
function contentsLink(route) {
  return el("a", { href: `#${anchorOfRoute(route)}` }, methodLabel(route), el("code", {}, route.path));
}

/** Opens what the address names. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.querySelector("summary")?.focus({ preventScroll: true });
  }
  target?.scrollIntoView({ block: "start" });
}

/** @param {Record<string, any>} document */
function show(document) {
  const groups = routesByTag(document);
  byId("version").textContent = `version ${document.info.version}`;
  byId("contents").append(contents(groups));
  byId("routes").replaceChildren(
    ...[...groups].map(([tag, routes]) => groupElement(tag, routes, document)),
    schemasElement(document.components.schemas),
  );
  openTarget();
}

/** A service that asks for keys takes them here too. */
async function offerKey() {
  const dialog = new KeyDialog();
  const health = await fetch("readyz").then((response) => response.json()).catch(() => ({}));
  byId("key-button").hidden = !health.auth && !keys.current();
  byId("key-button").addEventListener("click", () => dialog.open());
}

offerThemes(byId("theme-button"));
addEventListener("hashchange", openTarget);
try {
  show(await (await fetch("openapi.json")).json());
  await offerKey();
} catch {
  byId("trouble").textContent = "The document cannot be read: the server cannot be reached. Load this page again.";
}
