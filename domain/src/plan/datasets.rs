//! Data sets, resolved by what is known of their files.

use super::planner::Mistakes;
use crate::catalogue::{GLYPH_CLASSES, GLYPH_GENERATOR, glyph_fonts};
use crate::digest::Digest;
use crate::experiment::{
    CifarVariant, DatasetSource, DatasetSpec, Fit, FolderPart, GlyphOptions, IdxVariant, ImageShape, RandomCrop, Split,
    Subset,
};
use crate::sweep::{
    DatasetSection, Facts, FileContent, FilePlace, FolderClass, FolderFiles, GlyphSection, HeldOut, IdxFiles, Located,
    MOST_CLASSES, Origin, SplitUse, counted, grouped,
};

/// A data set of which everything is known.
pub(super) struct Dataset {
    pub(super) classes: u32,
    /// Whether the number of classes is certain; otherwise there are at least so many, as the labels tell.
    pub(super) classes_declared: bool,
    pub(super) image: ImageShape,
    pub(super) train: Option<DatasetSpec>,
    pub(super) test: Option<DatasetSpec>,
}

/// A split before it is cut and brought to size.
pub(super) struct RawSplit {
    pub(super) source: DatasetSource,
    pub(super) examples: u32,
    /// Examples of each class.
    pub(super) of_each: Vec<u32>,
    /// None where every image has its own size; such are RGB.
    image: Option<ImageShape>,
}

/// Resolves the splits of a data set that are in use.
pub(super) fn resolve(
    section: &DatasetSection,
    splits: SplitUse,
    facts: &Facts,
    mistakes: &mut Mistakes,
) -> Option<Dataset> {
    let mut resolver = Resolver { section, facts, mistakes };
    let classes = resolver.classes();
    let train = splits.train.then(|| resolver.raw(Split::Train));
    let test = splits.test.then(|| resolver.raw(Split::Test));
    let [train, test] = [train, test].map(|split| split.map_or(Some(None), |split| split.map(Some)));
    let (classes, [train, test]) = (classes?, [train?, test?]);
    let kept = resolver.kept(classes)?;
    let image = resolver.image(train.as_ref(), test.as_ref())?;
    let view = View { of_classes: classes, kept, image };
    let mut cut = |split: Option<RawSplit>, wanted: Wanted<'_>| match split {
        None => Some(None),
        Some(split) => resolver.cut(split, &wanted, &view).map(Some),
    };
    let (examples, per_class) = (section.train_examples.as_ref(), section.train_examples_per_class.as_ref());
    let train = cut(train, Wanted { what: "train", examples, per_class });
    let (examples, per_class) = (section.test_examples.as_ref(), section.test_examples_per_class.as_ref());
    let test = cut(test, Wanted { what: "test", examples, per_class });
    let classes_declared = section.classes.is_some() || view.kept.is_some();
    Some(Dataset { classes: view.classes(), classes_declared, image, train: train?, test: test? })
}

/// What both splits have in common.
struct View {
    /// Classes before any is left out.
    of_classes: u32,
    kept: Option<Vec<u32>>,
    image: ImageShape,
}

impl View {
    fn classes(&self) -> u32 {
        self.kept.as_ref().map_or(self.of_classes, |kept| kept.len() as u32)
    }
}

/// How much of a split is wanted.
struct Wanted<'a> {
    what: &'static str,
    examples: Option<&'a Located<u32>>,
    per_class: Option<&'a Located<u32>>,
}

pub(super) struct Resolver<'a> {
    pub(super) section: &'a DatasetSection,
    facts: &'a Facts,
    pub(super) mistakes: &'a mut Mistakes,
}

impl<'a> Resolver<'a> {
    /// What is known of a file.
    fn content(&mut self, file: &Located<FilePlace>) -> Option<(Digest, &'a FileContent)> {
        let found = self.facts.files.get(&file.value);
        if found.is_none() {
            self.mistakes.push(file.at.mistake(format!("nothing is known of the file `{}`", file.value)));
        }
        found.map(|facts| (facts.digest, &facts.content))
    }

