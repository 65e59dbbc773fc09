//! `[[dataset]]`.

use super::cue::cue;
use super::features::features;
use super::files::{CIFAR_KEYS, FOLDER_KEYS, catalogue_origin, cifar, folder, folder_fit, idx_files, path};
use super::frequencies::frequencies;
use super::names::{AxisNames, required_name};
use super::subset;
use crate::catalogue::{self, CatalogueSource, DatasetEntry, GLYPH_CLASSES, defaults};
use crate::experiment::{Fit, IdxVariant};
use crate::sweep::MOST_CLASSES;
use crate::sweep::field::{Field, NumberRange, shortened};
use crate::sweep::place::{Located, Place};
use crate::sweep::report::suggest;
use crate::sweep::sections::{DatasetSection, GlyphSection, KeptClasses, Origin};
use crate::sweep::table::Table;

/// Counts of examples must fit into every table they are stored in.
const MOST_EXAMPLES: u32 = i32::MAX as u32;
const MOST_GLYPHS: u32 = 10_000_000;
const LARGEST_IMAGE: u32 = 1024;

const GLYPH_KEYS: [&str; 7] = ["glyph_seed", "rotation_degrees", "min_size", "max_size", "shift", "noise", "cue"];

/// What `format` can say.
#[derive(Clone, Copy)]
enum Format {
    Idx,
    SafeTensors,
    Cifar,
    Folder,
    Glyphs,
    Catalogue(&'static str),
}

/// The formats of the user's own files, and the names of the catalogue.
fn formats() -> Vec<(&'static str, Format)> {
    let mut formats = vec![
        ("idx", Format::Idx),
        ("safetensors", Format::SafeTensors),
        ("cifar", Format::Cifar),
        ("folder", Format::Folder),
        ("glyphs", Format::Glyphs),
    ];
    let named = catalogue::datasets().into_iter().filter(|entry| entry.source != CatalogueSource::Drawn);
    formats.extend(named.map(|entry| (entry.name, Format::Catalogue(entry.name))));
    formats
}

/// Reads a data set.
pub(super) fn read<'a>(mut table: Table<'a>, names: &AxisNames<'a>) -> Option<DatasetSection> {
    let name = required_name(&mut table, "fashion-mnist");
    let format = match table.field("format") {
        Some(field) => field.one_of("format", &formats()),
        None => format_of_name(&table),
    };
    let Some(format) = format else {
        table.accept_all();
        common(&mut table, MOST_EXAMPLES, names);
        return None;
    };
    let at = table.at.clone();
    let entry = match format {
        Format::Catalogue(name) => catalogue::dataset(name),
        Format::Glyphs => catalogue::dataset("glyphs"),
        Format::Idx | Format::SafeTensors | Format::Cifar | Format::Folder => None,
    };
    let origin = origin(&mut table, format);
    let most_examples = if matches!(format, Format::Glyphs) { MOST_GLYPHS } else { MOST_EXAMPLES };
    let mut section = common(&mut table, most_examples, names);
    if let Some(classes) = section.classes.as_ref().filter(|classes| classes.value < GLYPH_CLASSES)
        && matches!(format, Format::Glyphs)
    {
        table.report.mistake(&classes.at, format!("there are {GLYPH_CLASSES} letters, more than {}", classes.value));
    }
    let of_folder = match &entry {
        Some(entry) => matches!(entry.source, CatalogueSource::Folder { .. }),
        None => matches!(format, Format::Folder),
    };
    let most_per_class = if matches!(format, Format::Glyphs) { MOST_GLYPHS / GLYPH_CLASSES } else { MOST_EXAMPLES };
    subset::read(&mut table, &mut section, of_folder, [MOST_CLASSES, most_per_class]);
    complete(&mut section, entry.as_ref(), &at);
    section.fit = if of_folder { folder_fit(&mut table, section.image_size.as_ref())? } else { fit(&mut table) };
    table.finish();
    Some(DatasetSection { name: name?, origin: origin?, ..section })
}

/// The section that a catalogue name alone stands for.
pub(super) fn from_catalogue(field: &Field<'_>, name: &str) -> Option<DatasetSection> {
    let entry = catalogue::dataset(name)?;
    let origin = catalogue_origin(&entry, &field.at).unwrap_or_else(|| Origin::Glyphs(default_glyphs()));
    let mut section = empty(&field.at);
    complete(&mut section, Some(&entry), &field.at);
    if let (CatalogueSource::Folder { .. }, Some(size)) = (&entry.source, &section.image_size) {
        section.fit = super::files::usual_crop(size.value);
    }
    Some(DatasetSection { name: name.to_owned(), origin, ..section })
}

