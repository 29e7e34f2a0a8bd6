/** API key of the person at the page. It is kept until the tab is closed, and sent to this service only. */

const KEY = "unroll-api-key";
/** Where the browser has no storage, the key lasts as long as the page. */
let unstored = "";

/** @returns {string} empty if there is none */
export function apiKey() {
  try {
    return sessionStorage.getItem(KEY) ?? unstored;
  } catch {
    return unstored;
  }
}

/** @param {string} key empty to forget it */
export function keepApiKey(key) {
  unstored = key;
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // nothing to do: see `unstored`
  }
}

/** @returns {Object<string, string>} header of every request */
export const keyHeader = () => (apiKey() ? { Authorization: `Bearer ${apiKey()}` } : {});
