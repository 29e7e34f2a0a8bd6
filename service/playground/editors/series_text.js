/** Parse series of numbers from CSV or JSON, and write CSV. */

const SEPARATORS = ["\t", ";", ","];
const MAX_NAMES_SHOWN = 12;

/**
 * @param {string} text CSV with or without names in the first line, or JSON
 * @param {string[]} channels columns to take, in this order
 * @returns {number[][]} one row per time step. Throws if nothing can be sent; the service validates the rest
 */
export function rowsOf(text, channels) {
  const trimmed = text.trim();
  if (!trimmed) throw new Error("no numbers yet: draw, paste or choose some");
  return /^[[{]/.test(trimmed) ? rowsOfJson(trimmed, channels) : rowsOfCsv(trimmed, channels);
}

/** @param {number[][]} rows @param {string[]} channels */
export function csvOf(rows, channels) {
  const names = channels.map((name) => (/[",;\t]/.test(name) ? `"${name}"` : name));
  return [names, ...rows].map((cells) => cells.join(",")).join("\n");
}

function rowsOfJson(text, channels) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`invalid JSON: ${error.message}`);
  }
  const rows = value.inputs?.frames ?? value.frames ?? value;
  if (!Array.isArray(rows)) throw new Error("the JSON is neither a list of rows nor an object with “frames”");
  return rows.map((row, index) => rowOfJson(row, channels, `row ${index + 1}`));
}

function rowOfJson(row, channels, place) {
  if (typeof row === "number") return [row];
  if (Array.isArray(row)) return row.map((value, index) => numberOf(value, place, channels[index] ?? index + 1));
  return channels.map((name) => numberOf(row?.[name], place, name));
}

function rowsOfCsv(text, channels) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const separator = SEPARATORS.find((sign) => lines[0].includes(sign)) ?? " ";
  const cells = lines.map((line) => cellsOf(line, separator));
  const hasNames = cells[0].some((cell) => !isNumber(cell, separator));
  const columns = hasNames ? columnsOf(cells[0], channels) : cells[0].map((_, column) => column);
  const read = (cell, line, channel) =>
    numberOf(plain(cell, separator), `line ${line}`, channels[channel] ?? channel + 1);
  const first = hasNames ? 1 : 0;
  return cells
    .slice(first)
    .map((row, index) => columns.map((column, channel) => read(row[column], index + first + 1, channel)));
}

function columnsOf(names, channels) {
  const missing = channels.filter((name) => !names.includes(name));
  if (!missing.length) return channels.map((name) => names.indexOf(name));
  const shown = missing.slice(0, MAX_NAMES_SHOWN).join(", ");
  throw new Error(`the first line has no column named ${shown}${missing.length > MAX_NAMES_SHOWN ? ", …" : ""}`);
}

function cellsOf(line, separator) {
  const cells = [""];
  let isQuoted = false;
  for (const sign of separator === " " ? line.trim().replace(/\s+/g, " ") : line) {
    if (sign === '"') isQuoted = !isQuoted;
    else if (sign === separator && !isQuoted) cells.push("");
    else cells[cells.length - 1] += sign;
  }
  return cells.map((cell) => cell.trim());
}

/** Where commas are not separators, they may be decimal commas. */
const plain = (cell, separator) => (separator === "," ? cell : cell?.replace(",", "."));

const isNumber = (cell, separator) => cell !== "" && Number.isFinite(Number(plain(cell, separator)));

function numberOf(value, place, column) {
  const number = typeof value === "string" && value !== "" ? Number(value) : value;
  if (typeof number === "number" && Number.isFinite(number)) return number;
  const found = value === undefined || value === "" || value === null ? "nothing" : `“${value}”`;
  throw new Error(`${place}, column ${column}: expected a number, found ${found}`);
}
