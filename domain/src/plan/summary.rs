//! A plan in a few numbers.

use serde::Serialize;

use super::graph::{Plan, TaskKind};

/// A plan in a few numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Per kind, in the order pretrain, train, attack, analyze; the first three also without tasks.
    pub kinds: Vec<KindSummary>,
    /// Distinct tasks.
    pub tasks: usize,
    /// Rows of the results.
    pub cells: usize,
    /// Sum of the tasks' costs, in the unit of [`super::PlannedTask::cost`].
    pub cost: f64,
}

/// The tasks of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindSummary {
    /// The kind.
    pub kind: TaskKind,
    /// Distinct tasks.
    pub tasks: usize,
    /// Sum of their costs.
    pub cost: f64,
}

impl Plan {
    /// Counts by kind and the total cost.
    pub fn summary(&self) -> Summary {
        let kinds = [TaskKind::Pretrain, TaskKind::Train, TaskKind::Attack, TaskKind::Analyze].map(|kind| {
            let tasks = self.tasks.iter().filter(|task| task.kind == kind);
            let (tasks, cost) = tasks.fold((0, 0.0), |(count, cost), task| (count + 1, cost + task.cost));
            KindSummary { kind, tasks, cost }
        });
        let cost = kinds.iter().map(|kind| kind.cost).sum();
        let shown = |kind: &KindSummary| kind.kind != TaskKind::Analyze || kind.tasks > 0;
        let kinds: Vec<KindSummary> = kinds.into_iter().filter(shown).collect();
        Summary { kinds, tasks: self.tasks.len(), cells: self.cells.len(), cost }
    }
}
