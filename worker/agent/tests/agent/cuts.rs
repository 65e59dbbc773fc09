//! A session that its coordinator's side cuts at each message, before and after what it keeps of it.

use std::collections::BTreeMap;
use std::time::Duration;

use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;

use crate::behaviour;
use crate::coordinator::{Session, assign, attempt, trained};
use crate::rig::{Rig, eventually, train};

/// Where the session is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Hello,
    /// The assignment never arrives.
    Assign,
    /// The report of this number is lost.
    Report(usize),
    /// It is kept, and the worker never hears so.
    Acknowledgement(usize),
}

/// What a coordinator keeps.
#[derive(Default)]
struct Kept {
    /// Number of the task's latest attempt.
    attempt: u32,
    /// Reports by id, in the order they came first.
    reports: Vec<v1::Report>,
    repeated: BTreeMap<String, u32>,
    reports_heard: usize,
}

impl Kept {
    fn is_over(&self) -> bool {
        self.reports.iter().any(|report| matches!(report.content, Some(Content::Trained(_))))
    }

    /// Serves a session until it is cut, or the task is over and the worker knows.
    async fn serve(&mut self, session: &mut Session, cut: Option<Cut>) -> bool {
        let spec = train(behaviour::SUCCEED, None);
        if cut == Some(Cut::Hello) {
            return false;
        }
        session.welcome(Duration::from_secs(60)).await;
        let runs = |number| session.hello.attempts.contains(&attempt(&spec, number).into());
        if !self.is_over() && (self.attempt == 0 || !runs(self.attempt)) {
            self.attempt += 1;
            if cut == Some(Cut::Assign) {
                return false;
            }
            session.assign(assign(&spec, self.attempt)).await;
        }
        loop {
            let report = session.report().await;
            let number = self.reports_heard;
            self.reports_heard += 1;
            if cut == Some(Cut::Report(number)) {
                return false;
            }
            let current = report.attempt == Some(attempt(&spec, self.attempt).into());
            let known = self.reports.iter().any(|kept| kept.report_id == report.report_id);
            if known {
                *self.repeated.entry(report.report_id.clone()).or_default() += 1;
            } else if current {
                self.reports.push(report.clone());
            }
            if cut == Some(Cut::Acknowledgement(number)) {
                return false;
            }
            session.acknowledge(&report, if current { Verdict::Accepted } else { Verdict::Stale }).await;
            if current && matches!(report.content, Some(Content::Trained(_))) {
                return true;
            }
        }
    }
}

#[tokio::test]
async fn whatever_is_cut_every_report_arrives_and_there_is_one_result() {
    // Two epochs, up to two checkpoints, the weights.
    let reports = (0..5).flat_map(|number| [Cut::Report(number), Cut::Acknowledgement(number)]);
    for cut in [Cut::Hello, Cut::Assign].into_iter().chain(reports) {
        let mut rig = Rig::new().await;
        let agent = rig.start();
        let mut kept = Kept::default();
        let mut session = rig.coordinator.accept().await;
        if !kept.serve(&mut session, Some(cut)).await {
            drop(session);
            session = rig.coordinator.accept().await;
            assert!(kept.serve(&mut session, None).await);
        }
        eventually("the spool is empty", || rig.spooled().is_empty()).await;
        assert!(session.is_quiet_for(Duration::from_millis(200)).await, "{cut:?}");
        let of = |wanted: fn(&Content) -> bool| {
            kept.reports.iter().filter(|report| report.content.as_ref().is_some_and(wanted)).count()
        };
        assert_eq!(of(|content| matches!(content, Content::Trained(_))), 1, "{cut:?}");
        assert_eq!(of(|content| matches!(content, Content::Epoch(_))), 2, "{cut:?}: {:?}", kept.reports);
        let weights = trained(kept.reports.last().unwrap());
        let stored = rig.path("store").join(gauntlet_agent::artifact_path(&weights.digest).as_ref());
        assert_eq!(std::fs::read(stored).unwrap(), b"trained", "{cut:?}");
        assert_eq!(kept.attempt, if cut == Cut::Assign { 2 } else { 1 }, "{cut:?}: what runs goes on");
        let repeats = u32::from(matches!(cut, Cut::Acknowledgement(_)) && kept.reports_heard > 0);
        assert!(kept.repeated.values().sum::<u32>() <= repeats, "{cut:?}: {:?}", kept.repeated);
        drop(session);
        agent.stop().await;
    }
}
