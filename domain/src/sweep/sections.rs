//! The typed sections of a sweep file. What needs no other file to be resolved is resolved.

use super::FilePlace;
use super::analysis_section::AnalysisSection;
use super::attack_section::AttackSection;
use super::grid::{Grid, GridRun};
use super::place::{Located, Place};
use crate::experiment::{
    Backbone, CheckpointFormat, CifarVariant, Construction, Fit, FrequencyBand, GlyphCue, IdxVariant, Recipe, Stem,
};

/// A sweep file, read and checked by [`parse`](super::parse).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sweep {
    /// Its name.
    pub name: String,
    /// What its author says of it.
    pub description: Option<String>,
    /// Seeds of the runs; at least one, all different.
    pub seeds: Vec<u64>,
    /// Target data sets; at least one.
    pub datasets: Vec<DatasetSection>,
    /// Models; at least one.
    pub models: Vec<ModelSection>,
    /// Inits; at least one.
    pub inits: Vec<InitSection>,
    /// Recipes; at least one.
    pub recipes: Vec<RecipeSection>,
    /// Attacks; at least one.
    pub attacks: Vec<AttackSection>,
    /// Analyses.
    pub analyses: Vec<AnalysisSection>,
    pub(crate) grid: Grid,
}

impl Sweep {
    /// The runs that the `[[include]]` and `[[exclude]]` rules leave, in the order of the file.
    pub const fn grid(&self) -> &Grid {
        &self.grid
    }

    /// A run as people call it, such as `glyphs · resnet18 · scratch · standard · seed 0`.
    pub(crate) fn describe(&self, run: &GridRun) -> String {
        let (dataset, model) = (&self.datasets[run.dataset].name, &self.models[run.model].name);
        let (init, recipe) = (&self.inits[run.init].name, &self.recipes[run.recipe].name);
        format!("{dataset} · {model} · {init} · {recipe} · seed {}", run.seed)
    }

    /// The source of a pre-training.
    pub(crate) fn dataset_of<'a>(&'a self, reference: &'a DatasetRef) -> &'a DatasetSection {
        match reference {
            DatasetRef::Section(index) => &self.datasets[*index],
            DatasetRef::Own(section) => section,
        }
    }

    /// The inits that have to be there before an init: the one that it starts from, and the one whose model its source is made with.
    pub(crate) fn before(&self, init: usize) -> Vec<usize> {
        let InitStart::Pretrain(pretrain) = &self.inits[init].start else { return Vec::new() };
        let features = self.dataset_of(&pretrain.dataset.value).features.as_ref();
        pretrain.init.into_iter().chain(features.map(|features| features.value.from.value)).collect()
    }

    /// The recipe that a pre-training names.
    pub(crate) fn recipe_of<'a>(&'a self, reference: &'a RecipeRef) -> &'a RecipeSection {
        match reference {
            RecipeRef::Section(index) => &self.recipes[*index],
            RecipeRef::Own(section) => section,
        }
    }
}

/// A data set: `[[dataset]]`, or the source of a pre-training.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetSection {
    /// Its name.
    pub name: String,
    /// The section.
    pub at: Place,
    /// Where its examples come from.
    pub origin: Origin,
    /// First so many of the train split; all if none.
    pub train_examples: Option<Located<u32>>,
    /// First so many of the test split; all if none.
    pub test_examples: Option<Located<u32>>,
    /// The classes that are kept; all if none.
    pub keep_classes: Option<Located<KeptClasses>>,
    /// First so many of each class of the train split; all if none.
    pub train_examples_per_class: Option<Located<u32>>,
    /// First so many of each class of the test split; all if none.
    pub test_examples_per_class: Option<Located<u32>>,
    /// Number of classes, those included that are not kept; as many as the labels tell if none.
    pub classes: Option<Located<u32>>,
    /// Side of the images; their own if none.
    pub image_size: Option<Located<u32>>,
    /// Channels of the images; their own if none.
    pub channels: Option<Located<u32>>,
    /// How images of another size come to this one.
    pub fit: Fit,
    /// The frequencies that are left in the images; all if none.
    pub frequencies: Option<FrequencyBand>,
    /// Trainings are shown what a model sees in the train split; the images themselves if none.
    pub features: Option<Located<FeaturesSection>>,
}

/// What of a train split is shown to trainings: what a model sees in it.
#[derive(Debug, Clone, PartialEq)]
pub struct FeaturesSection {
    /// Which set, as the file says.
    pub set: FeatureSet,
    /// Number of the init whose model it is.
    pub from: Located<usize>,
    /// How it is made.
    pub construction: Construction,
}

/// The data sets of Ilyas et al. 2019 (arXiv 1905.02175).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureSet {
    /// D_R: what a robust model sees.
    Robust,
    /// D_NR: what another one sees, made in the same way.
    NonRobust,
    /// D_rand: drawn labels.
    Rand,
    /// D_det: the label after the true one.
    Det,
}

/// Classes of a data set that are kept.
#[derive(Debug, Clone, PartialEq)]
pub enum KeptClasses {
    /// The first so many.
    First(u32),
    /// These, in this order.
    Listed(Vec<Located<KeptClass>>),
}

/// A class, as a sweep file names it.
#[derive(Debug, Clone, PartialEq)]
pub enum KeptClass {
    /// By its label.
    Label(u32),
    /// By the name of its folder.
    Name(String),
}

