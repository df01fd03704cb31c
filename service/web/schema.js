/** JSON schemas in words and tables: the part of them that the OpenAPI document of this service uses. */

import { el } from "./dom.js";

/** @typedef {Record<string, any>} Schema */

const REFERENCE = "#/components/schemas/";
const KINDS = { integer: "whole number", string: "text", boolean: "true or false" };
const EXAMPLES = { prompt: "a red boat on the sea at sunset" };

/** @param {string} name of a schema */
export const anchorOf = (name) => `schema-${name}`;

/**
 * What a value may be: `whole number, 1 to 50`, with links to what is described elsewhere.
 * @param {Schema} schema
 * @returns {(Node|string)[]}
 */
export function describe(schema) {
  if (schema.$ref) {
    const name = schema.$ref.replace(REFERENCE, "");
    return [el("a", { href: `#${anchorOf(name)}` }, name)];
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) {
    return joined(choices.map(describe), " or ");
  }
  if (schema.enum) {
    return joined(schema.enum.map((value) => [code(value)]), " or ");
  }
  if (schema.prefixItems) {
    return ["[", ...joined(schema.prefixItems.map(describe), ", "), "]"];
  }
  if (schema.type === "array") {
    return ["list of ", ...describe(schema.items ?? {})];
  }
  return [[kindOf(schema), ...bounds(schema)].join(", ")];
}

/** The fields of an object, one a row. @param {Schema} schema */
export function fieldTable(schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) =>
    row(name, field, required.has(name), field.description),
  );
  return table(rows);
}

/** Parameters of a path or a query. @param {Schema[]} parameters */
export function parameterTable(parameters) {
  const rows = parameters.map(({ name, schema, required, description }) =>
    row(name, schema, required, description ?? schema.description),
  );
  return table(rows);
}

/** What is referred to, or itself. @param {Schema} schema @param {Record<string, Schema>} schemas */
export function resolve(schema, schemas) {
  return schema.$ref ? schemas[schema.$ref.replace(REFERENCE, "")] : schema;
}

/** The least that such an object must have. @param {Schema} schema */
export function example(schema) {
  const names = schema.required ?? [];
  return Object.fromEntries(names.map((name) => [name, EXAMPLES[name] ?? exampleOf(schema.properties[name])]));
}

/** @param {Schema} schema */
function exampleOf({ default: value, enum: choices, type, minimum }) {
  return value ?? choices?.[0] ?? { integer: minimum ?? 0, number: minimum ?? 0, boolean: false }[type] ?? "";
}

/** @param {string} name @param {Schema} schema @param {boolean} isRequired @param {string} [description] */
function row(name, schema, isRequired, description = "") {
  const facts = el("div", { class: "kind" }, ...describe(schema));
  if (schema.default !== undefined && schema.default !== null) {
    facts.append("; default ", code(schema.default));
  }
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, el("code", {}, name), isRequired ? el("span", { class: "required" }, "required") : ""),
    el("td", {}, facts, ...prose(description)),
  );
}

/** @param {Node[]} rows */
function table(rows) {
  return el("table", { class: "fields" }, el("tbody", {}, ...rows));
}

/** Text with `code` in it. @param {string} text */
export function prose(text) {
  const parts = text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? el("code", {}, part) : part));
  return text ? [el("p", {}, ...parts)] : [];
}

/** @param {Schema} schema */
function kindOf({ type }) {
  return KINDS[type] ?? type ?? "anything";
}

/** @param {Schema} schema @returns {string[]} */
function bounds({ type, minimum, maximum, minLength, maxLength, multipleOf }) {
  const isText = type === "string";
  const words = [range(isText ? minLength : minimum, isText ? maxLength : maximum)];
  const ranges = words.filter(Boolean).map((text) => (isText ? `${text} characters` : text));
  return multipleOf ? [...ranges, `a multiple of ${multipleOf}`] : ranges;
}

/** @param {number} [least] @param {number} [most] */
function range(least, most) {
  if (least !== undefined && most !== undefined) {
    return `${least} to ${most}`;
  }
  return most === undefined ? least !== undefined && `at least ${least}` : `at most ${most}`;
}

/** @param {unknown} value */
function code(value) {
  return el("code", {}, JSON.stringify(value));
}

/** @param {(Node|string)[][]} groups @param {string} separator */
function joined(groups, separator) {
  return groups.flatMap((group, index) => (index === 0 ? group : [separator, ...group]));
}
