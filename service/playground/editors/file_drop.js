/** File input by button, drag and drop, or paste. */

/**
 * @param {HTMLElement} place where files may be dropped
 * @param {HTMLInputElement} input of type `file`
 * @param {(file: File) => void} take
 * @param {AbortSignal} closed removes the listeners
 */
export function takeFiles(place, input, take, closed) {
  const offer = (files) => {
    if (files?.length) take(files[0]);
    return Boolean(files?.length);
  };
  const mark = (isOver) => place.classList.toggle("is-over", isOver);
  input.addEventListener("change", () => offer(input.files));
  place.addEventListener("dragover", (event) => {
    event.preventDefault(); // or the browser would open the file instead of the page
    mark(true);
  });
  place.addEventListener("dragleave", ({ relatedTarget }) => place.contains(relatedTarget) || mark(false));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    offer(event.dataTransfer.files);
  });
  const paste = (event) => {
    const { types, files } = event.clipboardData;
    const isText = types.includes("text/plain"); // spreadsheets send a picture of the cells along with them
    if (!isText && offer(files)) event.preventDefault();
  };
  document.addEventListener("paste", paste, { signal: closed });
}
