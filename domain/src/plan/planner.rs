//! The planner.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::attacks::{self, Circumstances};
use super::datasets::{self, Dataset};
use super::graph::{AnalysisCell, Cell, Plan, TaskKind};
use super::tasks::Tasks;
use super::{models, recipes};
use crate::digest::Digest;
use crate::experiment::{
    AttackConfig, AttackSpec, Cascade, DatasetSpec, Epsilon, Head, ModelSpec, NUMERICS_VERSION, OtherModel, TaskSpec,
    TrainSpec, Weights,
};
use crate::ids::{SweepId, TaskId};
use crate::sweep::{
    AttackSection, AttackTemplate, DatasetRef, DatasetSection, Diagnostic, Facts, GridRun, InitStart, Located, Place,
    SourceRun, SplitUse, Sweep, Usage, counted, grouped,
};

/// Plans a sweep, given what is known of the files it names.
///
/// # Errors
/// Every mistake that shows only when the files are known.
pub fn plan(sweep: &Sweep, facts: &Facts) -> Result<Plan, Vec<Diagnostic>> {
    let mut mistakes = Mistakes::default();
    let usage = Usage::of(sweep);
    let datasets = sweep.datasets.iter().zip(&usage.datasets).map(|(section, splits)| {
        let used = splits.train || splits.test;
        used.then(|| datasets::resolve(section, *splits, facts, &mut mistakes)).flatten()
    });
    let datasets = datasets.collect();
    let sources = own_sources(sweep, &usage, facts, &mut mistakes);
    let planner = Planner {
        sweep,
        facts,
        datasets,
        sources,
        models: HashMap::new(),
        pretrainings: HashMap::new(),
        tasks: Tasks::default(),
        cells: Vec::new(),
        analyses: Vec::new(),
        constructions: BTreeSet::new(),
        notes: BTreeSet::new(),
        mistakes,
    };
    planner.plan()
}

/// The mistakes found so far, each once however many runs show it.
#[derive(Default)]
pub(super) struct Mistakes {
    found: Vec<Diagnostic>,
    seen: HashSet<(usize, String)>,
}

impl Mistakes {
    const LIMIT: usize = 100;

    pub(super) fn push(&mut self, mistake: Diagnostic) {
        if self.found.len() < Self::LIMIT && self.seen.insert((mistake.span.start, mistake.message.clone())) {
            self.found.push(mistake);
        }
    }
}

/// Data sets declared inside an init, by the number of the init.
fn own_sources(
    sweep: &Sweep,
    usage: &Usage,
    facts: &Facts,
    mistakes: &mut Mistakes,
) -> HashMap<usize, Option<Dataset>> {
    let splits = SplitUse { train: true, test: false };
    let mut sources = HashMap::new();
    for (number, init) in sweep.inits.iter().enumerate().filter(|(number, _)| usage.inits[*number]) {
        if let InitStart::Pretrain(pretrain) = &init.start
            && let DatasetRef::Own(section) = &pretrain.dataset.value
        {
            sources.insert(number, datasets::resolve(section, splits, facts, mistakes));
        }
    }
    sources
}

pub(super) struct Planner<'a> {
    pub(super) sweep: &'a Sweep,
    pub(super) facts: &'a Facts,
    pub(super) datasets: Vec<Option<Dataset>>,
    pub(super) sources: HashMap<usize, Option<Dataset>>,
    /// By data set and model.
    models: HashMap<(usize, usize), Option<ModelSpec>>,
    /// By init, model, channels of the images and seed.
    pub(super) pretrainings: HashMap<(usize, usize, u32, u64), Option<Pretrained>>,
    pub(super) tasks: Tasks,
    cells: Vec<Cell>,
    pub(super) analyses: Vec<AnalysisCell>,
    /// Those of them that make data sets, which several runs share.
    pub(super) constructions: BTreeSet<AnalysisCell>,
    pub(super) notes: BTreeSet<String>,
    pub(super) mistakes: Mistakes,
}

/// The model of a run.
pub(super) struct Trained {
    pub(super) model: ModelSpec,
    pub(super) weights: Weights,
    task: Option<TaskId>,
}

/// A model with the examples that attacks on it are crafted and measured on.
struct Arena<'a> {
    victim: &'a Trained,
    train: Option<&'a DatasetSpec>,
    test: DatasetSpec,
}

/// The evaluations of a run so far, by the number of the attack and the bits of its radius.
type Attacked = HashMap<(usize, u64), TaskId>;

