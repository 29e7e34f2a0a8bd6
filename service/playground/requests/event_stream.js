/** Server-sent events with JSON in them, read from the body of a POST (the browser's own EventSource can only GET). */

/**
 * Whole events at the beginning of what has arrived, and what is left over.
 * @param {string} buffer
 * @returns {[string[], string]}
 */
export function takeEvents(buffer) {
  const blocks = buffer.split(/\r?\n\r?\n/);
  const rest = blocks.pop();
  return [blocks.map(dataOf).filter((data) => data !== ""), rest];
}

function dataOf(block) {
  const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice("data:".length).replace(/^ /, "")).join("\n");
}

/**
 * Those that arrive together come together.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<object[]>}
 */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const [events, rest] = takeEvents(buffer + value);
    buffer = rest;
    if (events.length) yield events.map((event) => JSON.parse(event));
  }
}
