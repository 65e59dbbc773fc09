//! The methods of `[[attack]]`: what each is called, which norms and keys it has.

use crate::experiment::Norm;
use crate::sweep::field::Field;
use crate::sweep::report::listed;
use crate::sweep::table::Table;

use super::super::epsilon::NORMS;

/// What `method` can say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Noise,
    Fgsm,
    Pgd,
    MiFgsm,
    DiFgsm,
    Cw,
    DeepFool,
    Apgd,
    Fab,
    Square,
    AutoAttack,
    Feature,
    Uap,
    Transfer,
}

/// The methods by name.
pub(super) const METHODS: [(&str, Method); 14] = [
    ("noise", Method::Noise),
    ("fgsm", Method::Fgsm),
    ("pgd", Method::Pgd),
    ("mi-fgsm", Method::MiFgsm),
    ("di-fgsm", Method::DiFgsm),
    ("cw", Method::Cw),
    ("deepfool", Method::DeepFool),
    ("apgd", Method::Apgd),
    ("fab", Method::Fab),
    ("square", Method::Square),
    ("autoattack", Method::AutoAttack),
    ("feature", Method::Feature),
    ("uap", Method::Uap),
    ("transfer", Method::Transfer),
];

impl Method {
    pub(super) fn name(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| *name)
    }

    /// The norms it is defined for, its usual one first.
    const fn norms(self) -> &'static [Norm] {
        match self {
            Self::Noise | Self::Pgd | Self::Apgd | Self::Fab => &Norm::ALL,
            Self::Fgsm
            | Self::MiFgsm
            | Self::DiFgsm
            | Self::Square
            | Self::AutoAttack
            | Self::Feature
            | Self::Uap
            | Self::Transfer => &[Norm::Linf, Norm::L2],
            Self::DeepFool => &[Norm::L2, Norm::Linf],
            Self::Cw => &[Norm::L2],
        }
    }

    /// The keys that belong to it beside those of every attack.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Noise => &["draws"],
            Self::Fgsm => &[],
            Self::Pgd => &["steps", "step_size", "random_start", "restarts"],
            Self::MiFgsm => &["steps", "step_size", "decay"],
            Self::DiFgsm => &["steps", "step_size", "decay", "resize_rate", "diversity_probability", "random_start"],
            Self::Cw => &["confidence", "steps", "learning_rate", "initial_const", "binary_search_steps"],
            Self::DeepFool => &["steps", "overshoot", "candidates"],
            Self::Apgd => &["loss", "steps", "restarts", "rho", "target_classes"],
            Self::Fab => &["targeted", "steps", "restarts", "target_classes", "alpha_max", "beta", "eta"],
            Self::Square => &["queries", "p_init", "restarts"],
            Self::AutoAttack => &["version"],
            Self::Feature => &["steps", "step_size", "restarts"],
            Self::Uap => &[
                "craft_examples",
                "by",
                "passes",
                "fooling_rate",
                "steps",
                "overshoot",
                "candidates",
                "step_size",
                "batch_size",
            ],
            Self::Transfer => &["source", "by"],
        }
    }

    /// Whether it looks for the nearest point that fools.
    pub(super) const fn minimum_norm(self) -> bool {
        matches!(self, Self::Cw | Self::DeepFool | Self::Fab)
    }

    /// Whether it can lead to a class that `target` names.
    pub(super) const fn takes_target(self) -> bool {
        matches!(self, Self::Fgsm | Self::Pgd | Self::MiFgsm | Self::DiFgsm)
    }

    /// Whether its iterates are judged one by one, so that `early_stop` is a choice.
    pub(super) const fn takes_early_stop(self) -> bool {
        !self.minimum_norm() && !matches!(self, Self::AutoAttack | Self::Uap | Self::Transfer)
    }

    /// Whether its output for one model can be held against another.
    pub(super) const fn transfers(self) -> bool {
        !matches!(self, Self::Cw | Self::DeepFool | Self::Fab | Self::Uap | Self::Transfer)
    }

    /// Says of each key of another method whose it is.
    pub(super) fn refuse_foreign_keys(self, table: &mut Table<'_>) {
        let mut foreign: Vec<&'static str> = METHODS.iter().flat_map(|(_, method)| method.keys()).copied().collect();
        foreign.sort_unstable();
        foreign.dedup();
        foreign.retain(|key| !self.keys().contains(key));
        for key in foreign {
            let owners: Vec<&str> =
                METHODS.iter().filter(|(_, method)| method.keys().contains(&key)).map(|(name, _)| *name).collect();
            let plural = if owners.len() == 1 { "" } else { "s" };
            table.refuse(&[key], &format!("belongs to the method{plural} {}", listed(&owners)));
        }
    }

    /// The norm: the method's usual one where the file says nothing.
    pub(super) fn norm(self, field: Option<Field<'_>>) -> Option<Norm> {
        let known = self.norms();
        let Some(field) = field else { return known.first().copied() };
        let norm = field.one_of("norm", &NORMS)?;
        if known.contains(&norm) {
            return Some(norm);
        }
        let names: Vec<&str> = known.iter().map(|norm| norm.name()).collect();
        let message = format!("the method `{}` is not defined for the norm `{norm}`", self.name());
        field.report.mistake_with_help(&field.at, message, format!("available: {}", listed(&names)));
        None
    }
}