/// A data set without a format is one of the catalogue.
fn format_of_name(table: &Table<'_>) -> Option<Format> {
    let field = table.peek("name")?;
    let name = name_text_silently(&field)?;
    let found = formats()
        .into_iter()
        .find(|(known, format)| *known == name && matches!(format, Format::Glyphs | Format::Catalogue(_)));
    if found.is_none() {
        unknown(&field, name, &[]);
    }
    found.map(|(_, format)| format)
}

/// Says that `name` is neither declared nor in the catalogue.
pub(super) fn unknown(field: &Field<'_>, name: &str, declared: &[&str]) {
    let message = format!("unknown data set `{}`: it is not in the catalogue and has no `format`", shortened(name));
    if field.report.is_full() {
        field.report.mistake(&field.at, message);
        return;
    }
    let catalogue = catalogue::datasets();
    let others = catalogue.iter().map(|entry| entry.name).filter(|name| !declared.contains(name));
    let known: Vec<&str> = declared.iter().copied().chain(others).collect();
    let help = suggest(name, "known", &known).map(|help| {
        format!("{help}; for your own files say format = \"folder\", \"idx\", \"cifar\" or \"safetensors\"")
    });
    field.report.push(field.at.mistake(message).with_optional_help(help));
}

fn name_text_silently<'a>(field: &Field<'a>) -> Option<&'a str> {
    field.value.as_str().filter(|text| crate::ids::is_name(text))
}

fn origin(table: &mut Table<'_>, format: Format) -> Option<Origin> {
    let own_files = ["train", "test"];
    if !matches!(format, Format::Folder) {
        table.refuse(&FOLDER_KEYS, "belongs to format = \"folder\"");
    }
    if !matches!(format, Format::Cifar) {
        table.refuse(&CIFAR_KEYS, "belongs to format = \"cifar\"");
    }
    if !matches!(format, Format::Glyphs) {
        table.refuse(&GLYPH_KEYS, "belongs to format = \"glyphs\"");
    }
    match format {
        Format::Glyphs => {
            table.refuse(&own_files, "names files, and glyphs are drawn");
            Some(Origin::Glyphs(glyphs(table)))
        }
        Format::Catalogue(name) => {
            table.refuse(&own_files, "names your own files: say with it the `format` they have");
            let named = table.peek("format").or_else(|| table.peek("name"));
            let at = named.map_or_else(|| table.at.clone(), |field| field.at);
            catalogue::dataset(name).and_then(|entry| catalogue_origin(&entry, &at))
        }
        Format::Idx => {
            let [train, test] = own_files.map(|key| table.field(key).map(|field| idx_files(&field)));
            require_a_split(table, train.is_some() || test.is_some());
            Some(Origin::Idx { train: swap(train)?, test: swap(test)?, variant: IdxVariant::Mnist })
        }
        Format::SafeTensors => {
            let [train, test] = own_files.map(|key| table.field(key).map(|field| path(&field)));
            require_a_split(table, train.is_some() || test.is_some());
            Some(Origin::SafeTensors { train: swap(train)?, test: swap(test)? })
        }
        Format::Cifar => cifar(table),
        Format::Folder => folder(table),
    }
}

/// A split that is there and could not be read makes the data set unreadable.
pub(super) fn swap<T>(split: Option<Option<T>>) -> Option<Option<T>> {
    split.map_or(Some(None), |split| split.map(Some))
}

pub(super) fn require_a_split(table: &Table<'_>, found: bool) {
    if !found {
        let at = table.at.clone();
        table.report.mistake_with_help(
            &at,
            "neither `train` nor `test` is given",
            "an attack needs `test`, a training `train`",
        );
    }
}

const fn default_glyphs() -> GlyphSection {
    GlyphSection {
        seed: defaults::GLYPH_SEED,
        rotation_degrees: defaults::GLYPH_ROTATION_DEGREES,
        min_size: defaults::GLYPH_MIN_SIZE,
        max_size: defaults::GLYPH_MAX_SIZE,
        shift: defaults::GLYPH_SHIFT,
        noise: defaults::GLYPH_NOISE,
        cue: None,
    }
}

