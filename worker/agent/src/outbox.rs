//! Reports that the coordinator has not acknowledged, in the order they were made. Pure: the files are [`spool`](crate::spool)'s.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::AttemptRef;
use gauntlet_proto::v1;

use crate::report;

/// Place of a report in the order; also the beginning of its file's name.
pub(crate) type Sequence = u64;

#[derive(Debug, Clone)]
struct Entry {
    report: v1::Report,
    attempt: AttemptRef,
    is_final: bool,
    /// Whether its way to the disk has been tried: only then may it be sent.
    tried: bool,
}

/// The unacknowledged reports, and how far the present session has got with them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: BTreeMap<Sequence, Entry>,
    next: Sequence,
    /// Everything before has been sent in the present session.
    cursor: Sequence,
}

impl Outbox {
    /// Goes on where an earlier life of the agent ended.
    pub(crate) fn recovered(reports: Vec<(Sequence, AttemptRef, v1::Report)>, next: Sequence) -> Self {
        let entry = |(sequence, attempt, report): (Sequence, AttemptRef, v1::Report)| {
            (sequence, Entry { is_final: report::is_final(&report), report, attempt, tried: true })
        };
        Self { entries: reports.into_iter().map(entry).collect(), next, cursor: 0 }
    }

    /// Takes a report in; it is sent once [`tried`](Self::tried).
    pub(crate) fn push(&mut self, attempt: AttemptRef, report: v1::Report) -> Sequence {
        let sequence = self.next;
        self.next += 1;
        self.entries.insert(sequence, Entry { is_final: report::is_final(&report), report, attempt, tried: false });
        sequence
    }

    /// The report is on disk, or the disk would not have it. Gives its attempt, if the report is that attempt's last.
    pub(crate) fn tried(&mut self, sequence: Sequence) -> Option<AttemptRef> {
        let entry = self.entries.get_mut(&sequence)?;
        let first = !std::mem::replace(&mut entry.tried, true);
        (first && entry.is_final).then_some(entry.attempt)
    }

    /// Whether [`send_next`](Self::send_next) has something.
    pub(crate) fn can_send(&self) -> bool {
        self.entries.range(self.cursor..).next().is_some_and(|(_, entry)| entry.tried)
    }

    /// The next report to send in this session, never out of order.
    pub(crate) fn send_next(&mut self) -> Option<v1::Report> {
        let (&sequence, entry) = self.entries.range(self.cursor..).next().filter(|(_, entry)| entry.tried)?;
        self.cursor = sequence + 1;
        Some(entry.report.clone())
    }

    /// Everything is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// Whether something was sent and not answered.
    pub(crate) fn awaits_acknowledgement(&self) -> bool {
        self.entries.range(..self.cursor).next().is_some()
    }

    /// The coordinator has answered: the report is done with. Gives its attempt.
    pub(crate) fn acknowledge(&mut self, report_id: &str) -> Option<(Sequence, AttemptRef)> {
        let (&sequence, _) = self.entries.iter().find(|(_, entry)| entry.report.report_id == report_id)?;
        let entry = self.entries.remove(&sequence)?;
        Some((sequence, entry.attempt))
    }

    /// The report of this id, if it is not answered.
    pub(crate) fn find(&self, report_id: &str) -> Option<&v1::Report> {
        self.entries.values().map(|entry| &entry.report).find(|report| report.report_id == report_id)
    }

    /// Sends a report again, with all that followed it: its artifact was uploaded after this deletion.
    pub(crate) fn send_again(&mut self, report_id: &str, uploaded_after_micros: Option<i64>) {
        let found = self.entries.iter_mut().find(|(_, entry)| entry.report.report_id == report_id);
        if let Some((&sequence, entry)) = found {
            entry.report.uploaded_after_micros = uploaded_after_micros.or(entry.report.uploaded_after_micros);
            self.cursor = self.cursor.min(sequence);
        }
    }

