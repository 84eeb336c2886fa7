// Show JSON Schema as elements for a reader.

import { element, inline, prose } from "./dom.js";

/** @typedef {Record<string, any>} Schema */
/** @typedef {Record<string, any>} Document */

/**
 * Follow references within the document.
 *
 * @param {Document} whole
 * @param {any} node
 * @returns {any}
 */
export function resolved(whole, node) {
  for (let steps = 0; node && typeof node.$ref === "string" && steps < 20; steps += 1) {
    node = node.$ref
      .replace(/^#\//, "")
      .split("/")
      .map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"))
      .reduce((inner, part) => inner?.[part], whole);
  }
  return node ?? {};
}

/**
 * Return a schema with the parts of `allOf` merged in; keys beside them take precedence.
 *
 * @param {Document} whole
 * @param {Schema} schema
 * @returns {Schema}
 */
export function merged(whole, schema) {
  const { allOf, ...own } = resolved(whole, schema);
  if (!allOf) {
    return own;
  }
  const parts = [...allOf.map((part) => merged(whole, part)), own];
  const properties = Object.assign({}, ...parts.map((part) => part.properties));
  const required = [...new Set(parts.flatMap((part) => part.required ?? []))];
  const all = Object.assign({}, ...parts);
  return Object.keys(properties).length ? { ...all, properties, required } : all;
}

/**
 * Describe the kind of a value in a few words.
 *
 * @param {Document} whole
 * @param {Schema} given
 * @returns {string}
 */
export function typeOf(whole, given) {
  const schema = merged(whole, given);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices && !schema.type) {
    return [...new Set(choices.map((choice) => typeOf(whole, choice)))].join(" or ");
  }
  const types = [schema.type ?? (schema.enum || "const" in schema ? "value" : "any")].flat();
  return types
    .map((type) => {
      if (type === "array" && schema.items) {
        return `list of ${typeOf(whole, schema.items)}`;
      }
      return type === "object" && schema.additionalProperties && !schema.properties
        ? `object whose values are ${typeOf(whole, schema.additionalProperties)}`
        : type;
    })
    .join(" or ");
}

/**
 * Describe the constraints of a value: limits, default, permitted values.
 *
 * @param {Document} whole
 * @param {Schema} given
 * @returns {(Node | string)[]}
 */
export function limitsOf(whole, given) {
  const schema = merged(whole, given);
  const inItems = merged(whole, schema.items ?? {}).enum;
  const values = schema.enum ?? inItems ?? nullableEnum(whole, schema);
  const said = [];
  if (values) {
    said.push(values.length > 1 ? "one of " : "always ", ...codes(values));
  } else if ("const" in schema) {
    said.push("always ", ...codes([schema.const]));
  }
  for (const [key, [before, after = ""]] of Object.entries(LIMITS)) {
    // That something is there is no pattern that a reader needs to know.
    if (key in schema && schema[key] !== "\\S") {
      said.push(said.length ? ", " : "", `${before} `, ...codes([schema[key]]), after);
    }
  }
  return said.filter(Boolean);
}

const LIMITS = {
  minimum: ["at least"],
  exclusiveMinimum: ["above"],
  maximum: ["at most"],
  maxItems: ["at most", " of them"],
  pattern: ["like"],
  default: ["by default"],
};

/**
 * @param {Document} whole
 * @param {Schema} schema
 */
function nullableEnum(whole, schema) {
  const choices = (schema.anyOf ?? schema.oneOf ?? []).map((choice) => merged(whole, choice));
  return choices.find((choice) => choice.enum)?.enum;
}

/** @param {unknown[]} values */
function codes(values) {
  return values.flatMap((value, index) => [
    index ? ", " : "",
    element("code", {}, typeof value === "string" ? value : JSON.stringify(value)),
  ]);
}

/**
 * Return the properties of an object, each with those inside it to open. For a value that may be
 * one of several objects, return the properties of each.
 *
 * @param {Document} whole
 * @param {Schema} given
 * @param {readonly Schema[]} [above] the properties that this object is in, so that one that
 *   holds itself comes to an end
 * @returns {HTMLElement | null}
 */
