//! What coordinators do when their loops come round and when messages arrive.

use gauntlet_domain::schedule::{QueueView, WorkerView};

use super::*;

impl World {
    pub(super) fn lives(&self, coordinator: usize, life: u32) -> bool {
        let it = &self.coordinators[coordinator];
        it.up && it.life == life
    }

    pub(super) fn wake(&mut self, coordinator: usize) {
        if !std::mem::replace(&mut self.coordinators[coordinator].awake, true) {
            let life = self.coordinators[coordinator].life;
            self.after(SECOND / 1000, Event::Look(coordinator, life));
        }
    }

    /// One look at the queue.
    pub(super) fn look(&mut self, coordinator: usize, life: u32) {
        let until = self.coordinators[coordinator].paused_until.max(self.database_up_from.0);
        if !self.lives(coordinator, life) || self.put_off(until, Event::Look(coordinator, life)) {
            return;
        }
        // A look that was asked for and the regular one are the same loop.
        if !std::mem::replace(&mut self.coordinators[coordinator].awake, false) {
            self.after(POLL, Event::Look(coordinator, life));
        }
        let workers = self.coordinators[coordinator].takers(self.now, SILENCE);
        let free: usize = workers.iter().map(|worker| worker.free_slots as usize).sum();
        if free == 0 {
            return;
        }
        let snapshot = self.snapshot(coordinator, workers, free.min(BATCH));
        let decisions = decide(&snapshot, &self.coordinators[coordinator].turns);
        let decided: Vec<QueueKey> = decisions.iter().map(|decision| decision.queue).collect();
        let (mut claimed, mut started) = (Vec::new(), Vec::new());
        for decision in decisions {
            let session = self.coordinators[coordinator].sessions[&decision.worker].number;
            if let Some(attempt) = self.database.claim(decision.task, &decision.worker, session, self.now) {
                claimed.push((decision.worker, attempt));
                started.push(decision.queue);
            }
        }
        let turns = &mut self.coordinators[coordinator].turns;
        turns.served(&snapshot.users, &snapshot.queues, started.iter().copied());
        self.observe_shares((coordinator, life), &snapshot, &decided, &started);
        if claimed.is_empty() {
            return;
        }
        if self.committed(coordinator) {
            return;
        }
        for (worker, attempt) in claimed {
            let Some(session) = self.coordinators[coordinator].sessions.get_mut(&worker) else { continue };
            session.running.insert(attempt);
            let stream = session.stream;
            self.send_down(stream, ToWorker::Assign(attempt));
        }
        self.wake(coordinator);
    }

    /// What the scheduler sees: of each queue no more than it needs.
    fn snapshot(&mut self, coordinator: usize, workers: Vec<WorkerView>, slots: usize) -> Snapshot {
        let (users, mut queues) = self.database.contest();
        let turns = &mut self.coordinators[coordinator].turns;
        turns.seat(&users, &queues);
        loop {
            let wanted = wanted(&users, &queues, turns, slots);
            if wanted.is_empty() {
                return Snapshot { workers, users, queues, ..Snapshot::default() };
            }
            for (key, count) in wanted {
                if let Some(queue) = queues.iter_mut().find(|queue| queue.key == key) {
                    queue.ready = self.database.front(key, count, self.now);
                    queue.more = queue.ready.len() == count;
                }
            }
        }
    }

    fn observe_shares(
        &mut self,
        coordinator: (usize, u32),
        snapshot: &Snapshot,
        decided: &[QueueKey],
        started: &[QueueKey],
    ) {
        let Snapshot { users, queues, .. } = snapshot;
        let owner = |key: &QueueKey| queues.iter().find(|queue| queue.key == *key).map(|queue| queue.user.clone());
        let owners = |keys: &[QueueKey]| keys.iter().filter_map(owner).collect::<Vec<UserName>>();
        let due = |queue: &QueueView| queue.more || !queue.ready.is_empty();
        let able = users.iter().filter(|user| {
            let mut his = queues.iter().filter(|queue| queue.user == user.name);
            his.any(|queue| due(queue) && queue.quota.room(queue.running) > 0) && user.quota.room(user.running) > 0
        });
        let able: Vec<_> = able.cloned().collect();
        if let Err(problem) = self.passed_over.note(coordinator, &able, &owners(decided), &owners(started)) {
            self.database.ledger.note(problem);
        }
        if let Some(problem) = self.database.shares.exceeded(self.database.ledger.running()) {
            self.database.ledger.note(format!("beyond its quota: {problem}"));
        }
    }

