//! What workers do, and how messages travel between them and coordinators.

use super::*;

impl World {
    pub(super) fn delay(&mut self) -> i64 {
        let long = self.random.random_bool(0.01);
        self.random.random_range(100..if long { 3 * SECOND } else { 20_000 })
    }

    pub(super) fn send_up(&mut self, stream: StreamId, message: ToCoordinator) {
        let delay = self.delay();
        let at = Stream::arrival(&mut self.streams[stream].latest_up, Timestamp(self.now.0 + delay));
        self.counts.messages += 1;
        let report = matches!(message, ToCoordinator::Report { .. });
        if report && self.random.random_bool(0.02) {
            let again = at.0 + self.delay();
            self.at(Timestamp(again), Event::Up(stream, message.clone()));
        }
        self.at(at, Event::Up(stream, message));
    }

    pub(super) fn send_down(&mut self, stream: StreamId, message: ToWorker) {
        let delay = self.delay();
        let at = Stream::arrival(&mut self.streams[stream].latest_down, Timestamp(self.now.0 + delay));
        self.counts.messages += 1;
        if matches!(message, ToWorker::Assign(_)) && self.random.random_bool(0.02) {
            let again = at.0 + self.delay();
            self.at(Timestamp(again), Event::Down(stream, message.clone()));
        }
        self.at(at, Event::Down(stream, message));
    }

    pub(super) fn arrive_down(&mut self, stream: StreamId, message: ToWorker) {
        let index = self.streams[stream].worker;
        let worker = &mut self.workers[index];
        if worker.stream != Some(stream) {
            return;
        }
        let until = worker.cut_until.max(worker.paused_until);
        if until > self.now {
            let at = Stream::arrival(&mut self.streams[stream].latest_down, until);
            self.at(at, Event::Down(stream, message));
            return;
        }
        worker.last_contact = self.now;
        if let ToWorker::Acknowledge { attempt, accepted: true } = message
            && worker.spool.get(&attempt) == Some(&Ending::Success)
        {
            self.database.ledger.acknowledged(attempt.task, attempt.attempt);
        }
        let actions = worker.hear(message);
        self.act(index, actions);
    }

    pub(super) fn act(&mut self, worker: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => {
                    if let Some(stream) = self.workers[worker].stream {
                        self.send_up(stream, message);
                    }
                }
                Action::Compute(attempt) => {
                    let life = self.workers[worker].life;
                    let cost = self.database.rows[&attempt.task].cost as i64;
                    self.after(cost, Event::Finish(worker, life, attempt));
                }
            }
        }
    }

    pub(super) fn finish(&mut self, worker: usize, life: u32, attempt: AttemptRef) {
        let until = self.workers[worker].paused_until.0;
        if self.workers[worker].life != life || self.put_off(until, Event::Finish(worker, life, attempt)) {
            return;
        }
        let planned = self.database.rows[&attempt.task].ending;
        let ending = if self.random.random_bool(0.02) { Ending::Transient } else { planned };
        let actions = self.workers[worker].finished(attempt, ending);
        self.act(worker, actions);
    }

    pub(super) fn worker_tick(&mut self, index: usize, life: u32) {
        let until = self.workers[index].paused_until.0;
        if self.workers[index].life != life || self.put_off(until, Event::WorkerTick(index, life)) {
            return;
        }
        self.after(HEARTBEAT, Event::WorkerTick(index, life));
        let worker = &mut self.workers[index];
        let silence = self.now.0 - worker.last_contact.0;
        if silence > LEASE_TTL {
            worker.running.clear();
        }
        let opened = self.now.0 - worker.opened.0;
        match worker.stream {
            Some(stream) if silence.min(opened) <= KEEPALIVE => self.send_up(stream, ToCoordinator::Heartbeat),
            Some(_) => worker.stream = None,
            None => self.connect(index),
        }
    }

    pub(super) fn connect(&mut self, index: usize) {
        let coordinator = self.random.random_range(0..self.coordinators.len());
        let worker = &mut self.workers[index];
        if !self.coordinators[coordinator].up || worker.cut_until > self.now {
            return;
        }
        let stream = self.streams.len();
        let life = self.coordinators[coordinator].life;
        let (latest_up, latest_down) = (self.now, self.now);
        self.streams.push(Stream { worker: index, coordinator, life, latest_up, latest_down });
        worker.stream = Some(stream);
        worker.opened = self.now;
        let attempts = worker.announce();
        self.send_up(stream, ToCoordinator::Hello { attempts });
    }
}