/// Where the examples of a data set come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// IDX files: the user's or the catalogue's.
    Idx {
        /// For fitting.
        train: Option<IdxFiles>,
        /// For measuring.
        test: Option<IdxFiles>,
        /// How they depart from MNIST's.
        variant: IdxVariant,
    },
    /// `.safetensors` files.
    SafeTensors {
        /// For fitting.
        train: Option<Located<FilePlace>>,
        /// For measuring.
        test: Option<Located<FilePlace>>,
    },
    /// CIFAR's binary files: the user's or the catalogue's.
    Cifar {
        /// For fitting.
        train: Vec<Located<FilePlace>>,
        /// For measuring.
        test: Vec<Located<FilePlace>>,
        /// Layout of a record.
        variant: CifarVariant,
    },
    /// Folders of image files.
    Folder(FolderFiles),
    /// Drawn letters.
    Glyphs(GlyphSection),
}

/// Where the images of a data set of files lie.
#[derive(Debug, Clone, PartialEq)]
pub enum FolderFiles {
    /// A folder of classes for each split.
    Splits {
        /// For fitting.
        train: Option<Located<FilePlace>>,
        /// For measuring.
        test: Option<Located<FilePlace>>,
        /// Whether `val` will do where there is no `test`.
        or_val: bool,
    },
    /// One folder of classes, split by a seed.
    HeldOut(HeldOut),
}

/// A folder of which a share of each class is the test split.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// The folder of classes.
    pub folder: Located<FilePlace>,
    /// Share of each class, in (0,1).
    pub test_share: f64,
    /// Seed of the split.
    pub seed: u64,
}

/// The two files of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct IdxFiles {
    /// Images.
    pub images: Located<FilePlace>,
    /// Labels.
    pub labels: Located<FilePlace>,
}

/// How letters are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct GlyphSection {
    /// Seed of the random streams.
    pub seed: u64,
    /// Largest rotation to either side, in degrees.
    pub rotation_degrees: f64,
    /// Smallest font size, as a share of the side.
    pub min_size: f64,
    /// Largest font size, as a share of the side.
    pub max_size: f64,
    /// Largest shift along each axis, as a share of the side.
    pub shift: f64,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// A pattern that tells the letter.
    pub cue: Option<GlyphCue>,
}

/// A model: `[[model]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSection {
    /// Its name: the backbone's, with its width where that is given, unless the file gives one.
    pub name: String,
    /// The section.
    pub at: Place,
    /// Architecture.
    pub backbone: Backbone,
    /// First layers.
    pub stem: Stem,
    /// Channels of the first stage; none for those of the published form, also where the file gives these.
    pub width: Option<u32>,
    /// Channels of its images; the data set's if none.
    pub channels: Option<Located<u32>>,
    /// Mean of the pixels.
    pub mean: Located<PerChannel>,
    /// Standard deviation of the pixels.
    pub std: Located<PerChannel>,
}

/// A number for all channels, or one for each.
#[derive(Debug, Clone, PartialEq)]
pub enum PerChannel {
    /// The same for all.
    All(f64),
    /// One for each.
    Each(Vec<f64>),
}

/// Where runs start: `[[init]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct InitSection {
    /// Its name.
    pub name: String,
    /// The section.
    pub at: Place,
    /// Where the weights come from.
    pub start: InitStart,
}

/// Where the weights of an init come from.
#[derive(Debug, Clone, PartialEq)]
pub enum InitStart {
    /// Freshly drawn.
    Scratch,
    /// A file.
    Checkpoint {
        /// Its path.
        file: Located<FilePlace>,
        /// How it is read.
        format: CheckpointFormat,
        /// Whether the file says that it was trained on perturbed images, or that it was not; nothing is known if none. It is part of no identity: what a
        /// report makes of the results depends on it, not the results.
        robust: Option<bool>,
    },
    /// A pre-training.
    Pretrain(Box<Pretrain>),
}

/// A pre-training stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Pretrain {
    /// The source.
    pub dataset: Located<DatasetRef>,
    /// How it is trained.
    pub recipe: Located<RecipeRef>,
    /// Number of the init it starts from; scratch if none.
    pub init: Option<usize>,
    /// Its seed; the run's if none.
    pub seed: Option<u64>,
}

/// The source of a pre-training.
#[derive(Debug, Clone, PartialEq)]
pub enum DatasetRef {
    /// A `[[dataset]]`, by number.
    Section(usize),
    /// Declared where it is used, or taken from the catalogue.
    Own(Box<DatasetSection>),
}

/// The recipe of a pre-training.
#[derive(Debug, Clone, PartialEq)]
pub enum RecipeRef {
    /// A `[[recipe]]`, by number.
    Section(usize),
    /// Declared where it is used.
    Own(Box<RecipeSection>),
}

/// How runs are trained: `[[recipe]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RecipeSection {
    /// Its name.
    pub name: String,
    /// The section.
    pub at: Place,
    /// The training, with nothing frozen; none where the method is `none`.
    pub training: Option<Recipe>,
    /// What is frozen; how many stages a name means depends on the backbone.
    pub freeze: Option<Located<Freeze>>,
}

/// What keeps its weights, as a sweep file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freeze {
    /// The first so many stages.
    Stages(u32),
    /// All stages up to the one of this name.
    Through(String),
    /// Everything but the head.
    Backbone,
}

/// Length of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StepSize {
    /// In pixel space.
    Absolute(f64),
    /// As a multiple of ε.
    OfEps(f64),
}

impl StepSize {
    /// In pixel space, for a ball of radius `eps`.
    pub const fn resolve(self, eps: f64) -> f64 {
        match self {
            Self::Absolute(length) => length,
            Self::OfEps(multiple) => multiple * eps,
        }
    }
}
