//! Folders of image files: classes, splits, identity, and what is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gauntlet_data::{DataError, ImageFolder, Images, Loader, Places, View, Wanted, inspect, load};
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{DatasetSource, DatasetSpec, Fit, FolderPart, Split, Subset};
use gauntlet_domain::sweep::{FileContent, FileFacts, FileRole};
use tempfile::TempDir;

use crate::image_files::png;
use crate::support::{reference, spec};

/// A file of the reference.
pub fn image(name: &str) -> Vec<u8> {
    fs::read(reference("images").join(name)).unwrap()
}

/// A folder of folders of images.
pub struct Tree(TempDir);

impl Tree {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Two classes of so many grey images of 2×2, the shade of each its number.
    fn shades(per_class: u8) -> Self {
        let tree = Self::new();
        for number in 0..per_class {
            tree.shade(&format!("cat/{number:02}.png"), number);
            tree.shade(&format!("dog/{number:02}.png"), 100 + number);
        }
        tree
    }

    fn shade(&self, path: &str, shade: u8) -> PathBuf {
        self.file(path, &png(2, 2, png::ColorType::Grayscale, png::BitDepth::Eight, &[shade; 4]))
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn facts(&self) -> Result<FileFacts, DataError> {
        inspect(FileRole::ImageFolder { or_val: false }, self.root())
    }

    fn classes(&self) -> Vec<(String, u32)> {
        let FileContent::ImageFolder { classes } = self.facts().unwrap().content else { panic!("not a folder") };
        classes.into_iter().map(|class| (class.name, class.examples)).collect()
    }

    fn spec(&self, part: Option<FolderPart>, examples: u32, image: [u32; 3], fit: Fit) -> (DatasetSpec, Places) {
        let manifest = self.facts().map_or_else(|_| Digest::of(b"unknown"), |facts| facts.digest);
        let spec = spec(DatasetSource::Folder { manifest, part }, examples, 2, image, fit);
        let files = [(manifest, self.root().to_owned())].into();
        (spec, Places { files, ..Places::default() })
    }

    pub fn open(&self, image: [u32; 3], fit: Fit, examples: u32) -> Result<ImageFolder, DataError> {
        let (spec, places) = self.spec(None, examples, image, fit);
        ImageFolder::open(&spec, &places, 2)
    }

    /// The shades of a part.
    fn read(&self, part: Option<FolderPart>, examples: u32) -> Images {
        let (spec, places) = self.spec(part, examples, [1, 1, 1], Fit::Resize);
        load(&spec, &places).unwrap()
    }

    pub fn view(folder: ImageFolder, example: usize, view: View) -> Result<Vec<u8>, DataError> {
        let mut loader = Loader::new(Arc::new(folder), 1);
        loader.ask(&[Wanted { example, view }]).unwrap();
        loader.take().unwrap()
    }

    /// The complaint about something in the folder.
    fn said_of(&self, path: &str) -> String {
        let said = self.facts().unwrap_err().to_string();
        let quoted = format!("`{}` ", self.root().join(path).display());
        said.strip_prefix(&quoted).unwrap_or_else(|| panic!("{said} does not name {quoted}")).to_owned()
    }
}

#[test]
fn classes_are_the_sorted_names_of_the_folders_and_contexts_are_none() {
    let tree = Tree::new();
    tree.shade("dog/grass/1.png", 1);
    tree.shade("dog/on snow/deep/2.PNG", 2);
    tree.shade("Zebra/3.png", 3);
    tree.shade("cat/4.png", 4);
    tree.file("cat/.hidden.txt", b"not looked at");
    tree.file(".git/config", b"not looked at");
    let classes = tree.classes();
    let classes: Vec<(&str, u32)> = classes.iter().map(|(name, examples)| (name.as_str(), *examples)).collect();
    assert_eq!(classes, [("Zebra", 1), ("cat", 1), ("dog", 2)]);
}

#[test]
fn the_first_examples_are_a_fair_sample_and_do_not_follow_the_names() {
    let tree = Tree::shades(20);
    let few = tree.read(None, 10);
    assert_eq!(few.labels, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let all = tree.read(None, 40);
    assert_eq!(all.pixels[..10], few.pixels[..]);
    let cats: Vec<u8> = all.pixels.iter().copied().step_by(2).collect();
    let mut sorted = cats.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..20).collect::<Vec<u8>>());
    assert_ne!(cats, sorted);
    assert!(all.pixels.iter().zip(&all.labels).all(|(shade, label)| u32::from(*shade >= 100) == *label));
}