/// What a pre-training gives.
#[derive(Clone, Copy)]
pub(super) struct Pretrained {
    pub(super) task: TaskId,
    pub(super) classes: u32,
}

/// Where weights come from, and for how many classes they have a head if they bring one.
pub(super) struct Found {
    pub(super) weights: Weights,
    pub(super) classes: u32,
}

/// Weights are wanted for: a training on this data set, or (`trains` false) its evaluation.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub(super) section: &'a DatasetSection,
    pub(super) classes: u32,
    pub(super) classes_declared: bool,
    pub(super) trains: bool,
}

impl<'a> Planner<'a> {
    fn plan(mut self) -> Result<Plan, Vec<Diagnostic>> {
        let sweep = self.sweep;
        for run in &sweep.grid().runs {
            self.run(run);
        }
        if !self.mistakes.found.is_empty() {
            self.mistakes.found.sort_by_key(|mistake| mistake.span.start);
            return Err(self.mistakes.found);
        }
        let name = sweep.name.clone();
        let sweep_id = sweep_id(&name, &self.cells, &self.analyses).map_err(|mistake| vec![mistake])?;
        Ok(Plan {
            sweep_id,
            name,
            tasks: self.tasks.in_order,
            cells: self.cells,
            analyses: self.analyses,
            notes: self.notes.into_iter().collect(),
        })
    }

    /// Plans a run and its evaluations; leaves it out where something is wrong, which has been said then.
    fn run(&mut self, run: &'a GridRun) -> Option<()> {
        let sweep = self.sweep;
        let section = &sweep.datasets[run.dataset];
        let victim = self.trained(run)?;
        let (train, test) = {
            let dataset = self.datasets[run.dataset].as_ref()?;
            (dataset.train.clone(), dataset.test.clone()?)
        };
        let classes = victim.model.classes;
        let [train, test] = [train, Some(test)].map(|split| split.map(|split| DatasetSpec { classes, ..split }));
        let mut attacked = Attacked::new();
        for &number in &run.attacks {
            let attack = &sweep.attacks[number];
            let test = test.clone()?;
            let Some(examples) = self.examples(attack.examples.as_ref(), section, test.examples) else { continue };
            let test = DatasetSpec { examples, ..test };
            self.evaluations(run, number, Arena { victim: &victim, train: train.as_ref(), test }, &mut attacked);
        }
        self.plan_analyses(run, &victim, &test?);
        Some(())
    }

    /// The model of a run: plans its training, if it has one.
    pub(super) fn trained(&mut self, run: &GridRun) -> Option<Trained> {
        let sweep = self.sweep;
        let section = &sweep.datasets[run.dataset];
        let model = self.model(run)?;
        let recipe = &sweep.recipes[run.recipe];
        let dataset = self.datasets[run.dataset].as_ref()?;
        let purpose = Purpose {
            section,
            classes: dataset.classes,
            classes_declared: dataset.classes_declared,
            trains: recipe.training.is_some(),
        };
        let train = dataset.train.clone();
        let found = self.weights(run.init, (run.model, &model), run.seed, purpose)?;
        let model = ModelSpec { classes: found.classes, ..model };
        let Some(training) = recipes::resolve(recipe, &model, &mut self.mistakes)? else {
            return Some(Trained { model, weights: found.weights, task: None });
        };
        let spec = TrainSpec {
            dataset: self.shown(train?, (run.model, &model), run.seed, purpose)?,
            model: model.clone(),
            weights: found.weights,
            recipe: training,
            seed: run.seed,
            numerics: NUMERICS_VERSION,
        };
        self.check_training(&spec, &section.name, &recipe.at)?;
        let task = self.tasks.add(TaskKind::Train, TaskSpec::Train(spec), || sweep.describe(run));
        Some(Trained { model, weights: Weights::Task { task, head: Head::Keep }, task: Some(task) })
    }

