// Lay out JSON for reading without decoding it, so that numbers stay as they were sent.

const STEP = "  ";

/**
 * Lay out JSON over lines. Text that is not JSON is returned as it is.
 *
 * @param {string} text
 */
export function laidOut(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let made = "";
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === "{" || token === "[") {
      depth += 1;
      made += token + newline(depth);
    } else if (token === "}" || token === "]") {
      depth -= 1;
      made += newline(depth) + token;
    } else if (token === ",") {
      made += token + newline(depth);
    } else {
      made += token === ":" ? ": " : token;
    }
  }
  return made;
}

/** @param {number} depth */
function newline(depth) {
  return "\n" + STEP.repeat(depth);
}