#[test]
fn kept_folders_are_renumbered_and_cut_in_the_order_of_the_examples() {
    let tree = Tree::shades(5);
    for number in 0..5 {
        tree.shade(&format!("ape/{number:02}.png"), 200 + number);
    }
    let shades = |classes: Option<Vec<u32>>, per_class, examples, count| {
        let (spec, places) = tree.spec(None, examples, [1, 1, 1], Fit::Resize);
        let subset = Subset { classes, per_class };
        let images = load(&DatasetSpec { subset, classes: count, ..spec }, &places).unwrap();
        (images.pixels, images.labels)
    };
    let (all, _) = shades(None, None, 15, 3);
    let (some, labels) = shades(Some(vec![2, 0]), Some(2), 4, 2);
    assert_eq!(labels, [1, 0, 1, 0]);
    assert_eq!(some, [all[0], all[2], all[3], all[5]]);
    assert!(some[0] >= 200 && (100..200).contains(&some[1]));
}

#[test]
fn the_sides_of_a_seeded_split_are_disjoint_stratified_and_complete() {
    let tree = Tree::shades(10);
    let part = |split, seed| {
        let images =
            tree.read(Some(FolderPart { split, test_share: 0.3, seed }), if split == Split::Test { 6 } else { 14 });
        images.pixels.into_iter().collect::<std::collections::BTreeSet<u8>>()
    };
    let (train, test) = (part(Split::Train, 0), part(Split::Test, 0));
    assert_eq!((test.iter().filter(|shade| **shade < 100).count(), test.len(), train.len()), (3, 6, 14));
    assert!(train.is_disjoint(&test));
    assert_ne!(test, part(Split::Test, 1));
    assert_eq!(test, part(Split::Test, 0));
}

#[test]
fn the_identity_is_that_of_names_and_contents_and_of_nothing_else() {
    let digest = |tree: &Tree| tree.facts().unwrap().digest;
    let tree = Tree::shades(3);
    assert_eq!(digest(&tree), digest(&Tree::shades(3)));
    let changed = Tree::shades(3);
    changed.shade("cat/01.png", 9);
    assert_ne!(digest(&tree), digest(&changed));
    let renamed = Tree::shades(3);
    fs::rename(renamed.root().join("cat/01.png"), renamed.root().join("cat/11.png")).unwrap();
    assert_ne!(digest(&tree), digest(&renamed));
    let text = format!(
        "gauntlet image folder 1\n{} 71 a/x.png\n{} 71 b/y.png\n",
        Digest::of(&png(2, 2, png::ColorType::Grayscale, png::BitDepth::Eight, &[1; 4])),
        Digest::of(&png(2, 2, png::ColorType::Grayscale, png::BitDepth::Eight, &[2; 4])),
    );
    let two = Tree::new();
    two.shade("b/y.png", 2);
    let bytes = fs::metadata(two.shade("a/x.png", 1)).unwrap().len();
    assert_eq!(digest(&two), Digest::of(text.replace("71", &bytes.to_string()).as_bytes()));
}

#[test]
fn a_folder_or_a_file_that_changed_since_the_plan_is_refused() {
    let tree = Tree::shades(3);
    let (spec, places) = tree.spec(None, 6, [1, 1, 1], Fit::Resize);
    let folder = ImageFolder::open(&spec, &places, 2).unwrap();
    tree.shade("dog/02.png", 7);
    let said = folder.load(2).unwrap_err().to_string();
    assert!(said.contains("dog/02.png` is not the file that was planned with"), "{said}");
    let said = load(&spec, &places).unwrap_err().to_string();
    assert!(said.contains("is not the folder that was planned with"), "{said}");
}

#[test]
fn a_file_that_was_looked_at_long_ago_and_is_changed_is_looked_at_again() {
    let tree = Tree::shades(2);
    let path = tree.root().join("cat/00.png");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    let age = |path: &Path| fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    age(&path);
    let before = tree.facts().unwrap().digest;
    assert_eq!(tree.facts().unwrap().digest, before);
    tree.shade("cat/00.png", 50);
    age(&path);
    assert_ne!(tree.facts().unwrap().digest, before);
}

#[test]
fn what_is_no_data_set_of_images_is_named() {
    let tree = Tree::shades(1);
    fs::create_dir(tree.root().join("empty")).unwrap();
    assert_eq!(tree.said_of("empty"), "holds no images: every class needs one");

    let tree = Tree::shades(1);
    tree.file("README", b"about");
    let beside = "lies beside the folders of classes: images belong into the folder of their class";
    assert_eq!(tree.said_of("README"), beside);

    let tree = Tree::shades(1);
    tree.file("cat/notes.txt", b"about");
    assert_eq!(tree.said_of("cat/notes.txt"), "is not an image: the name of one ends in .jpg, .jpeg or .png");

    let tree = Tree::new();
    let said = tree.facts().unwrap_err().to_string();
    assert_eq!(said, format!("`{}` holds no folders of classes", tree.root().display()));
    let tree = Tree::new();
    tree.file("file", b"");
    let error = inspect(FileRole::ImageFolder { or_val: false }, &tree.root().join("file")).unwrap_err();
    assert!(error.to_string().ends_with("file` is not a folder"), "{error}");
    let error = inspect(FileRole::ImageFolder { or_val: false }, &tree.root().join("absent")).unwrap_err();
    assert!(error.to_string().ends_with("absent` does not exist"), "{error}");
}

