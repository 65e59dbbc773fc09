//! `keep_classes` and the counts per class of a `[[dataset]]`.

use crate::sweep::field::Field;
use crate::sweep::place::Located;
use crate::sweep::sections::{DatasetSection, KeptClass, KeptClasses};
use crate::sweep::table::Table;

/// A classifier needs two classes.
const FEWEST_CLASSES: u32 = 2;

/// Reads the keys into a section; classes have names where they are folders.
pub(super) fn read(table: &mut Table<'_>, section: &mut DatasetSection, named: bool, most: [u32; 2]) {
    let [classes, per_class] = most;
    section.keep_classes = table.field("keep_classes").and_then(|field| kept(&field, named, classes));
    section.train_examples_per_class = table.optional_count("train_examples_per_class", 1, per_class);
    section.test_examples_per_class = table.optional_count("test_examples_per_class", 1, per_class);
}

fn kept(field: &Field<'_>, named: bool, most: u32) -> Option<Located<KeptClasses>> {
    let expected = "a number of classes or a list of them";
    if !field.value.is_array() {
        if !field.value.is_integer() {
            return field.expected(expected);
        }
        return field.count(FEWEST_CLASSES, most).map(|count| field.located(KeptClasses::First(count)));
    }
    let entries = field.list(expected)?;
    let classes: Vec<Option<Located<KeptClass>>> = entries.iter().map(|entry| class(entry, named, most)).collect();
    let classes: Vec<Located<KeptClass>> = classes.into_iter().collect::<Option<_>>()?;
    if classes.len() < FEWEST_CLASSES as usize {
        field.report.mistake(&field.at, "one class is kept, and a classifier needs two");
        return None;
    }
    Some(field.located(KeptClasses::Listed(classes)))
}

fn class(field: &Field<'_>, named: bool, most: u32) -> Option<Located<KeptClass>> {
    match field.value.as_str() {
        Some(name) if named => Some(field.located(KeptClass::Name(name.to_owned()))),
        Some(_) => field.expected("a label: only the classes of image folders have names"),
        None => field.count(0, most - 1).map(|label| field.located(KeptClass::Label(label))),
    }
}
