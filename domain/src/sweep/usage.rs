//! What of a sweep its grid uses.

use super::attack_section::{AttackSection, AttackTemplate};
use super::sections::{DatasetRef, InitStart, Pretrain, Sweep};

/// Which splits of a data set are read, and for whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SplitUse {
    /// A training reads the train split, or a universal perturbation is crafted on it.
    pub(crate) train: bool,
    /// An attack reads the test split.
    pub(crate) test: bool,
}

/// What the grid uses.
pub(crate) struct Usage {
    /// Per `[[dataset]]`.
    pub(crate) datasets: Vec<SplitUse>,
    /// Per `[[init]]`, those included that only others start from.
    pub(crate) inits: Vec<bool>,
}

impl Usage {
    pub(crate) fn of(sweep: &Sweep) -> Self {
        let mut usage =
            Self { datasets: vec![SplitUse::default(); sweep.datasets.len()], inits: vec![false; sweep.inits.len()] };
        for run in &sweep.grid.runs {
            usage.datasets[run.dataset].test = true;
            usage.datasets[run.dataset].train |= sweep.recipes[run.recipe].training.is_some();
            usage.datasets[run.dataset].train |= run.attacks.iter().any(|attack| crafts(&sweep.attacks[*attack]));
            usage.take_init(sweep, run.init);
            if let Some(features) = &sweep.datasets[run.dataset].features {
                usage.take_init(sweep, features.value.from.value);
            }
        }
        usage
    }

    fn take_init(&mut self, sweep: &Sweep, first: usize) {
        let mut wanted = vec![first];
        while let Some(init) = wanted.pop() {
            if std::mem::replace(&mut self.inits[init], true) {
                continue;
            }
            let InitStart::Pretrain(pretrain) = &sweep.inits[init].start else { continue };
            if let DatasetRef::Section(dataset) = pretrain.dataset.value {
                self.datasets[dataset].train = true;
            }
            wanted.extend(sweep.before(init));
        }
    }

    /// The pre-trainings in use.
    pub(crate) fn pretrains<'a>(&'a self, sweep: &'a Sweep) -> impl Iterator<Item = &'a Pretrain> {
        let used = sweep.inits.iter().zip(&self.inits).filter(|(_, used)| **used);
        used.filter_map(|(init, _)| match &init.start {
            InitStart::Pretrain(pretrain) => Some(pretrain.as_ref()),
            InitStart::Scratch | InitStart::Checkpoint { .. } => None,
        })
    }
}

/// Whether the attack is crafted on the train split.
pub(super) const fn crafts(attack: &AttackSection) -> bool {
    matches!(attack.method, AttackTemplate::Uap { .. })
}
