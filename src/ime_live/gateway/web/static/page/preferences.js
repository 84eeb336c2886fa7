/** Keep favourites and choices in the browser. Without its storage they last as long as the page. */

const KEY = "ime-live";
const TOKEN = "ime-live.token";

/** Whether a text can be a token: RFC 9110, 5.6.2; others cannot be in a subprotocol. */
export function isToken(text) { return /^[\w!#$%&'*+.^`|~-]+$/.test(text ?? ""); }

function read(storage, key) {
  try {
    return globalThis[storage].getItem(key);
  } catch {
    return null; // storage can be switched off by the user or by a policy
  }
}

function write(storage, key, value) {
  try {
    if (value === null) globalThis[storage].removeItem(key);
    else globalThis[storage].setItem(key, value);
  } catch {
    // As above: the choice is kept in memory.
  }
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

const chosen = parsed(read("localStorage", KEY));
const stars = new Set(Array.isArray(chosen.stars) ? chosen.stars.map(String) : []);
let token = read("sessionStorage", TOKEN);
if (!isToken(token)) token = null; // somebody else has written it

function save() {
  write("localStorage", KEY, JSON.stringify({...chosen, stars: [...stars]}));
}

export const preferences = {
  /** Return a choice, or undefined. */
  get(name) { return chosen[name]; },
  set(name, value) {
    chosen[name] = value;
    save();
  },
  starred(id) { return stars.has(id); },
  toggleStar(id) {
    if (!stars.delete(id)) stars.add(id);
    save();
  },
  /** The token is kept for the session of this tab only. */
  get token() { return token; },
  set token(value) {
    token = value;
    write("sessionStorage", TOKEN, value);
  },
};

const root = document.documentElement;

/** Return "light" or "dark": what is shown now. The script of the start has set it. */
export function themeNow() { return root.dataset.theme; }

// The system may change it during the day, as long as nothing is chosen here.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ({matches}) => {
  if (chosen.theme !== undefined) return;
  root.dataset.theme = matches ? "dark" : "light";
  dispatchEvent(new Event("themechange"));
});

export function chooseTheme(theme) {
  root.dataset.theme = theme;
  preferences.set("theme", theme);
}

export function chooseLanguage(language) {
  root.lang = language;
  root.dir = language === "fa" ? "rtl" : "ltr";
  preferences.set("language", language);
}
