/** Client of the service's API. The page sends data nowhere else. */

import { keyHeader } from "./api_key.js";
import { eventsOf } from "./event_stream.js";

/** Error response of the service. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {{error: string, error_type: string, detail?: {field: string, message: string}[], reasons?: string[],
   *   request_id?: string}} body
   */
  constructor(status, body) {
    super(body.error);
    this.status = status;
    this.type = body.error_type;
    this.detail = body.detail ?? [];
    this.reasons = body.reasons ?? [];
    this.requestId = body.request_id ?? "";
  }
}

/** The service did not answer. */
export class Unreachable extends Error {}

/** Resolve relative to the page, so that it works behind a proxy with a path prefix. */
export const addressOf = (path) => new URL(path, document.baseURI).href;

/** @returns {Promise<object>} */
export async function getJson(path) {
  return (await send(path, {})).json();
}

/** @returns {Promise<string>} */
export async function getText(path) {
  return (await send(path, {})).text();
}

/**
 * @param {object} body of `POST /predict`
 * @param {AbortSignal} signal
 * @returns {Promise<{answer: object, requestId: string}>}
 */
export async function predict(body, signal) {
  const response = await post("predict", body, signal);
  return { answer: await unlessBroken(response.json()), requestId: requestIdOf(response) };
}

/**
 * @param {object} body of `POST /generate_stream`
 * @param {AbortSignal} signal ends the stream, and the generation in the service
 * @returns {Promise<{events: AsyncGenerator<object[]>, requestId: string}>}
 */
export async function generate(body, signal) {
  const response = await post("generate_stream", body, signal);
  return { events: checked(eventsOf(response.body)), requestId: requestIdOf(response) };
}

const requestIdOf = (response) => response.headers.get("x-request-id") ?? "";

function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return send(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function send(path, options) {
  const headers = { ...keyHeader(), ...options.headers };
  const response = await unlessBroken(fetch(addressOf(path), { ...options, headers }));
  if (response.ok) return response;
  throw new Refused(response.status, await bodyOfRefusal(response));
}

async function bodyOfRefusal(response) {
  try {
    return await response.json();
  } catch {
    return { error: `the service answered ${response.status}`, error_type: "unknown" };
  }
}

/** Throw the error of an event, which reports a failure after the stream began. */
async function* checked(batches) {
  try {
    for await (const events of batches) {
      yield events.filter((event) => !event.error);
      const failed = events.find((event) => event.error);
      if (failed) throw new Refused(0, failed);
    }
  } catch (error) {
    throw asUnreachable(error);
  }
}

async function unlessBroken(work) {
  try {
    return await work;
  } catch (error) {
    throw asUnreachable(error);
  }
}

/** Browsers throw a TypeError, with texts of their own, when the network fails. */
function asUnreachable(error) {
  if (!(error instanceof TypeError)) return error;
  return new Unreachable("The service cannot be reached. Is it still running, and is this machine connected?");
}
