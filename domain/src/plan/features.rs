//! Train splits that show what a model sees in them.

use super::graph::{AnalysisCell, TaskKind};
use super::planner::{Found, Planner, Purpose};
use crate::experiment::{
    AnalysisMethod, AnalysisSpec, DatasetSource, DatasetSpec, Fit, ModelSpec, NUMERICS_VERSION, Subset, TaskSpec,
    Weights,
};

/// What the construction of a split is called among the analyses.
const ANALYSIS: &str = "features";
/// The recipe of a model that is asked as its init brings it.
const AS_IT_IS: &str = "none";

impl<'a> Planner<'a> {
    /// What a training on a split is shown: the split itself or, where its data set says `features`, what the model of that init makes of it. That
    /// construction is planned then.
    ///
    /// `model` is the trained model by number and as it is for these images, `purpose` says whose split it is.
    pub(super) fn shown(
        &mut self,
        split: DatasetSpec,
        model: (usize, &ModelSpec),
        seed: u64,
        purpose: Purpose<'a>,
    ) -> Option<DatasetSpec> {
        let section = purpose.section;
        let Some(features) = &section.features else { return Some(split) };
        let from = &features.value.from;
        let asked = Purpose { trains: false, ..purpose };
        let Found { weights, classes } = self.weights(from.value, model, seed, asked)?;
        let init = &self.sweep.inits[from.value].name;
        if weights == Weights::Scratch {
            let message = format!("the model of the init `{init}` is not trained: it sees nothing in images yet");
            self.mistakes.push(from.at.mistake(message).with_help("name an init that is pre-trained or imported"));
            return None;
        }
        let spec = AnalysisSpec {
            dataset: DatasetSpec { classes, ..split.clone() },
            model: ModelSpec { classes, ..model.1.clone() },
            weights,
            against: None,
            method: AnalysisMethod::RobustFeatures { construction: features.value.construction.clone() },
            seed,
            numerics: NUMERICS_VERSION,
        };
        let method = spec.method.name().to_owned();
        let (name, backbone) = (&section.name, &self.sweep.models[model.0].name);
        let label = || format!("{name} · {backbone} · {init} · seed {seed} · {ANALYSIS}");
        let task = self.tasks.add(TaskKind::Analyze, TaskSpec::Analyze(spec), label);
        let cell = AnalysisCell {
            dataset: name.clone(),
            backbone: backbone.clone(),
            init: init.clone(),
            recipe: AS_IT_IS.to_owned(),
            seed,
            analysis: ANALYSIS.to_owned(),
            method,
            against: String::new(),
            examples: split.examples,
            task,
        };
        if self.constructions.insert(cell.clone()) {
            self.analyses.push(cell);
        }
        let source = DatasetSource::Constructed { task };
        Some(DatasetSpec { source, subset: Subset::default(), fit: Fit::Resize, frequencies: None, ..split })
    }
}
