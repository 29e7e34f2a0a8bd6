/** Light or dark theme: the system's preference until the user chooses. The choice outlasts the page. */

const KEY = "unroll-theme";
const root = document.documentElement;
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

/** Without storage in the browser, the choice lasts as long as the page. */
function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function store(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // nothing to do: see `stored`
  }
}

const current = () => root.dataset.theme ?? (prefersDark.matches ? "dark" : "light");

if (["light", "dark"].includes(stored())) root.dataset.theme = stored();

/** Make `button` switch the theme; its text is the other theme. */
export function installThemeButton(button) {
  const describe = () => {
    const other = current() === "dark" ? "Light" : "Dark";
    button.textContent = other;
    button.setAttribute("aria-label", `Switch to ${other.toLowerCase()} colours`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    store(root.dataset.theme);
    describe();
  });
  prefersDark.addEventListener("change", describe);
  describe();
}