#[test]
fn links_are_followed_to_files_inside_and_nowhere_else() {
    let tree = Tree::shades(2);
    symlink("00.png", tree.root().join("cat/again.png")).unwrap();
    assert_eq!(tree.classes()[0], ("cat".to_owned(), 3));

    let outside = Tree::shades(1);
    symlink(outside.root().join("cat/00.png"), tree.root().join("cat/outside.png")).unwrap();
    let said = tree.said_of("cat/outside.png");
    let expected = format!("is a link that leads out of `{}`: copy the file, or link it hard", tree.root().display());
    assert_eq!(said, expected);
    fs::remove_file(tree.root().join("cat/outside.png")).unwrap();

    symlink("../cat", tree.root().join("dog/loop")).unwrap();
    assert_eq!(tree.said_of("dog/loop"), "is a link to a folder: only links to files are followed");
    fs::remove_file(tree.root().join("dog/loop")).unwrap();
    symlink("cat", tree.root().join("bird")).unwrap();
    assert_eq!(tree.said_of("bird"), "is a link to a folder: only links to files are followed");
}

#[test]
fn val_stands_in_for_a_test_folder_that_is_not_there() {
    let tree = Tree::new();
    tree.shade("data/val/cat/1.png", 1);
    tree.shade("data/val/dog/1.png", 1);
    let test = tree.root().join("data/test");
    assert!(inspect(FileRole::ImageFolder { or_val: true }, &test).is_ok());
    assert!(inspect(FileRole::ImageFolder { or_val: false }, &test).is_err());
    assert_eq!(gauntlet_data::find_folder(&test, true), tree.root().join("data/val"));
    tree.shade("data/test/cat/1.png", 1);
    assert_eq!(gauntlet_data::find_folder(&test, true), test);
}

#[test]
fn a_loader_gives_batches_in_the_order_in_which_they_were_asked_for() {
    let tree = Tree::shades(20);
    let folder = Arc::new(tree.open([1, 1, 1], Fit::Resize, 40).unwrap());
    let all = folder.load(1).unwrap().pixels;
    let order: Vec<usize> = (0..200).map(|index| index * 7 % 40).collect();
    let mut loader = Loader::new(Arc::clone(&folder), 4);
    let mut found = Vec::new();
    let mut batches = order.chunks(8);
    loop {
        while loader.has_room()
            && let Some(batch) = batches.next()
        {
            let wanted = |example: &usize| Wanted { example: *example, view: View::default() };
            loader.ask(&batch.iter().map(wanted).collect::<Vec<_>>()).unwrap();
        }
        let Some(batch) = loader.take() else { break };
        found.extend(batch.unwrap());
    }
    assert_eq!(found, order.iter().map(|example| all[*example]).collect::<Vec<u8>>());
}

#[test]
fn a_loader_passes_on_the_first_error_of_a_batch_and_goes_on_with_the_next() {
    let tree = Tree::shades(4);
    let folder = Arc::new(tree.open([1, 1, 1], Fit::Resize, 8).unwrap());
    for number in 0..4 {
        fs::remove_file(tree.root().join(format!("dog/{number:02}.png"))).unwrap();
    }
    let mut loader = Loader::new(Arc::clone(&folder), 3);
    let wanted = |examples: &[usize]| -> Vec<Wanted> {
        examples.iter().map(|example| Wanted { example: *example, view: View::default() }).collect()
    };
    // Cats and dogs take turns.
    loader.ask(&wanted(&[0, 1, 2, 3])).unwrap();
    loader.ask(&wanted(&[0, 2, 4])).unwrap();
    let said = loader.take().unwrap().unwrap_err().to_string();
    let single = |example| Tree::view(tree_again(&tree, &folder), example, View::default());
    assert!(said.contains("/dog/") && said.ends_with("does not exist"), "{said}");
    assert!(single(1).is_err());
    assert_eq!(loader.take().unwrap().unwrap().len(), 3);
    assert!(loader.take().is_none());
}

/// The folder as it was opened; what was removed since is missing when it is read.
fn tree_again(tree: &Tree, folder: &ImageFolder) -> ImageFolder {
    for number in 0..4 {
        tree.shade(&format!("dog/{number:02}.png"), 100 + number);
    }
    let again = tree.open([1, 1, 1], Fit::Resize, folder.examples() as u32).unwrap();
    for number in 0..4 {
        fs::remove_file(tree.root().join(format!("dog/{number:02}.png"))).unwrap();
    }
    again
}

#[test]
fn a_loader_that_is_dropped_with_work_left_ends_its_threads() {
    let tree = Tree::shades(20);
    let folder = Arc::new(tree.open([1, 1, 1], Fit::Resize, 40).unwrap());
    let mut loader = Loader::new(Arc::clone(&folder), 2);
    let wanted: Vec<Wanted> = (0..40).map(|example| Wanted { example, view: View::default() }).collect();
    while loader.has_room() {
        loader.ask(&wanted).unwrap();
    }
    drop(loader);
    assert_eq!(Arc::strong_count(&folder), 1);
}
