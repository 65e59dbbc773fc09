//! The planner.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::attacks::{self, Circumstances};
use super::datasets::{self, Dataset};
use super::graph::{Cell, Plan, TaskKind};
use super::tasks::Tasks;
use super::{checkpoint, cost, models, recipes};
use crate::digest::Digest;
use crate::experiment::{
    AttackConfig, AttackSpec, Cascade, CheckpointFormat, DatasetSpec, Epsilon, Head, ModelSpec, NUMERICS_VERSION,
    Objective, Recipe, TaskSpec, TrainSpec, TransferSource, Weights,
};
use crate::ids::{SweepId, TaskId};
use crate::sweep::{
    AttackSection, AttackTemplate, DatasetRef, DatasetSection, Diagnostic, Facts, FileContent, FilePlace, GridRun,
    InitStart, Located, Place, Pretrain, SourceRun, SplitUse, Sweep, Usage, counted, grouped,
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

struct Planner<'a> {
    sweep: &'a Sweep,
    facts: &'a Facts,
    datasets: Vec<Option<Dataset>>,
    sources: HashMap<usize, Option<Dataset>>,
    /// By data set and model.
    models: HashMap<(usize, usize), Option<ModelSpec>>,
    /// By init, model, channels of the images and seed.
    pretrainings: HashMap<(usize, usize, u32, u64), Option<Pretrained>>,
    tasks: Tasks,
    cells: Vec<Cell>,
    notes: BTreeSet<String>,
    mistakes: Mistakes,
}

/// The model of a run.
struct Trained {
    model: ModelSpec,
    weights: Weights,
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
struct Pretrained {
    task: TaskId,
    classes: u32,
}

/// Where weights come from, and for how many classes they have a head if they bring one.
struct Found {
    weights: Weights,
    classes: u32,
}

/// Weights are wanted for: a training on this data set, or (`trains` false) its evaluation.
#[derive(Clone, Copy)]
struct Purpose<'a> {
    section: &'a DatasetSection,
    classes: u32,
    classes_declared: bool,
    trains: bool,
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
        let sweep_id = sweep_id(&name, &self.cells).map_err(|mistake| vec![mistake])?;
        Ok(Plan {
            sweep_id,
            name,
            tasks: self.tasks.in_order,
            cells: self.cells,
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
            let Some(examples) = self.examples(attack, section, test.examples) else { continue };
            let test = DatasetSpec { examples, ..test };
            self.evaluations(run, number, Arena { victim: &victim, train: train.as_ref(), test }, &mut attacked);
        }
        Some(())
    }

