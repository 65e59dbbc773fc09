"""The processes that are measured: coordinator and workers. Each ends with this one, whatever ends it."""

import collections
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

PATIENCE_SECS = 120
TICK_SECS = 0.001
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """Something that is measured did not work; the message is for the person who runs this."""


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def log(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def rates_of(done_at, begin, end, window_secs=1):
    """What was done per second in windows between two times of the clock, of counts by the millisecond."""
    rates = []
    while begin + window_secs <= end + TICK_SECS / 2:
        first, last = round(begin / TICK_SECS), round((begin + window_secs) / TICK_SECS)
        rates.append(sum(done_at[tick] for tick in range(first, last)) / window_secs)
        begin += window_secs
    return rates


class Process:
    """A process whose stderr is a file."""

    def __init__(self, command, log, **more):
        self.log = pathlib.Path(log)
        self.name = os.path.basename(str(command[0]))
        with open(self.log, "wb") as stderr:
            self.popen = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=stderr, text=True, preexec_fn=end_with_parent, **more)

    def said(self, pattern, patience=PATIENCE_SECS):
        """Waits until stderr matches; the match."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            match = re.search(pattern, self.log.read_text(errors="replace"))
            if match:
                return match
            if self.popen.poll() is not None:
                raise Failed(f"{self.name} ended: {self.last_words()}")
            time.sleep(0.02)
        raise Failed(f"{self.name} did not say `{pattern}` within {patience} s: {self.last_words()}")

    def last_words(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-5:]) or "it said nothing"

    def end(self, patience=PATIENCE_SECS):
        """Asks it to end; what it wrote to stdout."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            output, _ = self.popen.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.communicate()
            raise Failed(f"{self.name} did not end within {patience} s and was killed") from None
        if self.popen.returncode not in (0, -signal.SIGTERM):
            raise Failed(f"{self.name} failed ({self.popen.returncode}): {self.last_words()}")
        return output

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.communicate()

    def cpu_secs(self):
        """Of all its threads, since its start."""
        fields = pathlib.Path(f"/proc/{self.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


class Coordinator(Process):
    """`gauntlet coordinator`, and the commands that talk to it."""

    def __init__(self, gauntlet, database_url, folder):
        self.gauntlet = str(gauntlet)
        self.folder = pathlib.Path(folder)
        command = [gauntlet, "--state-dir", self.folder / "state", "--database-url", database_url,
                   "coordinator", "--listen", "127.0.0.1:0"]
        super().__init__(command, self.folder / "coordinator.log")
        self.endpoint = self.said(r"coordinator: (http://\S+)").group(1)

    def command(self, *arguments):
        """Runs a command of the client; what it prints."""
        command = [self.gauntlet, "--endpoint", self.endpoint, "--state-dir", str(self.folder / "state"), *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Failed(f"gauntlet {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def submit(self, path):
        """Seconds that it took, start of the client included, and the sweep's id."""
        start = time.monotonic()
        sweep = self.command("submit", "-q", path).strip()
        return time.monotonic() - start, sweep

    def sweep(self, sweep_id):
        """How far a sweep is."""
        return next(sweep for sweep in json.loads(self.command("sweeps", "--format", "json")) if sweep["sweep"] == sweep_id)


class Workers:
    """No-op workers in some processes."""

    def __init__(self, binary, endpoint, folder, name, processes=1, workers=1, slots=1, more=()):
        self.parts = []
        for number in range(processes):
            label = f"{name}-{number}"
            command = [binary, "--endpoint", endpoint, "--name", label, "--workers", workers, "--slots", slots, *more]
            self.parts.append(Process(command, pathlib.Path(folder) / f"{label}.log"))

    def wait(self):
        """Until all are connected."""
        for part in self.parts:
            part.said(r"workers are connected")
        return self

    def cpu_secs(self):
        return sum(part.cpu_secs() for part in self.parts)

    def hold(self):
        """From now on they keep what they are given."""
        for part in self.parts:
            part.popen.send_signal(signal.SIGUSR1)

    def stop(self):
        """Ends them; what they measured. Fails if a report was refused."""
        for part in self.parts:
            part.popen.terminate()
        measured = Measured()
        for part in self.parts:
            measured.add(json.loads(part.end()))
        if measured.refused:
            raise Failed(f"the coordinator refused reports: {dict(measured.refused)}")
        return measured

    def kill(self):
        """Ends them at once. Fails if one of them had ended already."""
        ended = [part for part in self.parts if part.popen.poll() not in (None, 0)]
        for part in self.parts:
            part.kill()
        if ended:
            raise Failed(f"{ended[0].name} ended: {ended[0].last_words()}")


class Measured:
    """What the workers of some processes saw."""

    def __init__(self):
        self.accepted = 0
        self.handed_back = 0
        self.refused = collections.Counter()
        self.latencies = {"refill_micros": collections.Counter(), "acknowledge_micros": collections.Counter()}
        self.assigned_at = collections.Counter()
        self.accepted_at = collections.Counter()

    def add(self, process):
        self.accepted += process["accepted"]
        self.handed_back += process["handed_back"]
        self.refused.update(process["refused"])
        for name, counter in self.latencies.items():
            counter.update(dict(process[name]))
        self.assigned_at.update(dict(process["assigned_at"]))
        self.accepted_at.update(dict(process["accepted_at"]))

    def percentile_millis(self, name, percent):
        """Of a latency; None where none was seen."""
        counts = sorted(self.latencies[name].items())
        total = sum(count for _, count in counts)
        seen = 0
        for micros, count in counts:
            seen += count
            if seen * 100 >= total * percent:
                return micros / 1000
        return None

    def rates(self, begin, end):
        """Results accepted per second in windows between two times of the clock."""
        return rates_of(self.accepted_at, begin, end)

    def burst_rate(self, begin, end, first, last):
        """Results per second between the first so many and the last so many that were accepted between two times of the clock."""
        reached = {}
        done = 0
        for tick in range(round(begin / TICK_SECS), round(end / TICK_SECS)):
            done += self.accepted_at[tick]
            for mark in (first, last):
                if done >= mark and mark not in reached:
                    reached[mark] = (tick, done)
        if len(reached) < 2 or reached[first][0] == reached[last][0]:
            raise Failed(f"{done} results came in a burst, too few or too soon to be measured")
        (since, before), (until, after) = reached[first], reached[last]
        return (after - before) / ((until - since) * TICK_SECS)
