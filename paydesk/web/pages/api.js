// Talks to the service: JSON in and out, the key in a header, every failure as one sentence.

const LONGEST_S = 60; // a payment waits up to 50 s for the bank
const SLOW_S = 4;

/** An answer that is no success; `status` 0: there was no answer at all. */
export class ApiError extends Error {
  constructor(status, problem, retryAfterS = null) {
    super(problem.error ?? "Paydesk gave an answer that says nothing. Look into its log.");
    this.status = status;
    this.problem = problem;
    this.retryAfterS = retryAfterS;
  }
}

export class Api extends EventTarget {
  /** `base`: "" for the page's own service, else its address. Events: slow, answered, signin. */
  constructor(base = "", key = "") {
    super();
    this.base = base;
    this.key = key;
  }

  get(path, options) {
    return this.#call("GET", path, undefined, options);
  }

  post(path, body, options) {
    return this.#call("POST", path, body, options);
  }

  /** A file as the service sends it. */
  async blob(path) {
    const answer = await this.#fetch("GET", path, undefined, {});
    return answer.blob();
  }

  async #call(method, path, body, options = {}) {
    const answer = await this.#fetch(method, path, body, options);
    try {
      return await answer.json();
    } catch (error) {
      throw new ApiError(0, { error: this.#silence(error, options) });
    }
  }

  async #fetch(method, path, body, { headers = {}, signal, quiet = false }) {
    const slow = setTimeout(() => quiet || this.#tell("slow"), SLOW_S * 1000);
    const late = AbortSignal.timeout(LONGEST_S * 1000);
    const all = { ...headers };
    if (this.key) all.Authorization = `Bearer ${this.key}`;
    if (body !== undefined) all["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(this.base + path, {
        method,
        headers: all,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, late]) : late,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      this.#tell("answered", { reached: false });
      throw new ApiError(0, { error: this.#silence(error) });
    } finally {
      clearTimeout(slow);
    }
    this.#tell("answered", { reached: true });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    if (answer.status === 401) this.#tell("signin", { sentence: this.key ? problem.error : "" });
    throw new ApiError(answer.status, problem, Number(answer.headers.get("Retry-After")) || null);
  }

  #silence(error) {
    if (navigator.onLine === false) return "This computer is offline. What you typed stays here.";
    if (error.name === "TimeoutError") {
      return `Paydesk did not answer within ${LONGEST_S} s. Look whether it runs.`;
    }
    return "Paydesk cannot be reached. Look whether it runs; what you typed stays here.";
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