    fn wrong_content<T>(&mut self, file: &Located<FilePlace>, expected: &str) -> Option<T> {
        self.mistakes.push(file.at.mistake(format!("`{}` does not hold {expected}", file.value)));
        None
    }

    /// The number of classes: as declared, or one more than the largest label of any split.
    fn classes(&mut self) -> Option<u32> {
        let labels = self.largest_labels()?;
        match &self.section.origin {
            Origin::Cifar { variant, .. } => return self.declared(variant.classes()),
            Origin::Folder(files) => {
                let found = self.folder_classes(files)?;
                return self.declared(found);
            }
            Origin::Idx { .. } | Origin::SafeTensors { .. } | Origin::Glyphs(_) => {}
        }
        if let Some(declared) = &self.section.classes {
            let beyond = labels.iter().filter(|(_, largest)| *largest >= declared.value);
            let said = beyond.map(|(file, largest)| {
                let message =
                    format!("`{}` holds the label {largest}, and there are {} classes", file.value, declared.value);
                self.mistakes.push(declared.at.mistake(message).with_help("labels are 0 … classes − 1"));
            });
            return (said.count() == 0).then_some(declared.value);
        }
        let (file, largest) = labels.into_iter().max_by_key(|(_, largest)| *largest)?;
        if largest >= MOST_CLASSES {
            let message = format!("`{}` holds the label {largest}: more than {MOST_CLASSES} classes", file.value);
            self.mistakes.push(file.at.mistake(message));
            return None;
        }
        if largest == 0 {
            let message =
                format!("all labels of the data set `{}` are 0, and a classifier needs two classes", self.section.name);
            self.mistakes
                .push(self.section.at.mistake(message).with_help("if there are more classes, say so: classes = …"));
            return None;
        }
        Some(largest + 1)
    }

    /// The number of classes that a format tells, which is the declared one where one is declared.
    fn declared(&mut self, found: u32) -> Option<u32> {
        let wrong = self.section.classes.as_ref().filter(|declared| declared.value != found);
        if let Some(declared) = wrong {
            let message = format!("`{}` has {found} classes, and {} are declared", self.section.name, declared.value);
            self.mistakes.push(declared.at.mistake(message));
        }
        wrong.is_none().then_some(found)
    }

    /// The number of classes of a data set of folders, which are the same in all that is known of it.
    fn folder_classes(&mut self, files: &'a FolderFiles) -> Option<u32> {
        let folders: Vec<&Located<FilePlace>> = match files {
            FolderFiles::HeldOut(held_out) => vec![&held_out.folder],
            FolderFiles::Splits { train, test, .. } => train.iter().chain(test).collect(),
        };
        let optional = self.section.classes.is_some() && folders.iter().any(|folder| self.known(folder));
        let mut found: Option<(&Located<FilePlace>, &[FolderClass])> = None;
        for folder in folders {
            if optional && !self.known(folder) {
                continue;
            }
            let classes = self.folder(folder)?.1;
            if let Some((first, others)) = found {
                self.same_classes((first, others), (folder, classes))?;
            }
            found = Some((folder, classes));
        }
        let (folder, classes) = found?;
        if classes.len() < 2 || classes.len() > MOST_CLASSES as usize {
            let message = format!(
                "`{}` holds {}: a classifier needs 2 to {MOST_CLASSES} classes",
                folder.value,
                counted(classes.len() as u32, "folder")
            );
            self.mistakes.push(folder.at.mistake(message));
            return None;
        }
        Some(classes.len() as u32)
    }

    pub(super) fn known(&self, file: &Located<FilePlace>) -> bool {
        self.facts.files.contains_key(&file.value)
    }

    pub(super) fn folder(&mut self, folder: &Located<FilePlace>) -> Option<(Digest, &'a [FolderClass])> {
        let (digest, content) = self.content(folder)?;
        match content {
            FileContent::ImageFolder { classes } => Some((digest, classes)),
            _ => self.wrong_content(folder, "folders of images"),
        }
    }

