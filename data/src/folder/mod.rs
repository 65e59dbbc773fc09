//! Folders of image files, one folder per class.
//!
//! Images are found at any depth below the folder of their class (NICO keeps contexts there), and hidden files are passed over. The identity of such
//! a data set is the digest of its manifest; every file is compared with its own digest whenever it is read.
//!
//! Examples are numbered so that the classes take turns, and within a class by the SHA-256 of `seed/relative path`. The first so many of a
//! split are therefore a fair sample of it, and the first of a class are the test split where a seed splits it.

mod cache;
mod listing;
mod manifest;

use std::mem;
use std::path::{Path, PathBuf};

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{DatasetSource, DatasetSpec, Fit, FolderPart, ImageShape, Split};
use gauntlet_domain::sweep::FolderClass;

use crate::error::{DataError, InFile};
use crate::file::{Places, read_verified};
use crate::images::{DatasetProblem, Images, black};
use crate::parallel;
use crate::picture::{self, Renderer, Size, View};
use crate::subset::choose;
use manifest::{Entry, Manifest};

/// Seed of the order within a class where no split needs another.
const ORDER_SEED: u64 = 0;

/// Why a folder is no data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FolderProblem {
    /// Something else lies there.
    #[error("is not a folder")]
    NotAFolder,
    /// No class.
    #[error("holds no folders of classes")]
    NoClasses,
    /// A class without images.
    #[error("holds no images: every class needs one")]
    EmptyClass,
    /// A file where folders of classes should be.
    #[error("lies beside the folders of classes: images belong into the folder of their class")]
    BesideClasses,
    /// A link that would let a folder be entered twice, or left.
    #[error("is a link to a folder: only links to files are followed")]
    LinkToFolder,
    /// A link to somewhere else.
    #[error("is a link that leads out of `{}`: copy the file, or link it hard", root.display())]
    LeadsOut {
        /// The folder.
        root: PathBuf,
    },
    /// A name that cannot be written into a manifest.
    #[error("has a name with control characters or outside UTF-8")]
    Name,
    /// More files than examples are counted.
    #[error("holds more than {} images", u32::MAX)]
    TooMany,
    /// Another content than the one that was planned with.
    #[error("is not the folder that was planned with: the digest of its manifest is {found}, expected {expected}")]
    WrongDigest {
        /// Digest of the manifest.
        found: Digest,
        /// Digest that was asked for.
        expected: Digest,
    },
}

/// Where a data set of image files lies: a missing `test` may be a `val`.
pub fn find_folder(path: &Path, or_val: bool) -> PathBuf {
    let val = path.with_file_name("val");
    if or_val && !path.exists() && val.is_dir() { val } else { path.to_owned() }
}

/// Digest and classes of a folder.
pub(crate) fn inspect(path: &Path, or_val: bool) -> Result<(Digest, Vec<FolderClass>), DataError> {
    let manifest = Manifest::of(&find_folder(path, or_val), parallel::cores())?;
    let mut classes: Vec<FolderClass> =
        manifest.classes.iter().map(|name| FolderClass { name: name.clone(), examples: 0 }).collect();
    manifest.entries.iter().for_each(|entry| classes[entry.class as usize].examples += 1);
    Ok((manifest.digest(), classes))
}

/// The image files of a split, in the order of the examples.
#[derive(Debug)]
pub struct ImageFolder {
    root: PathBuf,
    files: Vec<Entry>,
    shape: ImageShape,
    fit: Fit,
}