fn glyphs(table: &mut Table<'_>) -> GlyphSection {
    let share = NumberRange::of((std::ops::Bound::Excluded(0.0), std::ops::Bound::Included(1.0)));
    let default = default_glyphs();
    let seed = table.field("glyph_seed").and_then(|field| field.integer(0, i64::MAX));
    let section = GlyphSection {
        seed: seed.map_or(default.seed, i64::unsigned_abs),
        rotation_degrees: table.number("rotation_degrees", default.rotation_degrees, &NumberRange::of(0.0..=180.0)),
        min_size: table.number("min_size", default.min_size, &share),
        max_size: table.number("max_size", default.max_size, &share),
        shift: table.number("shift", default.shift, &NumberRange::of(0.0..=0.5)),
        noise: table.number("noise", default.noise, &NumberRange::of(0.0..=1.0)),
        cue: table.field("cue").and_then(|field| cue(&field)),
    };
    if section.min_size > section.max_size {
        let at = ["min_size", "max_size"]
            .iter()
            .find_map(|key| table.peek(key))
            .map_or_else(|| table.at.clone(), |field| field.at);
        let message = format!("min_size ({}) is larger than max_size ({})", section.min_size, section.max_size);
        table.report.mistake(&at, message);
    }
    section
}

fn empty(at: &Place) -> DatasetSection {
    DatasetSection {
        name: String::new(),
        at: at.clone(),
        origin: Origin::SafeTensors { train: None, test: None },
        train_examples: None,
        test_examples: None,
        keep_classes: None,
        train_examples_per_class: None,
        test_examples_per_class: None,
        classes: None,
        image_size: None,
        channels: None,
        fit: Fit::Resize,
        frequencies: None,
        features: None,
    }
}

fn common<'a>(table: &mut Table<'a>, most_examples: u32, names: &AxisNames<'a>) -> DatasetSection {
    DatasetSection {
        train_examples: table.optional_count("train_examples", 1, most_examples),
        test_examples: table.optional_count("test_examples", 1, most_examples),
        classes: table.optional_count("classes", 2, MOST_CLASSES),
        image_size: table.optional_count("image_size", 1, LARGEST_IMAGE),
        channels: channels(table),
        frequencies: table.field("frequencies").and_then(|field| frequencies(&field)),
        features: table.field("features").and_then(|field| Some(field.located(features(&field, names)?))),
        ..empty(&table.at)
    }
}

/// How images of one size come to another.
fn fit(table: &mut Table<'_>) -> Fit {
    table.refuse(&["resize"], "belongs to format = \"folder\" and fit = \"crop\"");
    table.one_of("fit", Fit::Resize, "fit", &[("resize", Fit::Resize), ("pad", Fit::Pad)])
}

/// 1 or 3.
pub(super) fn channels(table: &mut Table<'_>) -> Option<Located<u32>> {
    let field = table.field("channels")?;
    let count = field.value.as_integer().and_then(|integer| integer.as_str().parse::<u32>().ok());
    match count {
        Some(count @ (1 | 3)) => Some(field.located(count)),
        _ => field.expected("1 (grey) or 3 (RGB)"),
    }
}

/// Fills in what the catalogue knows.
fn complete(section: &mut DatasetSection, entry: Option<&DatasetEntry>, at: &Place) {
    let Some(entry) = entry else { return };
    let located = |value| Some(Located { value, at: at.clone() });
    let (drawn, folder) = match &entry.source {
        CatalogueSource::Drawn => (true, false),
        CatalogueSource::Folder { .. } => (false, true),
        CatalogueSource::Idx { .. } | CatalogueSource::Cifar { .. } => (false, false),
    };
    // The folders tell the number of classes: of NICO there are several editions.
    if !folder {
        section.classes = section.classes.take().or_else(|| located(entry.classes));
    }
    if drawn {
        let letters = kept_letters(section);
        let all = |usual: u32, per_class: Option<&Located<u32>>| {
            located(letters * per_class.map_or(usual / GLYPH_CLASSES, |per_class| per_class.value))
        };
        let (train, test) = (section.train_examples_per_class.as_ref(), section.test_examples_per_class.as_ref());
        section.train_examples = section.train_examples.take().or_else(|| all(entry.train_examples, train));
        section.test_examples = section.test_examples.take().or_else(|| all(entry.test_examples, test));
    }
    if drawn || folder {
        section.image_size = section.image_size.take().or_else(|| located(entry.image.height));
        section.channels = section.channels.take().or_else(|| located(entry.image.channels));
    }
}

/// How many letters are drawn; the planner says where one is none.
fn kept_letters(section: &DatasetSection) -> u32 {
    match section.keep_classes.as_ref().map(|kept| &kept.value) {
        None => GLYPH_CLASSES,
        Some(KeptClasses::First(count)) => GLYPH_CLASSES.min(*count),
        Some(KeptClasses::Listed(classes)) => GLYPH_CLASSES.min(classes.len() as u32),
    }
}