    fn same_classes(
        &mut self,
        (first, classes): (&Located<FilePlace>, &[FolderClass]),
        (second, others): (&Located<FilePlace>, &[FolderClass]),
    ) -> Option<()> {
        let lacks = |classes: &[FolderClass], others: &[FolderClass]| {
            let has = |name: &str| classes.iter().any(|class| class.name == name);
            others.iter().find(|class| !has(&class.name)).map(|class| class.name.clone())
        };
        let (name, in_folder, not_in) = match (lacks(others, classes), lacks(classes, others)) {
            (Some(name), _) => (name, first, second),
            (None, Some(name)) => (name, second, first),
            (None, None) => return Some(()),
        };
        let message = format!("the class `{name}` is in `{}` and not in `{}`", in_folder.value, not_in.value);
        self.mistakes.push(second.at.mistake(message).with_help("both splits need the same folders of classes"));
        None
    }

    /// The largest label of each file of labels of which something is known or must be.
    fn largest_labels(&mut self) -> Option<Vec<(&'a Located<FilePlace>, u32)>> {
        let files: Vec<&'a Located<FilePlace>> = match &self.section.origin {
            Origin::Glyphs(_) | Origin::Cifar { .. } | Origin::Folder(_) => return Some(Vec::new()),
            Origin::Idx { train, test, variant: _ } => train.iter().chain(test).map(|files| &files.labels).collect(),
            Origin::SafeTensors { train, test } => train.iter().chain(test).collect(),
        };
        let optional = self.section.classes.is_some();
        let first_label = match &self.section.origin {
            Origin::Idx { variant, .. } => variant.first_label(),
            _ => 0,
        };
        let mut labels = Vec::new();
        for file in files {
            if optional && !self.facts.files.contains_key(&file.value) {
                continue;
            }
            match self.content(file)?.1 {
                FileContent::IdxLabels { max_label, .. } | FileContent::SafeTensorsDataset { max_label, .. } => {
                    labels.push((file, max_label.saturating_sub(first_label)));
                }
                FileContent::IdxImages { .. }
                | FileContent::Checkpoint { .. }
                | FileContent::Cifar { .. }
                | FileContent::ImageFolder { .. } => {
                    return self.wrong_content(file, "labels");
                }
            }
        }
        Some(labels)
    }

    fn raw(&mut self, split: Split) -> Option<RawSplit> {
        let section = self.section;
        match &section.origin {
            Origin::Glyphs(glyphs) => Some(drawn(section, glyphs, split)),
            Origin::Idx { train, test, variant } => self.raw_idx(of_split(split, train, test)?, *variant),
            Origin::SafeTensors { train, test } => self.raw_safetensors(of_split(split, train, test)?),
            Origin::Cifar { train, test, variant } => {
                self.raw_cifar(if split == Split::Train { train } else { test }, *variant)
            }
            Origin::Folder(files) => self.raw_folder(files, split),
        }
    }

    fn raw_cifar(&mut self, files: &'a [Located<FilePlace>], variant: CifarVariant) -> Option<RawSplit> {
        let mut digests = Vec::new();
        let mut examples: u32 = 0;
        let mut of_each = vec![0_u32; variant.classes() as usize];
        for file in files {
            let (digest, content) = self.content(file)?;
            let FileContent::Cifar { examples: found, variant: _, per_class } = content else {
                return self.wrong_content(file, "images in CIFAR's binary format");
            };
            examples = examples.saturating_add(*found);
            of_each.iter_mut().zip(per_class).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
            digests.push(digest);
        }
        let image = Some(ImageShape { channels: 3, height: 32, width: 32 });
        Some(RawSplit { source: DatasetSource::Cifar { files: digests, variant }, examples, of_each, image })
    }

    fn raw_folder(&mut self, files: &'a FolderFiles, split: Split) -> Option<RawSplit> {
        let (folder, part) = match files {
            FolderFiles::Splits { train, test, .. } => (of_split(split, train, test)?, None),
            FolderFiles::HeldOut(HeldOut { folder, test_share, seed }) => {
                (folder, Some(FolderPart { split, test_share: *test_share, seed: *seed }))
            }
        };
        let (manifest, classes) = self.folder(folder)?;
        let sizes = classes.iter().map(|class| part.map_or(class.examples, |part| part.examples(class.examples)));
        let of_each: Vec<u32> = sizes.collect();
        let examples = of_each.iter().copied().fold(0, u32::saturating_add);
        Some(RawSplit { source: DatasetSource::Folder { manifest, part }, examples, of_each, image: None })
    }

    fn raw_idx(&mut self, files: &IdxFiles, variant: IdxVariant) -> Option<RawSplit> {
        let images = self.content(&files.images);
        let labels = self.content(&files.labels);
        let ((images, image_content), (labels, label_content)) = (images?, labels?);
        let &FileContent::IdxImages { examples, height, width } = image_content else {
            return self.wrong_content(&files.images, "images in IDX format");
        };
        let &FileContent::IdxLabels { examples: label_count, ref per_class, .. } = label_content else {
            return self.wrong_content(&files.labels, "labels in IDX format");
        };
        if examples != label_count {
            let message = format!(
                "`{}` holds {} images and `{}` {} labels",
                files.images.value,
                grouped(examples),
                files.labels.value,
                grouped(label_count),
            );
            self.mistakes.push(files.images.at.mistake(message));
            return None;
        }
        let (height, width) = if variant.is_mnist() { (height, width) } else { (width, height) };
        let image = Some(ImageShape { channels: 1, height, width });
        let of_each = per_class.iter().copied().skip(variant.first_label() as usize).collect();
        Some(RawSplit { source: DatasetSource::Idx { images, labels, variant }, examples, of_each, image })
    }

    fn raw_safetensors(&mut self, file: &Located<FilePlace>) -> Option<RawSplit> {
        let (digest, content) = self.content(file)?;
        let &FileContent::SafeTensorsDataset { examples, channels, height, width, ref per_class, .. } = content else {
            return self.wrong_content(file, "`images` u8 [N,C,H,W] and `labels` i64 [N]");
        };
        let image = Some(ImageShape { channels, height, width });
        let of_each = per_class.clone();
        Some(RawSplit { source: DatasetSource::SafeTensors { file: digest }, examples, of_each, image })
    }

    /// The shape of an image as the model sees it.
    fn image(&mut self, train: Option<&RawSplit>, test: Option<&RawSplit>) -> Option<ImageShape> {
        let section = self.section;
        let side = section.image_size.as_ref().map(|size| size.value);
        let Some(native) = train.or(test)?.image else {
            // The reader saw to it that a data set of files says its size.
            let channels = section.channels.as_ref().map_or(3, |channels| channels.value);
            return side.map(|side| ImageShape { channels, height: side, width: side });
        };
        if let (Some(train), Some(test)) = (train.and_then(|split| split.image), test.and_then(|split| split.image)) {
            let same_size = (train.height, train.width) == (test.height, test.width);
            let same_channels = train.channels == test.channels;
            if !same_size && section.image_size.is_none() || !same_channels && section.channels.is_none() {
                let (train, test) = (shape(train), shape(test));
                let message =
                    format!("images of `{}` are {train} in the train split and {test} in the test split", section.name);
                self.mistakes.push(section.at.mistake(message).with_help("set image_size and channels"));
                return None;
            }
        }
        let channels = section.channels.as_ref().map_or(native.channels, |channels| channels.value);
        Some(ImageShape { channels, height: side.unwrap_or(native.height), width: side.unwrap_or(native.width) })
    }

    /// The first examples of what a split keeps, brought to size.
    fn cut(&mut self, raw: RawSplit, wanted: &Wanted<'_>, view: &View) -> Option<DatasetSpec> {
        let Wanted { what, examples: wanted, per_class } = *wanted;
        let name = &self.section.name;
        if raw.examples == 0 || raw.image.is_some_and(|image| image.height == 0 || image.width == 0) {
            self.mistakes.push(self.section.at.mistake(format!("the {what} split of `{name}` is empty")));
            return None;
        }
        let subset = Subset { classes: view.kept.clone(), per_class: per_class.map(|count| count.value) };
        let left = self.left(&raw, &subset, (what, per_class, view.of_classes))?;
        if left == 0 {
            let message = format!("the {what} split of `{name}` has no example of the classes in `keep_classes`");
            self.mistakes.push(self.section.at.mistake(message));
            return None;
        }
        if let Some(wanted) = wanted.filter(|wanted| wanted.value > left) {
            let (has, wants) = (counted(left, "example"), grouped(wanted.value));
            let verb = if subset.is_all() { "has" } else { "keeps" };
            let message = format!("the {what} split of `{name}` {verb} {has}, fewer than {wants}");
            self.mistakes.push(wanted.at.mistake(message));
            return None;
        }
        let examples = wanted.map_or(left, |wanted| wanted.value);
        let fit = match raw.image {
            Some(from) => self.fit(from, view.image)?,
            None => self.section.fit,
        };
        let frequencies = self.section.frequencies;
        let (classes, image) = (view.classes(), view.image);
        Some(DatasetSpec { source: raw.source, subset, examples, classes, image, fit, frequencies })
    }

    /// How images come from one shape to the other. Where there is nothing to do the answer is always the same, so that it makes no other identity.
    fn fit(&mut self, from: ImageShape, to: ImageShape) -> Option<Fit> {
        let section = self.section;
        let channels_at = section.channels.as_ref().map_or(&section.at, |channels| &channels.at);
        if from.channels != to.channels && from.channels != 1 {
            let message =
                format!("images of `{}` have {} channels and can't have {}", section.name, from.channels, to.channels);
            self.mistakes.push(channels_at.mistake(message).with_help("grey images can be repeated: channels = 3"));
            return None;
        }
        if (from.height, from.width) == (to.height, to.width) {
            return Some(Fit::Resize);
        }
        if section.fit == Fit::Pad && (from.height > to.height || from.width > to.width) {
            let at = section.image_size.as_ref().map_or(&section.at, |size| &size.at);
            let message = format!(
                "images of `{}` are {}×{}: a border can't bring them to {}×{}",
                section.name, from.height, from.width, to.height, to.width
            );
            self.mistakes.push(at.mistake(message).with_help("say fit = \"resize\""));
            return None;
        }
        Some(section.fit)
    }
}