impl ImageFolder {
    /// The files of a split, of which so far only names, sizes and digests were looked at.
    ///
    /// # Errors
    /// A spec of another format; a folder that is not the one the spec names by its digest; a file that is no image.
    pub fn open(spec: &DatasetSpec, places: &Places, threads: usize) -> Result<Self, DataError> {
        let DatasetSource::Folder { manifest, part } = &spec.source else {
            return Err(DataError::NoImageFiles);
        };
        let root = places.path(manifest)?;
        let found = Manifest::of(root, threads)?;
        let digest = found.digest();
        if digest != *manifest {
            return Err(FolderProblem::WrongDigest { found: digest, expected: *manifest }).in_file(root);
        }
        if spec.subset.classes.is_none() && found.classes.len() > spec.classes as usize {
            let problem = DatasetProblem::LabelOutOfRange {
                index: 0,
                found: found.classes.len() as u32 - 1,
                classes: spec.classes,
            };
            return Err(problem).in_file(root);
        }
        let files = in_order(found, part.as_ref());
        let chosen = choose(files.iter().map(|file| file.class), spec).in_file(root)?;
        let files =
            chosen.iter().map(|example| Entry { class: example.label, ..files[example.index].clone() }).collect();
        Ok(Self { root: root.to_owned(), files, shape: spec.image, fit: spec.fit })
    }

    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.files.len()
    }

    /// The class of each example.
    pub fn labels(&self) -> impl Iterator<Item = u32> {
        self.files.iter().map(|file| file.class)
    }

    /// C, H and W of the images as the spec wants them.
    pub const fn shape(&self) -> ImageShape {
        self.shape
    }

    /// How they come to it.
    pub const fn fit(&self) -> Fit {
        self.fit
    }

    /// The size of an original.
    pub fn size(&self, example: usize) -> Size {
        self.files[example].size
    }

    /// Bytes of an image as the spec wants it.
    pub(crate) fn image_bytes(&self) -> usize {
        [self.shape.channels, self.shape.height, self.shape.width].map(|side| side as usize).into_iter().product()
    }

    /// Bytes of all images as the spec wants them.
    pub fn fitted_bytes(&self) -> u64 {
        self.files.len() as u64 * self.image_bytes() as u64
    }

    /// All images as the spec wants them.
    ///
    /// # Errors
    /// A file that is damaged or is not the one of the manifest; no memory.
    pub fn load(&self, threads: usize) -> Result<Images, DataError> {
        let mut pixels = black(self.files.len(), self.shape)?;
        let image_bytes = self.image_bytes();
        let blocks = pixels.chunks_mut(image_bytes * ROWS_AT_ONCE).enumerate();
        parallel::for_each(blocks, threads, |(block, rows)| {
            let mut reader = self.reader();
            for (row, target) in rows.chunks_exact_mut(image_bytes).enumerate() {
                reader.read(block * ROWS_AT_ONCE + row, View::default(), target)?;
            }
            Ok::<(), DataError>(())
        })?;
        Ok(Images { pixels, labels: self.labels().collect(), shape: self.shape })
    }

    /// Where an example lies.
    pub(crate) fn path(&self, example: usize) -> PathBuf {
        self.root.join(&self.files[example].path)
    }

    /// Something that reads one image after the other.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { folder: self, renderer: Renderer::new(self.shape, self.fit), decoded: Vec::new() }
    }
}

/// Images that one thread decodes before it asks for more.
const ROWS_AT_ONCE: usize = 8;

/// Reads images of a folder.
pub(crate) struct Reader<'a> {
    folder: &'a ImageFolder,
    renderer: Renderer,
    /// Memory of the image before, which the next one takes: asking the system for it anew costs more than clearing it.
    decoded: Vec<u8>,
}

impl Reader<'_> {
    /// Writes a view of an example, u8 \[C,H,W\].
    pub(crate) fn read(&mut self, example: usize, view: View, pixels: &mut [u8]) -> Result<(), DataError> {
        let entry = &self.folder.files[example];
        let path = self.folder.path(example);
        let bytes = read_verified(&path, &entry.sha256)?;
        let picture = picture::decode(&bytes, mem::take(&mut self.decoded)).in_file(&path)?;
        self.renderer.render(&picture, view, pixels).in_file(&path)?;
        self.decoded = picture.pixels;
        Ok(())
    }
}

/// The entries of a split, the classes taking turns.
fn in_order(manifest: Manifest, part: Option<&FolderPart>) -> Vec<Entry> {
    let seed = part.map_or(ORDER_SEED, |part| part.seed);
    let mut classes: Vec<Vec<(Digest, Entry)>> = manifest.classes.iter().map(|_| Vec::new()).collect();
    for entry in manifest.entries {
        let key = Digest::of(format!("{seed}/{}", entry.path).as_bytes());
        classes[entry.class as usize].push((key, entry));
    }
    let mut turns: Vec<_> = classes
        .into_iter()
        .map(|mut class| {
            class.sort_by(|(key, entry), (other_key, other)| {
                key.as_bytes().cmp(other_key.as_bytes()).then_with(|| entry.path.cmp(&other.path))
            });
            let test = part.map(|part| (part.split, part.test_examples(class.len() as u32) as usize));
            let rest = match test {
                None => class,
                Some((Split::Train, count)) => class.split_off(count),
                Some((Split::Test, count)) => {
                    class.truncate(count);
                    class
                }
            };
            rest.into_iter().map(|(_, entry)| entry)
        })
        .collect();
    let mut files = Vec::new();
    loop {
        let before = files.len();
        files.extend(turns.iter_mut().filter_map(Iterator::next));
        if files.len() == before {
            return files;
        }
    }
}