    /// One cell per radius, and one evaluation for each or, of a minimum-norm attack, for all.
    fn evaluations(&mut self, run: &GridRun, number: usize, arena: Arena<'_>, attacked: &mut Attacked) -> Option<()> {
        let sweep = self.sweep;
        let attack = &sweep.attacks[number];
        let source = match &attack.method {
            AttackTemplate::Transfer { source, .. } => Some(self.source(run, source)?),
            _ => None,
        };
        let radii: Vec<Option<&Epsilon>> =
            if attack.eps.is_empty() { vec![None] } else { attack.eps.iter().map(Some).collect() };
        for radius in radii {
            let eps = radius.filter(|_| !attack.method.minimum_norm());
            let circumstances = Circumstances {
                eps: eps.map(Epsilon::value),
                classes: arena.victim.model.classes,
                dataset: &sweep.datasets[run.dataset].name,
                train: arena.train,
                source: source.as_ref(),
            };
            let method = attacks::method(attack, circumstances, &mut self.mistakes)?;
            // Where the earlier attack could not be planned, that has been said.
            let cascade = match &attack.cascade {
                Some(cascade) => Some(Cascade {
                    after: *attacked.get(&(cascade.after.value, circumstances.eps?.to_bits()))?,
                    until_aai: cascade.until_aai,
                }),
                None => None,
            };
            let &AttackSection { norm, target, early_stop, stop_at_interval, .. } = attack;
            let spec = AttackSpec {
                dataset: arena.test.clone(),
                model: arena.victim.model.clone(),
                weights: arena.victim.weights.clone(),
                attack: AttackConfig { method, norm, eps: circumstances.eps, target, early_stop, stop_at_interval },
                seed: run.seed,
                numerics: NUMERICS_VERSION,
                shard: None,
                cascade,
            };
            let label = || {
                let radius = eps.map(|eps| format!(" {eps}")).unwrap_or_default();
                format!("{} · {}{radius}", sweep.describe(run), attack.name)
            };
            let attack_task = self.tasks.add(TaskKind::Attack, TaskSpec::Attack(spec), label);
            attacked.extend(circumstances.eps.map(|eps| ((number, eps.to_bits()), attack_task)));
            self.cells.push(Cell {
                dataset: sweep.datasets[run.dataset].name.clone(),
                backbone: sweep.models[run.model].name.clone(),
                init: sweep.inits[run.init].name.clone(),
                recipe: sweep.recipes[run.recipe].name.clone(),
                seed: run.seed,
                attack: attack.name.clone(),
                norm: attack.norm,
                eps: radius.cloned(),
                train_task: arena.victim.task,
                attack_task,
            });
        }
        Some(())
    }

    /// The model that an attack on `run` is crafted on.
    fn source(&mut self, run: &GridRun, source: &Located<SourceRun>) -> Option<OtherModel> {
        let source_run = source.of(run);
        let Trained { model, weights, .. } = self.trained(&source_run)?;
        if weights == Weights::Scratch {
            let message = format!("the model of {} is not trained", self.sweep.describe(&source_run));
            self.mistakes.push(source.at.mistake(message).with_help("name a run with a recipe that trains"));
            return None;
        }
        Some(OtherModel { model, weights })
    }

    fn model(&mut self, run: &GridRun) -> Option<ModelSpec> {
        let (sweep, datasets, mistakes) = (self.sweep, &self.datasets, &mut self.mistakes);
        let resolved = self.models.entry((run.dataset, run.model)).or_insert_with(|| {
            let dataset = datasets[run.dataset].as_ref()?;
            models::resolve(&sweep.models[run.model], &sweep.datasets[run.dataset], dataset, mistakes)
        });
        resolved.clone()
    }

    /// First so many of a test split; all if none.
    pub(super) fn examples(
        &mut self,
        wanted: Option<&Located<u32>>,
        section: &DatasetSection,
        has: u32,
    ) -> Option<u32> {
        let Some(wanted) = wanted else { return Some(has) };
        if wanted.value > has {
            let (wants, has) = (grouped(wanted.value), counted(has, "example"));
            let message = format!("the test split of `{}` has {has}, fewer than {wants}", section.name);
            self.mistakes.push(wanted.at.mistake(message));
            return None;
        }
        Some(wanted.value)
    }
}

/// The sweep's name with eight digits of the digest of its name, cells and, where there are any, analyses.
fn sweep_id(name: &str, cells: &[Cell], analyses: &[AnalysisCell]) -> Result<SweepId, Diagnostic> {
    let said = |error: String| Place::default().mistake(error);
    let canonical = if analyses.is_empty() {
        serde_json::to_vec(&(name, cells))
    } else {
        serde_json::to_vec(&(name, cells, analyses))
    };
    let canonical = canonical.map_err(|error| said(error.to_string()))?;
    format!("{name}-{}", Digest::of(&canonical).short())
        .parse()
        .map_err(|error: crate::ids::InvalidId| said(error.to_string()))
}