export function properties(whole, given, above = []) {
  const found = objectsIn(whole, given).filter(({ schema }) => !above.includes(schema.properties));
  if (!found.length || above.length > DEEPEST) {
    return null;
  }
  if (found.length === 1) {
    return propertiesOf(whole, found[0].schema, above);
  }
  const views = found.map(({ name, schema }) =>
    element(
      "li",
      {},
      element(
        "details",
        {},
        element("summary", { class: "name" }, name),
        ...prose(schema.description),
        propertiesOf(whole, schema, above),
      ),
    ),
  );
  return element("ul", { class: "properties" }, ...views);
}

// Levels of nested objects; the documents have four.
const DEEPEST = 8;

/**
 * @param {Document} whole
 * @param {Schema} schema an object
 * @param {readonly Schema[]} above
 */
function propertiesOf(whole, schema, above) {
  const rows = Object.entries(schema.properties).map(([name, property]) => {
    const needed = (schema.required ?? []).includes(name);
    const head = [
      element("code", { class: "name" }, name),
      " ",
      element("span", { class: "type" }, typeOf(whole, property)),
      needed ? null : element("span", { class: "optional" }, " optional"),
    ];
    const limits = limitsOf(whole, property);
    const texts = [
      ...prose(merged(whole, property).description),
      limits.length ? element("p", { class: "limits" }, ...limits) : null,
    ];
    const below = properties(whole, property, [...above, schema.properties]);
    return element(
      "li",
      {},
      below
        ? element("details", {}, element("summary", {}, ...head), ...texts, below)
        : element("div", {}, ...head, ...texts),
    );
  });
  return element("ul", { class: "properties" }, ...rows);
}

/**
 * Return the objects that a value is or holds: in a list, under any key, or as a choice.
 *
 * @param {Document} whole
 * @param {Schema} given
 * @returns {{name: string, schema: Schema}[]}
 */
function objectsIn(whole, given) {
  const schema = merged(whole, given);
  if (schema.properties) {
    const reference = given.$ref ?? given.allOf?.[0]?.$ref ?? "";
    return [{ name: reference.split("/").pop() || "object", schema }];
  }
  const inner = [
    schema.items,
    typeof schema.additionalProperties === "object" ? schema.additionalProperties : null,
    ...(schema.anyOf ?? schema.oneOf ?? []),
  ];
  return inner.filter(Boolean).flatMap((each) => objectsIn(whole, each));
}

/**
 * Return a whole schema: its description and its properties.
 *
 * @param {Document} whole
 * @param {Schema} given
 * @returns {HTMLElement}
 */
export function schemaView(whole, given) {
  const schema = merged(whole, given);
  const below = properties(whole, given);
  const limits = limitsOf(whole, given);
  return element(
    "div",
    { class: "schema" },
    ...prose(schema.description),
    below && schema.properties ? null : element("p", { class: "type" }, typeOf(whole, given)),
    limits.length ? element("p", { class: "limits" }, ...limits) : null,
    below,
  );
}

/**
 * Return a table of parameters.
 *
 * @param {Document} whole
 * @param {{name: string, schema: Schema, description?: string, required?: boolean,
 *   in?: string}[]} parameters
 * @returns {HTMLElement}
 */
export function parametersView(whole, parameters) {
  return element(
    "ul",
    { class: "properties parameters" },
    ...parameters.map((parameter) => {
      const limits = limitsOf(whole, parameter.schema);
      return element(
        "li",
        {},
        element("code", { class: "name" }, parameter.name),
        " ",
        element("span", { class: "type" }, typeOf(whole, parameter.schema)),
        parameter.in && parameter.in !== "query"
          ? element("span", { class: "optional" }, ` in the ${parameter.in}`)
          : null,
        parameter.required ? element("span", { class: "needed" }, " required") : null,
        ...prose(parameter.description ?? merged(whole, parameter.schema).description),
        limits.length ? element("p", { class: "limits" }, ...limits) : null,
      );
    }),
  );
}

/**
 * Return an example, laid out.
 *
 * @param {string} title
 * @param {unknown} value
 */
export function exampleView(title, value) {
  return element(
    "details",
    { class: "example" },
    element("summary", {}, ...inline(title)),
    element("pre", { tabindex: "0" }, JSON.stringify(value, null, 2)),
  );
}

/**
 * Return an example that is shown at once, under a heading.
 *
 * @param {string} title
 * @param {unknown} value
 * @param {number} level
 */
export function shownExample(title, value, level) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return [
    element(`h${level}`, {}, title),
    element("pre", { class: "shown", tabindex: "0", dir: "ltr", "aria-label": title }, text),
  ];
}
