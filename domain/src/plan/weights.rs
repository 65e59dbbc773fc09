//! Where the weights of a run come from: drawn, imported, or from the pre-trainings that it plans.

use super::graph::TaskKind;
use super::planner::{Found, Planner, Pretrained, Purpose};
use super::{checkpoint, cost, datasets, models, recipes};
use crate::digest::Digest;
use crate::experiment::{
    CheckpointFormat, Head, ModelSpec, NUMERICS_VERSION, Objective, Recipe, TaskSpec, TrainSpec, Weights,
};
use crate::sweep::{DatasetRef, FileContent, FilePlace, InitStart, Located, Place, Pretrain, counted, grouped};

impl<'a> Planner<'a> {
    /// Where the weights of an init come from, and how many classes their head has.
    pub(super) fn weights(
        &mut self,
        init: usize,
        model: (usize, &ModelSpec),
        seed: u64,
        purpose: Purpose<'a>,
    ) -> Option<Found> {
        let sweep = self.sweep;
        match &sweep.inits[init].start {
            InitStart::Scratch => Some(Found { weights: Weights::Scratch, classes: purpose.classes }),
            InitStart::Checkpoint { file, format, .. } => self.imported(file, *format, model.1, purpose),
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

    pub(super) fn checkpoint_classes(&mut self, file: &Located<FilePlace>, model: &ModelSpec) -> Option<(Digest, u32)> {
        let found = match self.facts.files.get(&file.value) {
            None => Err(format!("nothing is known of the file `{}`", file.value)),
            Some(facts) => match &facts.content {
                FileContent::Checkpoint { tensors, moments } => {
                    checkpoint::fit(tensors, moments, model).map(|fitting| (facts.digest, fitting)).map_err(|wrong| {
                        let (network, channels) = (model.network_name(), model.channels);
                        let other = checkpoint::other_width(tensors, model);
                        let width = other.map(|width| format!("; its first stage has the width {width}"));
                        format!(
                            "`{}` does not fit {network} for images of {channels} channels: {wrong}{}",
                            file.value,
                            width.unwrap_or_default()
                        )
                    })
                }
                _ => Err(format!("`{}` does not hold a state dict", file.value)),
            },
        };
        let (digest, fitting) = found.map_err(|message| self.mistakes.push(file.at.mistake(message))).ok()?;
        if let Some(note) = fitting.note {
            self.notes.insert(format!("`{}` as {}: {note}", file.value, model.network_name()));
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

    pub(super) fn pretrained(
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
        let dataset = self.shown(dataset, (number, &model), seed, purpose)?;
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
    pub(super) fn check_training(&mut self, spec: &TrainSpec, name: &str, at: &Place) -> Option<()> {
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