    /// Nobody wants to hear of the attempt any more; a final report stays until it is answered.
    pub(crate) fn forget(&mut self, attempt: AttemptRef) -> Vec<Sequence> {
        let of_attempt =
            |(sequence, entry): (&Sequence, &Entry)| (entry.attempt == attempt && !entry.is_final).then_some(*sequence);
        let forgotten: Vec<Sequence> = self.entries.iter().filter_map(of_attempt).collect();
        for sequence in &forgotten {
            self.entries.remove(sequence);
        }
        forgotten
    }

    /// Attempts whose end is not acknowledged.
    pub(crate) fn ended_attempts(&self) -> BTreeSet<AttemptRef> {
        self.entries.values().filter(|entry| entry.is_final).map(|entry| entry.attempt).collect()
    }

    /// Whether the attempt's end is not acknowledged.
    pub(crate) fn has_end_of(&self, attempt: AttemptRef) -> bool {
        self.entries.values().any(|entry| entry.is_final && entry.attempt == attempt)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use gauntlet_domain::experiment::EpochMetrics;
    use gauntlet_domain::{AttemptNumber, Digest, TaskId};

    use super::*;
    use crate::report::Content;

    fn attempt(number: u32) -> AttemptRef {
        AttemptRef { task: TaskId::from_digest(Digest::of(b"task")), attempt: AttemptNumber(number) }
    }

    fn epoch() -> v1::Report {
        let metrics = EpochMetrics {
            epoch: 1,
            iterations: 1,
            learning_rate: 0.1,
            train_loss: 1.0,
            train_accuracy: 0.5,
            validation: None,
        };
        Content::Epoch(metrics).into_report(attempt(1))
    }

    fn end() -> v1::Report {
        Content::HandedBack(String::new()).into_report(attempt(1))
    }

    #[test]
    fn reports_go_out_in_order_and_only_after_their_way_to_the_disk_was_tried() {
        let mut outbox = Outbox::default();
        let (first, second) = (outbox.push(attempt(1), epoch()), outbox.push(attempt(1), end()));
        assert_eq!(outbox.tried(second), Some(attempt(1)));
        assert!(outbox.send_next().is_none(), "the first is still on its way to the disk");
        assert_eq!(outbox.tried(first), None);
        assert!(outbox.send_next().is_some() && outbox.send_next().is_some() && outbox.send_next().is_none());
    }

    #[test]
    fn a_new_session_gets_what_is_unacknowledged_under_the_same_id() {
        let mut outbox = Outbox::default();
        let (report, sequence) = (end(), outbox.push(attempt(1), end()));
        outbox.tried(sequence);
        let sent = outbox.send_next().unwrap();
        assert!(!outbox.can_send() && outbox.awaits_acknowledgement());
        outbox.rewind();
        assert_eq!(outbox.send_next(), Some(sent.clone()));
        assert_eq!(outbox.acknowledge(&report.report_id), None, "an answer to something else");
        assert_eq!(outbox.acknowledge(&sent.report_id), Some((sequence, attempt(1))));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_report_whose_artifact_was_uploaded_again_is_sent_again_and_says_so() {
        let mut outbox = Outbox::default();
        let sequence = outbox.push(attempt(1), end());
        outbox.tried(sequence);
        let sent = outbox.send_next().unwrap();
        outbox.send_again(&sent.report_id, Some(7));
        outbox.send_again("another", Some(9));
        let again = outbox.send_next().unwrap();
        assert_eq!(again, v1::Report { uploaded_after_micros: Some(7), ..sent });
        assert!(outbox.send_next().is_none());
    }

    #[test]
    fn of_a_forgotten_attempt_only_the_end_stays() {
        let mut outbox = Outbox::default();
        let dropped = outbox.push(attempt(1), epoch());
        outbox.push(attempt(1), end());
        assert_eq!(outbox.forget(attempt(1)), [dropped]);
        assert!(outbox.has_end_of(attempt(1)) && outbox.ended_attempts() == BTreeSet::from([attempt(1)]));
    }
}
