// What both peers share: how they are asked, and what they tell. `scripts/bench/dispatching/peers.py` runs them.
//
//     node PEER.js enqueue URL JOBS            prints the seconds that it took
//     node PEER.js work URL SECONDS VARIANT    prints when jobs were done: pairs of a time since 1970 in milliseconds and a count

const TICK_MILLIS = 1;

export const [what, url, amount, variant] = [process.argv[2], process.argv[3], Number(process.argv[4]), process.argv[5]];

const done = new Map();

export function note(count) {
  const tick = Math.floor(Date.now() / TICK_MILLIS);
  done.set(tick, (done.get(tick) ?? 0) + count);
}

export async function enqueued(work) {
  const start = performance.now();
  await work();
  console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000 }));
}

export async function worked(start, stop) {
  await start();
  console.error("working");
  await new Promise((resolve) => {
    setTimeout(resolve, amount * 1000);
    process.on("SIGTERM", resolve);
  });
  await stop();
  console.log(JSON.stringify({ done_at: [...done] }));
  // Whatever timer a library leaves behind.
  process.exit(0);
}
