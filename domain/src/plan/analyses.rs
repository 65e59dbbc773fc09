//! The analyses of a run.

use super::graph::{AnalysisCell, TaskKind};
use super::planner::{Planner, Trained};
use crate::experiment::{
    AnalysisMethod, AnalysisSpec, DatasetSpec, Head, ModelSpec, NUMERICS_VERSION, OtherModel, TaskSpec, Weights,
};
use crate::sweep::{Against, AnalysisSection, GridRun, InitStart, counted, grouped};

/// Name of what a run is compared with where that is what it started from.
const START: &str = "start";

impl<'a> Planner<'a> {
    /// Plans the analyses that are asked of a run, on the test split in the classes of its model.
    pub(super) fn plan_analyses(&mut self, run: &'a GridRun, subject: &Trained, test: &DatasetSpec) {
        let sweep = self.sweep;
        for section in sweep.analyses.iter().filter(|section| section.asks(run, sweep)) {
            let _said = self.analysis(run, subject, test, section);
        }
    }

    fn analysis(
        &mut self,
        run: &'a GridRun,
        subject: &Trained,
        test: &DatasetSpec,
        section: &AnalysisSection,
    ) -> Option<()> {
        let sweep = self.sweep;
        let dataset = &sweep.datasets[run.dataset];
        let examples = self.examples(section.examples.as_ref(), dataset, test.examples)?;
        self.craftable(section, &dataset.name, examples)?;
        let (against, name) = match &section.against {
            None => (None, String::new()),
            Some(against) => {
                let (other, name) = self.other(run, subject, &against.value)?;
                (Some(Box::new(other)), name)
            }
        };
        let spec = AnalysisSpec {
            dataset: DatasetSpec { examples, ..test.clone() },
            model: subject.model.clone(),
            weights: subject.weights.clone(),
            against,
            method: section.method.clone(),
            seed: run.seed,
            numerics: NUMERICS_VERSION,
        };
        let label = || format!("{} · {}", sweep.describe(run), section.name);
        let task = self.tasks.add(TaskKind::Analyze, TaskSpec::Analyze(spec), label);
        self.analyses.push(AnalysisCell {
            dataset: dataset.name.clone(),
            backbone: sweep.models[run.model].name.clone(),
            init: sweep.inits[run.init].name.clone(),
            recipe: sweep.recipes[run.recipe].name.clone(),
            seed: run.seed,
            analysis: section.name.clone(),
            method: section.method.name().to_owned(),
            against: name,
            examples,
            task,
        });
        Some(())
    }

    /// Whether examples are left beside those that a universal perturbation is crafted on.
    fn craftable(&mut self, section: &AnalysisSection, dataset: &str, examples: u32) -> Option<()> {
        let AnalysisMethod::Uap { craft_examples, .. } = &section.method else { return Some(()) };
        let wanted = craft_examples.unwrap_or(examples / 2);
        if (1..examples).contains(&wanted) {
            return Some(());
        }
        let message = format!(
            "the analysis `{}` would craft on {} of {} of `{dataset}`: some are needed, and some beside them to be shown",
            section.name,
            grouped(wanted),
            counted(examples, "example"),
        );
        self.mistakes.push(section.at.mistake(message));
        None
    }

    /// The model that a run is compared with, and what it is called; none where that is the run's own.
    fn other(&mut self, run: &'a GridRun, subject: &Trained, against: &Against) -> Option<(OtherModel, String)> {
        let (other, name) = match against {
            Against::Start => (self.start(run, &subject.model)?, START.to_owned()),
            Against::Run(other) => {
                let other = other.of(run);
                let Trained { model, weights, .. } = self.trained(&other)?;
                let [init, recipe] = [&self.sweep.inits[other.init].name, &self.sweep.recipes[other.recipe].name];
                (OtherModel { model, weights }, format!("{init} · {recipe} · seed {}", other.seed))
            }
        };
        let itself = other.model == subject.model && other.weights == subject.weights;
        (!itself).then_some((other, name))
    }

    /// What a run started from: the pre-trained model with its own head, or the untrained network that its seed gives.
    fn start(&mut self, run: &'a GridRun, model: &ModelSpec) -> Option<OtherModel> {
        let with_classes = |classes| ModelSpec { classes, ..model.clone() };
        Some(match &self.sweep.inits[run.init].start {
            InitStart::Scratch => OtherModel { model: model.clone(), weights: Weights::Scratch },
            InitStart::Checkpoint { file, format, .. } => {
                let (checkpoint, classes) = self.checkpoint_classes(file, model)?;
                let weights = Weights::Imported { checkpoint, format: *format, head: Head::Keep };
                OtherModel { model: with_classes(classes), weights }
            }
            InitStart::Pretrain(pretrain) => {
                // The run has planned it.
                let key = (run.init, run.model, model.channels, pretrain.seed.unwrap_or(run.seed));
                let pretrained = (*self.pretrainings.get(&key)?)?;
                let weights = Weights::Task { task: pretrained.task, head: Head::Keep };
                OtherModel { model: with_classes(pretrained.classes), weights }
            }
        })
    }
}
