//! The loop's dealings with the coordinator.

use std::time::Duration;

use gauntlet_domain::AttemptRef;
use gauntlet_proto::v1::{self, WorkerMessage, coordinator_message, worker_message};
use gauntlet_proto::{PROTOCOL_VERSION, convert};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Introduction, Link, Runtime, Work};
use crate::assignment::{self, Refusal};
use crate::attempts::Input;
use crate::error::AgentError;
use crate::report::Content;
use crate::session::SessionEvent;

/// Room for one message to the coordinator; never, where there is none.
pub(super) async fn reserve(link: Option<mpsc::Sender<WorkerMessage>>) -> Option<mpsc::OwnedPermit<WorkerMessage>> {
    match link {
        Some(sender) => match sender.reserve_owned().await {
            Ok(permit) => Some(permit),
            // The session is over and is about to say so.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

impl Runtime {
    pub(super) fn link(&self) -> Option<mpsc::Sender<WorkerMessage>> {
        match &self.link {
            Link::Up(sender) => Some(sender.clone()),
            Link::Down { .. } => None,
        }
    }

    pub(super) fn send_next(&mut self, permit: Option<mpsc::OwnedPermit<WorkerMessage>>) {
        if let (Some(permit), Some(report)) = (permit, self.outbox.send_next()) {
            self.last_exchange = Instant::now();
            permit.send(WorkerMessage { message: Some(worker_message::Message::Report(report)) });
        }
    }

    /// Says something that may be lost.
    pub(super) fn say(&self, message: worker_message::Message) {
        if let Link::Up(sender) = &self.link {
            // Progress is followed by newer progress, and who has not heard of our draining gets handed back what he assigns.
            let _ = sender.try_send(WorkerMessage { message: Some(message) });
        }
    }

    pub(super) fn hear_session(&mut self, event: SessionEvent) -> Result<(), AgentError> {
        match event {
            SessionEvent::HelloWanted(answer) => {
                // A session that is gone again asks anew.
                let _ = answer.send(self.hello());
            }
            SessionEvent::Welcomed { endpoint, lease, outgoing } => self.welcomed(&endpoint, lease, outgoing),
            SessionEvent::Said(message) => self.hear_coordinator(message),
            SessionEvent::Lost { endpoint, reason, pause } => self.lost(&endpoint, &reason, pause),
            SessionEvent::Refused { endpoint, reason, .. } if self.lease.is_none() => {
                return Err(AgentError::Refused { endpoint, message: reason });
            }
            SessionEvent::Refused { endpoint, reason, pause } => self.lost(&endpoint, &reason, pause),
        }
        Ok(())
    }

    fn hello(&mut self) -> v1::Hello {
        self.announced = &self.attempts.running() | &self.outbox.ended_attempts();
        let place = |attempt: &AttemptRef| {
            let place = self.attempts.place(*attempt)?;
            Some(v1::AttemptPlace {
                attempt: Some((*attempt).into()),
                device: place.device.clone().unwrap_or_default(),
                memory_mib: place.memory_mib,
            })
        };
        let Introduction { worker_id, hostname, devices, slots, labels, ends } = &self.introduction;
        v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            worker_id: worker_id.to_string(),
            hostname: hostname.clone(),
            devices: devices.clone(),
            slots: *slots,
            labels: labels.clone().into_iter().collect(),
            attempts: self.announced.iter().copied().map(Into::into).collect(),
            remaining_secs: ends.map(|ends| ends.saturating_duration_since(Instant::now()).as_secs_f64()),
            places: self.announced.iter().filter_map(place).collect(),
            held_tasks: self.workshop.cache.held_tasks().iter().map(ToString::to_string).collect(),
        }
    }

    fn welcomed(&mut self, endpoint: &str, lease: Duration, outgoing: mpsc::Sender<WorkerMessage>) {
        let replayed = self.outbox.len();
        tracing::info!(
            coordinator = endpoint,
            ?lease,
            running = self.attempts.running().len(),
            replayed,
            "the session stands"
        );
        self.deletion = None;
        self.link = Link::Up(outgoing);
        self.lease = Some(lease);
        self.outbox.rewind();
        self.last_exchange = Instant::now();
        if self.attempts.is_draining() {
            self.say(worker_message::Message::Draining(v1::Draining {}));
        }
        // What was announced but given up before the welcome would be waited for in vain.
        let running = self.attempts.running();
        for attempt in std::mem::take(&mut self.announced) {
            if !running.contains(&attempt) && !self.outbox.has_end_of(attempt) {
                let message = "the worker stopped it while the coordinator was out of reach".to_owned();
                self.report(attempt, Content::HandedBack(message));
            }
        }
    }

    fn lost(&mut self, endpoint: &str, reason: &str, pause: Duration) {
        tracing::warn!(coordinator = endpoint, reason, ?pause, "no session");
        self.deletion = None;
        if matches!(self.link, Link::Up(_)) {
            self.link = Link::Down { since: Instant::now() };
        }
    }

    fn hear_coordinator(&mut self, message: coordinator_message::Message) {
        use coordinator_message::Message;
        match message {
            Message::Welcome(_) => tracing::warn!("the coordinator welcomes this worker twice"),
            Message::Assign(wire) => self.assigned(wire),
            Message::Cancel(cancel) => match convert::attempt_ref(cancel.attempt) {
                Ok(attempt) => {
                    self.follow(Input::Cancelled { attempt, reason: format!("cancelled: {}", cancel.reason) })
                }
                Err(error) => tracing::error!(%error, "a cancellation makes no sense"),
            },
            Message::Acknowledge(acknowledge) => self.acknowledged(&acknowledge),
            Message::DeleteArtifacts(order) => self.delete_artifacts(&order),
            Message::HandBack(v1::HandBack { attempt, reason }) => match convert::attempt_ref(attempt) {
                Ok(attempt) => {
                    tracing::info!(%attempt, reason, "an attempt is to be handed back");
                    self.follow(Input::HandBack { attempt, reason });
                }
                Err(error) => tracing::error!(%error, "the wish to have an attempt back makes no sense"),
            },
            Message::Drain(v1::Drain { hand_back: true }) => self.leave_in_good_order("the worker is drained at once"),
            Message::Drain(v1::Drain { hand_back: false }) => {
                tracing::info!(
                    running = self.attempts.running().len(),
                    "the worker is drained: it finishes what it runs and leaves"
                );
                self.follow(Input::Drain);
                self.say(worker_message::Message::Draining(v1::Draining {}));
            }
        }
    }

    fn assigned(&mut self, wire: v1::Assign) {
        let input = match assignment::read(wire) {
            Ok(assignment) if self.outbox.has_end_of(assignment.attempt) => return,
            Ok(assignment) => Input::Assigned(Box::new(assignment)),
            Err(Refusal::Failed(attempt, _)) if self.outbox.has_end_of(attempt) => return,
            Err(refusal) => {
                tracing::error!(?refusal, "an assignment makes no sense");
                Input::Refused(refusal)
            }
        };
        self.follow(input);
    }

    fn acknowledged(&mut self, acknowledge: &v1::Acknowledge) {
        use v1::acknowledge::Verdict;
        let v1::Acknowledge { report_id, message, .. } = acknowledge;
        let disowned = match acknowledge.verdict() {
            Verdict::Unspecified => {
                tracing::error!(report_id, "the coordinator does not say what became of a report: it is kept");
                return;
            }
            Verdict::UploadAgain => {
                self.last_exchange = Instant::now();
                self.upload_again(report_id, acknowledge.deleted_at_micros);
                return;
            }
            Verdict::Accepted => None,
            Verdict::Stale => Some(format!("its report is stale: {message}")),
            Verdict::Invalid => Some(format!("its report makes no sense to the coordinator: {message}")),
        };
        self.last_exchange = Instant::now();
        let Some((sequence, attempt)) = self.outbox.acknowledge(report_id) else { return };
        self.spool.delete(sequence);
        if let Some(reason) = disowned {
            tracing::warn!(%attempt, report_id, "{reason}");
            self.follow(Input::Disowned { attempt, reason });
        }
    }

    /// What is done now and then.
    pub(super) fn tick(&mut self) {
        match (&self.link, self.lease) {
            (Link::Down { since }, Some(lease)) if !self.attempts.is_empty() && since.elapsed() > lease => {
                self.follow(Input::LeaseExpired);
            }
            _ => {}
        }
        if self.outbox.awaits_acknowledgement() && self.last_exchange.elapsed() > self.tuning.resend_after {
            tracing::warn!(reports = self.outbox.len(), "the coordinator does not answer reports: they are sent again");
            self.outbox.rewind();
            self.last_exchange = Instant::now();
        }
        self.stop_what_is_overdue();
        self.pass_on_progress();
    }

    fn stop_what_is_overdue(&mut self) {
        let now = Instant::now();
        let is_overdue =
            |(attempt, work): (&AttemptRef, &Work)| work.yields_by.is_some_and(|by| by <= now).then_some(*attempt);
        let overdue: Vec<AttemptRef> = self.work.iter().filter_map(is_overdue).collect();
        for attempt in overdue {
            if let Some(work) = self.work.get_mut(&attempt) {
                work.yields_by = None;
            }
            tracing::warn!(%attempt, "an attempt does not stop in good order: its executor is killed");
            self.follow(Input::Overdue { attempt });
        }
    }

    fn pass_on_progress(&mut self) {
        let mut messages = Vec::new();
        for (attempt, work) in &mut self.work {
            messages.extend(work.progress.take());
            let silent = work.last_heard.elapsed();
            if self.attempts.is_executing(*attempt) && silent > self.tuning.silence {
                tracing::warn!(%attempt, label = work.label, ?silent, "an attempt has said nothing for long");
                work.last_heard = Instant::now();
            }
        }
        for progress in messages {
            self.say(worker_message::Message::Progress(progress));
        }
    }
}