    pub(super) fn look_after_leases(&mut self, coordinator: usize, life: u32) {
        let until = self.coordinators[coordinator].paused_until.max(self.database_up_from.0);
        let event = Event::LookAfterLeases(coordinator, life);
        if !self.lives(coordinator, life) || self.put_off(until, event) {
            return;
        }
        self.after(LOOK_AFTER_LEASES, Event::LookAfterLeases(coordinator, life));
        let now = self.now;
        let last = self.coordinators[coordinator].last_look.replace(now);
        if last.is_none_or(|last| now.0 - last.0 > LEASE_TTL / 2) {
            self.database.grant_grace(LEASE, now);
        }
        for (worker, session) in &mut self.coordinators[coordinator].sessions {
            if now.0 - session.renewed.0 >= RENEWAL && now.0 - session.heard.0 <= RENEWAL {
                self.database.renew(worker, session.number, LEASE, now);
                session.renewed = now;
            }
        }
        self.database.expire(now);
        if !self.committed(coordinator) {
            self.reconcile(coordinator);
            self.wake(coordinator);
        }
    }

    /// What another coordinator did to sessions and attempts of this one.
    pub(super) fn reconcile(&mut self, coordinator: usize) {
        let workers: Vec<WorkerId> = self.coordinators[coordinator].sessions.keys().cloned().collect();
        for worker in workers {
            let session = &self.coordinators[coordinator].sessions[&worker];
            let (stream, number) = (session.stream, session.number);
            let known = session.running.clone();
            if self.database.workers[&worker].session != number {
                self.coordinators[coordinator].sessions.remove(&worker);
                continue;
            }
            let ended: Vec<AttemptRef> =
                known.iter().filter(|attempt| !self.database.is_running(&worker, **attempt)).copied().collect();
            for attempt in ended {
                self.coordinators[coordinator].sessions.get_mut(&worker).unwrap().running.remove(&attempt);
                self.send_down(stream, ToWorker::Cancel(attempt));
            }
            for orphan in self.database.leased_to(&worker) {
                if !known.contains(&orphan) {
                    self.database.take_back(&worker, orphan, self.now);
                }
            }
        }
    }

    pub(super) fn arrive_up(&mut self, stream: StreamId, message: ToCoordinator) {
        let Stream { worker, coordinator, life, .. } = self.streams[stream];
        if !self.lives(coordinator, life) {
            return;
        }
        let talks = self.workers[worker].stream == Some(stream);
        let blocked = if talks { self.workers[worker].cut_until.0 } else { 0 };
        let database = if matches!(message, ToCoordinator::Heartbeat) { 0 } else { self.database_up_from.0 };
        let until = blocked.max(self.coordinators[coordinator].paused_until).max(database);
        if until > self.now.0 {
            let at = Stream::arrival(&mut self.streams[stream].latest_up, Timestamp(until));
            self.at(at, Event::Up(stream, message));
            return;
        }
        let id = self.workers[worker].id.clone();
        match message {
            ToCoordinator::Hello { attempts } => self.welcome(stream, &id, &attempts),
            ToCoordinator::Heartbeat => {
                let now = self.now;
                if let Some(session) = self.coordinators[coordinator].session(&id, stream) {
                    session.heard = now;
                    self.send_down(stream, ToWorker::Beat);
                }
            }
            ToCoordinator::Report { attempt, ending } => self.store_report(stream, &id, attempt, ending),
        }
    }

    pub(super) fn welcome(&mut self, stream: StreamId, worker: &WorkerId, attempts: &BTreeSet<AttemptRef>) {
        let Stream { worker: index, coordinator, .. } = self.streams[stream];
        let (number, running, stale) = self.database.open_session(worker, attempts, LEASE, self.now);
        if self.committed(coordinator) {
            return;
        }
        let slots = self.workers[index].slots;
        let running = running.into_iter().collect();
        let session = Session { stream, number, slots, heard: self.now, renewed: self.now, running };
        self.coordinators[coordinator].sessions.insert(worker.clone(), session);
        self.send_down(stream, ToWorker::Welcome { stale });
        self.wake(coordinator);
    }

    pub(super) fn store_report(&mut self, stream: StreamId, worker: &WorkerId, attempt: AttemptRef, ending: Ending) {
        let coordinator = self.streams[stream].coordinator;
        let current = self.database.is_running(worker, attempt);
        let verdict = self.database.report(worker, attempt, ending, self.now);
        match verdict {
            Verdict::Stale => self.counts.stale_reports += 1,
            Verdict::Accepted if !current => self.counts.repeated_reports += 1,
            Verdict::Accepted => {}
        }
        if self.committed(coordinator) {
            return;
        }
        if let Some(session) = self.coordinators[coordinator].session(worker, stream) {
            session.running.remove(&attempt);
        }
        self.send_down(stream, ToWorker::Acknowledge { attempt, accepted: verdict == Verdict::Accepted });
        self.wake(coordinator);
    }
}
