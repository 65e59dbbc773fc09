//! The data sets that need only a name, and the formats of the user's own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::defaults;
use super::entry::{Entry, Parameter};
use crate::digest::Digest;
use crate::experiment::{ImageShape, Split};
use crate::sweep::{Facts, FileContent, FileFacts, FilePlace};

/// Formats that later versions bring.
pub const PLANNED_FORMATS: [&str; 2] = ["cifar", "folder"];
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
    /// Files of the two splits below the data directory; none where the images are drawn.
    pub files: Option<[SplitFiles; 2]>,
    /// The keys that set it up beside those common to all data sets.
    pub parameters: Vec<Parameter>,
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
        idx("mnist", "handwritten digits (LeCun et al. 1998); your own IDX files", (60_000, 10_000), None),
        idx(
            "mnist-10k",
            "ten thousand of MNIST's digits; brought by set-up where npm is at hand",
            (8_000, 2_000),
            None,
        ),
        DatasetEntry {
            name: "glyphs",
            summary: "capital letters A–Z drawn from free fonts; train and test fonts are disjoint by family",
            classes: GLYPH_CLASSES,
            image: ImageShape { channels: 1, height: defaults::GLYPH_IMAGE_SIZE, width: defaults::GLYPH_IMAGE_SIZE },
            train_examples: defaults::GLYPH_TRAIN_EXAMPLES,
            test_examples: defaults::GLYPH_TEST_EXAMPLES,
            files: None,
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
    vec![
        Entry { name: "idx", summary: "MNIST's format: grey images and labels", parameters: with_common(idx) },
        Entry { name: "safetensors", summary: "one file of tensors per split", parameters: with_common(safetensors) },
        Entry { name: "glyphs", summary: "drawn capital letters", parameters: with_common(glyph_parameters()) },
    ]
}

fn with_common(mut own: Vec<Parameter>) -> Vec<Parameter> {
    own.extend([
        Parameter::new("train_examples", "all", "first so many of the train split"),
        Parameter::new("test_examples", "all", "first so many of the test split"),
        Parameter::new("classes", "largest label + 1", "number of classes"),
        Parameter::new("image_size", "their own", "side of the images as the model sees them"),
        Parameter::new("channels", "their own", "1 or 3; grey images are repeated"),
        Parameter::new("fit", "\"resize\"", "how images come to image_size: \"resize\" or \"pad\" (a black border)"),
    ]);
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
        files: Some([split(Split::Train, "train", 0), split(Split::Test, "t10k", 2)]),
        parameters: Vec::new(),
    }
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
        for split in entry.files.iter().flatten() {
            let examples = if split.split == Split::Train { entry.train_examples } else { entry.test_examples };
            let ImageShape { height, width, .. } = entry.image;
            pin(&mut files, &split.images, FileContent::IdxImages { examples, height, width });
            pin(&mut files, &split.labels, FileContent::IdxLabels { examples, max_label: entry.classes - 1 });
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