/// Whether the images of a training can be cropped as its recipe says.
pub(super) fn check_crop(dataset: &DatasetSpec, crop: Option<RandomCrop>) -> Result<(), &'static str> {
    let files = matches!(dataset.source, DatasetSource::Folder { .. });
    match (crop, dataset.fit) {
        (Some(_), _) if !files => Err("`crop` and `resized_crop` need a data set of image files; others can `shift`"),
        (Some(RandomCrop::Plain), Fit::Resize | Fit::Pad) => {
            Err("`crop` cuts out of the image brought to `resize`, and this data set has another `fit`")
        }
        _ => Ok(()),
    }
}

const fn of_split<'a, T>(split: Split, train: &'a Option<T>, test: &'a Option<T>) -> Option<&'a T> {
    match split {
        Split::Train => train.as_ref(),
        Split::Test => test.as_ref(),
    }
}

/// Letters are drawn at the wanted size, and as many as wanted; the catalogue filled in what the file left out.
fn drawn(section: &DatasetSection, glyphs: &GlyphSection, split: Split) -> RawSplit {
    let examples = if split == Split::Train { &section.train_examples } else { &section.test_examples };
    let side = section.image_size.as_ref().map_or(0, |size| size.value);
    let source = DatasetSource::Glyphs(GlyphOptions {
        split,
        fonts: glyph_fonts(),
        generator: GLYPH_GENERATOR,
        seed: glyphs.seed,
        rotation_degrees: glyphs.rotation_degrees,
        min_size: glyphs.min_size,
        max_size: glyphs.max_size,
        shift: glyphs.shift,
        noise: glyphs.noise,
        cue: glyphs.cue,
    });
    let examples = examples.as_ref().map_or(0, |examples| examples.value);
    // Of each letter there are as many as wanted.
    let of_each = vec![u32::MAX; GLYPH_CLASSES as usize];
    RawSplit { source, examples, of_each, image: Some(ImageShape { channels: 1, height: side, width: side }) }
}

fn shape(image: ImageShape) -> String {
    let kind = if image.channels == 1 { "grey".to_owned() } else { format!("of {} channels", image.channels) };
    format!("{}×{} and {kind}", image.height, image.width)
}
