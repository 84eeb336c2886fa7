// Make form fields for parameters described as JSON Schema, and return their values as pairs of
// name and text, for a query.

import { element } from "./dom.js";
import { merged } from "./schema.js";

/** @typedef {{name: string, schema: Record<string, any>, required?: boolean, in?: string,
 *   example?: unknown, prefill?: string}} Parameter */
/** @typedef {{element: HTMLElement, values: () => string[],
 *   prefill?: (value: string) => void}} Field */

let count = 0;

/**
 * Make the fields for parameters. Those that are required have a value, so that the form can be
 * sent as it is: one that the server knows, or the document's example.
 *
 * @param {Record<string, any>} whole the document that the parameters are in
 * @param {Parameter[]} parameters
 * @param {import("./main.js").Access} access
 * @returns {{element: HTMLElement, pairs: () => [Parameter, string][],
 *   onchange: (listener: () => void) => void}}
 */
export function parameterForm(whole, parameters, access) {
  const fields = parameters.map((parameter) => {
    count += 1;
    const made = field(parameter, merged(whole, parameter.schema), `field-${count}`, whole);
    let touched = false;
    made.element.addEventListener("input", () => {
      touched = true;
    });
    access.events.addEventListener("contracts", () => {
      const value = access.known[parameter.name];
      if (value !== undefined && parameter.required && !touched) {
        made.prefill?.(value);
      }
    });
    return { parameter, made };
  });
  const box = (/** @type {boolean} */ required) =>
    fieldsOf(
      fields.filter((each) => Boolean(each.parameter.required) === required).map((each) => each.made),
    );
  const [needed, optional] = [box(true), box(false)];
  const inside = element(
    "div",
    {},
    needed,
    optional && element("details", {}, element("summary", {}, "Optional parameters"), optional),
  );
  return {
    element: inside,
    pairs: () =>
      fields.flatMap(({ parameter, made }) =>
        made.values().map((value) => /** @type {[Parameter, string]} */ ([parameter, value])),
      ),
    onchange: (listener) => {
      inside.addEventListener("input", listener);
      // After the fields have their values: listeners are called in their order.
      access.events.addEventListener("contracts", listener);
    },
  };
}

/** @param {Field[]} fields */
function fieldsOf(fields) {
  return fields.length
    ? element("div", { class: "fields" }, ...fields.map((each) => each.element))
    : null;
}

/**
 * @param {Parameter} parameter
 * @param {Record<string, any>} schema
 * @param {string} id
 * @param {Record<string, any>} whole
 * @returns {Field}
 */
function field(parameter, schema, id, whole) {
  const example = parameter.example ?? schema.examples?.[0] ?? schema.example;
  const items = schema.items ? merged(whole, schema.items) : null;
  if (items?.enum) {
    return choices(parameter.name, items.enum, id);
  }
  if (schema.type === "array") {
    return lines(parameter, [example ?? []].flat(), id);
  }
  if (schema.type === "boolean" || schema.enum) {
    return selection(parameter, schema.enum ?? [true, false], id);
  }
  return line(parameter, schema, example, id);
}

/**
 * @param {string} id
 * @param {string} name
 * @param {string} [note]
 */
function label(id, name, note) {
  return element(
    "label",
    { for: id },
    element("code", {}, name),
    note ? element("span", { class: "note" }, ` ${note}`) : null,
  );
}

/**
 * Return a field for one value; an empty one counts as no value.
 *
 * @param {HTMLElement} made
 * @param {HTMLElement} named
 * @returns {Field}
 */
function single(made, named) {
  const input = /** @type {HTMLInputElement} */ (made);
  return {
    element: element("div", { class: "field" }, named, input),
    values: () => (input.value.trim() ? [input.value.trim()] : []),
    prefill: (value) => {
      const before = input.value;
      input.value = value;
      // A list that does not have the value shows nothing then.
      input.value ||= before;
    },
  };
}

/**
 * @param {Parameter} parameter
 * @param {Record<string, any>} schema
 * @param {unknown} example
 * @param {string} id
 */
function line(parameter, schema, example, id) {
  const isNumber = ["number", "integer"].includes([schema.type].flat()[0]);
  const made = element("input", {
    id,
    type: isNumber ? "number" : "text",
    step: isNumber ? "any" : null,
    min: schema.minimum,
    max: schema.maximum,
    dir: "auto",
    spellcheck: "false",
    autocomplete: "off",
    placeholder: example,
    value: parameter.required ? example : null,
  });
  return single(made, label(id, parameter.name));
}

/**
 * @param {Parameter} parameter
 * @param {unknown[]} values
 * @param {string} id
 */
function selection(parameter, values, id) {
  const made = element(
    "select",
    { id },
    parameter.required ? null : element("option", { value: "" }, "not sent"),
    ...values.map((value) =>
      element(
        "option",
        { value: String(value), selected: parameter.prefill === String(value) },
        String(value),
      ),
    ),
  );
  return single(made, label(id, parameter.name));
}

/**
 * @param {Parameter} parameter
 * @param {unknown[]} example
 * @param {string} id
 * @returns {Field}
 */
function lines(parameter, example, id) {
  const made = /** @type {HTMLTextAreaElement} */ (
    element(
      "textarea",
      { id, rows: "2", dir: "auto", spellcheck: "false", placeholder: example.join("\n") },
      parameter.required ? example.join("\n") : "",
    )
  );
  return {
    element: element("div", { class: "field" }, label(id, parameter.name, "one a line"), made),
    values: () => made.value.split("\n").map((each) => each.trim()).filter(Boolean),
    prefill: (value) => {
      made.value = value;
    },
  };
}

/**
 * @param {string} name
 * @param {unknown[]} values
 * @param {string} id
 * @returns {Field}
 */
function choices(name, values, id) {
  const boxes = values.map((value, index) =>
    /** @type {HTMLInputElement} */ (
      element("input", { type: "checkbox", id: `${id}-${index}`, value })
    ),
  );
  return {
    element: element(
      "fieldset",
      { class: "field" },
      element("legend", {}, element("code", {}, name)),
      ...boxes.map((box) =>
        element(
          "span",
          { class: "choice" },
          box,
          " ",
          element("label", { for: box.id }, box.value),
        ),
      ),
    ),
    values: () => boxes.filter((box) => box.checked).map((box) => box.value),
  };
}
