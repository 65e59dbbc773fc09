//! The distinct tasks of a plan.

use std::collections::HashMap;

use super::cost;
use super::graph::{PlannedTask, TaskKind};
use crate::experiment::TaskSpec;
use crate::ids::TaskId;

/// Tasks in the order in which they were first needed; so inputs stand before those that need them.
#[derive(Default)]
pub(super) struct Tasks {
    pub(super) in_order: Vec<PlannedTask>,
    numbers: HashMap<TaskId, usize>,
}

impl Tasks {
    /// Adds a task unless it is there already. A pre-training that turns out to be the training of a run is called so.
    pub(super) fn add(&mut self, kind: TaskKind, spec: TaskSpec, label: impl FnOnce() -> String) -> TaskId {
        let id = spec.id();
        if let Some(&number) = self.numbers.get(&id) {
            let known = &mut self.in_order[number];
            if known.kind == TaskKind::Pretrain && kind == TaskKind::Train {
                (known.kind, known.label) = (kind, label());
            }
            return id;
        }
        self.numbers.insert(id, self.in_order.len());
        let cost = match &spec {
            TaskSpec::Train(spec) => cost::training(spec),
            TaskSpec::Attack(spec) => cost::attack(spec),
            TaskSpec::Analyze(spec) => cost::analysis(spec),
        };
        let inputs = spec.inputs();
        self.in_order.push(PlannedTask { id, kind, spec, label: label(), inputs, cost });
        id
    }
}
