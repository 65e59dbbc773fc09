// Graphile Worker. Variant `batched`: as the page on performance of its manual sets it up, 24 jobs at once, fetched 500 at a time, completions in
// batches. Variant `single`: the same without batches, so that each job is fetched and completed by itself.

import { Logger, makeWorkerUtils, run } from "graphile-worker";

import { amount, enqueued, note, url, variant, what, worked } from "./common.js";

const BATCH = 10_000;
const batches = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
const silent = new Logger(() => () => {});

if (what === "enqueue") {
  const utils = await makeWorkerUtils({ connectionString: url, logger: silent });
  await utils.migrate();
  await enqueued(async () => {
    for (let first = 0; first < amount; first += BATCH) {
      const length = Math.min(BATCH, amount - first);
      await utils.addJobs(Array.from({ length }, (_, n) => ({ identifier: "noop", payload: { n: first + n } })));
    }
  });
  await utils.release();
} else {
  let runner;
  const start = async () => {
    runner = await run({
      preset: {
        worker: {
          connectionString: url,
          concurrentJobs: 24,
          maxPoolSize: 25,
          ...(variant === "batched" ? batches : {}),
        },
      },
      logger: silent,
      noHandleSignals: true,
      taskList: { noop: () => note(1) },
    });
  };
  await worked(start, () => runner.stop());
}
