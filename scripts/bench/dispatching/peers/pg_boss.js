// pg-boss. Variant `batched`: with what its manual offers for speed, batches, several workers in a process, and no pause while batches come back full.
// Variant `results`: the same, and each job of a batch is settled by itself with a result that is kept, as long as the outcomes of one example.

import { PgBoss } from "pg-boss";

import { amount, enqueued, note, url, variant, what, worked } from "./common.js";

const QUEUE = "noop";
const INSERT = 10_000;
const BATCH = 500;
const WORKERS = 4;
const OUTCOMES = { label: [0], clean: [0], adversarial: [0], clean_loss: [0], adversarial_loss: [0], distance: [0] };

const boss = new PgBoss({ connectionString: url, max: 20 });
boss.on("error", (error) => console.error(error));

if (what === "enqueue") {
  await boss.start();
  await boss.createQueue(QUEUE);
  await enqueued(async () => {
    for (let first = 0; first < amount; first += INSERT) {
      const length = Math.min(INSERT, amount - first);
      await boss.insert(QUEUE, Array.from({ length }, (_, n) => ({ data: { n: first + n } })));
    }
  });
  await boss.stop({ graceful: false });
} else {
  const start = async () => {
    await boss.start();
    const options = { batchSize: BATCH, localConcurrency: WORKERS, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
    if (variant === "results") {
      await boss.work(QUEUE, { ...options, perJobResults: true }, async (jobs) => {
        note(jobs.length);
        return jobs.map(({ id }) => ({ id, status: "completed", output: OUTCOMES }));
      });
    } else {
      await boss.work(QUEUE, options, async (jobs) => note(jobs.length));
    }
  };
  await worked(start, () => boss.stop());
}
