/** Ask for a token, or say in words why the service refuses the page. */

import {h} from "./dom.js";
import {isToken} from "./preferences.js";

/** Return the words for the error that has ended a stream. */
export function wordsOf(error, text) {
  const reason = error.message;
  if (error.name === "AuthenticationError") return text[reason] ?? reason;
  if (reason.startsWith("too many contracts")) return text.tooMany(reason);
  if (reason.startsWith("contract not covered")) return text.uncovered;
  return text.refused(reason);
}

/** One sentence, one field, one button. */
export function tokenForm(app, error) {
  const {text} = app;
  const problem = h("p", {class: "problem", role: "alert"}, wordsOf(error, text));
  const field = h("input", {type: "password", id: "token", autocomplete: "off",
    spellcheck: "false", dir: "ltr", required: true, "aria-describedby": "kept"});
  const form = h("form", {class: "access", onsubmit: event => {
    event.preventDefault();
    const token = field.value.trim().replace(/^bearer\s+/i, "");
    if (isToken(token)) app.start(token);
    else problem.textContent = text.badToken;
  }}, h("p", {}, text.tokenWanted), problem, h("label", {for: "token"}, text.token), field,
  h("button", {type: "submit"}, text.enter), h("p", {id: "kept", class: "note"}, text.tokenKept));
  return {node: form, focus: () => field.focus()};
}

/** What went wrong, and a button. */
export function refusal(app, error) {
  const button = h("button", {type: "button", onclick: () => app.start()}, app.text.again);
  return {node: h("div", {class: "access", role: "alert"}, h("p", {}, wordsOf(error, app.text)), button),
    focus: () => button.focus()};
}