    /// The model of a run: plans its training, if it has one.
    fn trained(&mut self, run: &GridRun) -> Option<Trained> {
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
            dataset: train?,
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
    fn source(&mut self, run: &GridRun, source: &Located<SourceRun>) -> Option<TransferSource> {
        let source_run = source.of(run);
        let Trained { model, weights, .. } = self.trained(&source_run)?;
        if weights == Weights::Scratch {
            let message = format!("the model of {} is not trained", self.sweep.describe(&source_run));
            self.mistakes.push(source.at.mistake(message).with_help("name a run with a recipe that trains"));
            return None;
        }
        Some(TransferSource { model, weights })
    }

    fn model(&mut self, run: &GridRun) -> Option<ModelSpec> {
        let (sweep, datasets, mistakes) = (self.sweep, &self.datasets, &mut self.mistakes);
        let resolved = self.models.entry((run.dataset, run.model)).or_insert_with(|| {
            let dataset = datasets[run.dataset].as_ref()?;
            models::resolve(&sweep.models[run.model], &sweep.datasets[run.dataset], dataset, mistakes)
        });
        resolved.clone()
    }

    fn examples(&mut self, attack: &AttackSection, section: &DatasetSection, has: u32) -> Option<u32> {
        let Some(wanted) = &attack.examples else { return Some(has) };
        if wanted.value > has {
            let (wants, has) = (grouped(wanted.value), counted(has, "example"));
            let message = format!("the test split of `{}` has {has}, fewer than {wants}", section.name);
            self.mistakes.push(wanted.at.mistake(message));
            return None;
        }
        Some(wanted.value)
    }

    /// Where the weights of an init come from, and how many classes their head has.
    fn weights(&mut self, init: usize, model: (usize, &ModelSpec), seed: u64, purpose: Purpose<'a>) -> Option<Found> {
        let sweep = self.sweep;
        match &sweep.inits[init].start {
            InitStart::Scratch => Some(Found { weights: Weights::Scratch, classes: purpose.classes }),
            InitStart::Checkpoint { file, format } => self.imported(file, *format, model.1, purpose),
            InitStart::Pretrain(pretrain) => {
                let pretrained = self.pretrained(init, pretrain, model, seed, purpose)?;
                let head = if purpose.trains { Head::Replace } else { Head::Keep };
                let classes = if purpose.trains {
                    purpose.classes
                } else {
                    self.evaluated_classes("the pre-trained model", pretrained.classes, &pretrain.dataset.at, purpose)?
                };
                Some(Found { weights: Weights::Task { task: pretrained.task, head }, classes })
            }
        }
    }

    fn imported(
        &mut self,
        file: &Located<FilePlace>,
        format: CheckpointFormat,
        model: &ModelSpec,
        purpose: Purpose<'a>,
    ) -> Option<Found> {
        let (checkpoint, brought) = self.checkpoint_classes(file, model)?;
        let classes = if purpose.trains {
            purpose.classes
        } else {
            self.evaluated_classes("the checkpoint", brought, &file.at, purpose)?
        };
        let head = if classes == brought { Head::Keep } else { Head::Replace };
        Some(Found { weights: Weights::Imported { checkpoint, format, head }, classes })
    }

    fn checkpoint_classes(&mut self, file: &Located<FilePlace>, model: &ModelSpec) -> Option<(Digest, u32)> {
        let found = match self.facts.files.get(&file.value) {
            None => Err(format!("nothing is known of the file `{}`", file.value)),
            Some(facts) => match &facts.content {
                FileContent::Checkpoint { tensors, moments } => {
                    checkpoint::fit(tensors, moments, model).map(|fitting| (facts.digest, fitting)).map_err(|wrong| {
                        let channels = model.channels;
                        format!(
                            "`{}` does not fit {} for images of {channels} channels: {wrong}",
                            file.value, model.backbone
                        )
                    })
                }
                _ => Err(format!("`{}` does not hold a state dict", file.value)),
            },
        };
        let (digest, fitting) = found.map_err(|message| self.mistakes.push(file.at.mistake(message))).ok()?;
        if let Some(note) = fitting.note {
            self.notes.insert(format!("`{}` as {}: {note}", file.value, model.backbone));
        }
        Some((digest, fitting.classes))
    }

    /// The classes of a model that is evaluated as it is. Labels alone tell only that there are at least so many.
    fn evaluated_classes(&mut self, what: &str, brought: u32, at: &Place, purpose: Purpose<'a>) -> Option<u32> {
        let fits = brought == purpose.classes || !purpose.classes_declared && brought > purpose.classes;
        if fits {
            return Some(brought);
        }
        let (name, classes) = (&purpose.section.name, purpose.classes);
        let message = format!("{what} has {brought} classes, data set `{name}` has {classes}");
        let help = "it can be evaluated as it is only on its own classes; a recipe that trains gives it another head";
        self.mistakes.push(at.mistake(message).with_help(help));
        None
    }

    fn pretrained(
        &mut self,
        init: usize,
        pretrain: &'a Pretrain,
        model: (usize, &ModelSpec),
        seed: u64,
        purpose: Purpose<'a>,
    ) -> Option<Pretrained> {
        let seed = pretrain.seed.unwrap_or(seed);
        let key = (init, model.0, model.1.channels, seed);
        if let Some(known) = self.pretrainings.get(&key) {
            return *known;
        }
        let planned = self.pretrain(init, pretrain, model, seed, purpose);
        self.pretrainings.insert(key, planned);
        planned
    }

    /// Plans a pre-training, and before it those it starts from.
    fn pretrain(
        &mut self,
        init: usize,
        pretrain: &'a Pretrain,
        (number, model): (usize, &ModelSpec),
        seed: u64,
        purpose: Purpose<'a>,
    ) -> Option<Pretrained> {
        let sweep = self.sweep;
        let section = sweep.dataset_of(&pretrain.dataset.value);
        let source = match pretrain.dataset.value {
            DatasetRef::Section(number) => self.datasets[number].as_ref()?,
            DatasetRef::Own(_) => self.sources.get(&init)?.as_ref()?,
        };
        let (at, target) = (&pretrain.dataset.at, purpose.section.name.as_str());
        let models = (&sweep.models[number], model);
        let model = models::for_source(models, (section, source), target, at, &mut self.mistakes)?;
        let dataset = source.train.clone()?;
        let purpose = Purpose { section, classes: source.classes, classes_declared: true, trains: true };
        let weights = match pretrain.init {
            None => Weights::Scratch,
            Some(earlier) => self.weights(earlier, (number, &model), seed, purpose)?.weights,
        };
        let section_of_recipe = sweep.recipe_of(&pretrain.recipe.value);
        let recipe = recipes::resolve(section_of_recipe, &model, &mut self.mistakes)??;
        let method = recipe.method();
        let spec = TrainSpec { dataset, model, weights, recipe, seed, numerics: NUMERICS_VERSION };
        self.check_training(&spec, &section.name, &pretrain.recipe.at)?;
        let classes = spec.model.classes;
        let label = || {
            let (name, backbone) = (&sweep.inits[init].name, &sweep.models[number].name);
            format!("init {name}: {} · {backbone} · {} · seed {seed}", section.name, method)
        };
        let task = self.tasks.add(TaskKind::Pretrain, TaskSpec::Train(spec), label);
        Some(Pretrained { task, classes })
    }

    /// What a training needs of its split.
    fn check_training(&mut self, spec: &TrainSpec, name: &str, at: &Place) -> Option<()> {
        let examples = spec.dataset.examples;
        if let Some(message) = validation_mistake(spec, name) {
            self.mistakes.push(at.mistake(message));
            return None;
        }
        if let Err(message) = datasets::check_crop(&spec.dataset, spec.recipe.augmentation.crop) {
            self.mistakes.push(at.mistake(format!("{message}: `{name}`")));
            return None;
        }
        if matches!(spec.recipe.objective, Objective::Twins { .. }) && smallest_part(&spec.recipe, examples) < 4 {
            let message = format!(
                "`twins` needs batches of at least four examples, two for each half; on `{name}` they are smaller"
            );
            self.mistakes.push(at.mistake(message));
            return None;
        }
        if cost::batch(&spec.recipe, examples) < 2 {
            let message = format!("the train split of `{name}` has one example, and batch normalisation needs two");
            self.mistakes.push(at.mistake(message));
            return None;
        }
        if let Some(micro) = spec.recipe.micro_batch_size
            && smallest_part(&spec.recipe, examples) == 1
        {
            let batch = cost::batch(&spec.recipe, examples);
            let message = format!(
                "on `{name}` a batch has {}, and a `micro_batch_size` of {micro} leaves one example alone",
                counted(batch, "example")
            );
            self.mistakes.push(at.mistake(message));
            return None;
        }
        if cost::steps(&spec.recipe, examples) > u64::from(i32::MAX.unsigned_abs()) {
            let message =
                format!("on {} of `{name}` this is a training of more than 2³¹ steps", counted(examples, "example"));
            self.mistakes.push(at.mistake(message));
            return None;
        }
        Some(())
    }
}

/// What is wrong with the examples that a training keeps for validation: there must be some, and every class must be left with one to train on.
fn validation_mistake(spec: &TrainSpec, name: &str) -> Option<String> {
    let examples = spec.dataset.examples;
    let held_out = spec.recipe.validation.as_ref()?.examples(examples);
    let split = || format!("the train split of `{name}` has {}", counted(examples, "example"));
    if held_out == 0 {
        return Some(format!("{}: too few to keep a share of them for validation", split()));
    }
    let left = examples.saturating_sub(held_out);
    (left < spec.dataset.classes.max(2)).then(|| {
        let classes = grouped(spec.dataset.classes);
        format!("{} of {classes} classes: with {} kept for validation too few are left", split(), grouped(held_out))
    })
}

/// Examples of the smallest batch or micro-batch.
fn smallest_part(recipe: &Recipe, examples: u32) -> u32 {
    let batch = cost::batch(recipe, examples);
    match recipe.micro_batch_size {
        Some(micro) if !batch.is_multiple_of(micro) => batch % micro,
        Some(micro) => micro,
        None => batch,
    }
}

/// The sweep's name with eight digits of the digest of its name and cells.
fn sweep_id(name: &str, cells: &[Cell]) -> Result<SweepId, Diagnostic> {
    let said = |error: String| Place::default().mistake(error);
    let canonical = serde_json::to_vec(&(name, cells)).map_err(|error| said(error.to_string()))?;
    format!("{name}-{}", Digest::of(&canonical).short())
        .parse()
        .map_err(|error: crate::ids::InvalidId| said(error.to_string()))
}
