//! `augment`.

use std::ops::Bound;

use crate::catalogue::defaults;
use crate::experiment::{Augmentation, RandomCrop};
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::table::Table;

const LARGEST_SHIFT: u32 = 1024;

/// Reads the random changes of training images.
pub(super) fn augmentation(table: &mut Table<'_>) -> Augmentation {
    let field = table.field("augment");
    let Some(mut table) = field.and_then(|field| field.table("{ shift = …, flip = … }")) else {
        return Augmentation::default();
    };
    let shift = table.count("shift", 0, 0, LARGEST_SHIFT);
    let flip = table.boolean("flip", false);
    let plain = table.boolean("crop", false);
    let resized = table.field("resized_crop").map(|field| resized_crop(&field));
    if plain && resized.is_some() {
        table.refuse(&["crop"], "and `resized_crop` are both given: say one");
    }
    if shift > 0 && (plain || resized.is_some()) {
        table.refuse(&["shift"], "moves what a random crop has moved already: say one");
    }
    let crop = resized.or_else(|| plain.then_some(RandomCrop::Plain));
    table.finish();
    Augmentation { shift, flip, crop }
}

fn resized_crop(field: &Field<'_>) -> RandomCrop {
    let (mut scale, mut ratio) = (defaults::RESIZED_CROP_SCALE, defaults::RESIZED_CROP_RATIO);
    if let Some(mut table) = field.table("{ scale = [0.08, 1], ratio = [0.75, 1.3333] }") {
        let share = NumberRange::of((Bound::Excluded(0.0), Bound::Included(1.0)));
        scale = interval(&mut table, "scale", scale, &share);
        ratio = interval(&mut table, "ratio", ratio, &NumberRange::above_zero());
        table.finish();
    }
    RandomCrop::Resized { scale, ratio }
}

/// `[smallest, largest]`.
fn interval(table: &mut Table<'_>, key: &'static str, default: [f64; 2], range: &NumberRange) -> [f64; 2] {
    let Some(field) = table.field(key) else { return default };
    let numbers: Option<Vec<f64>> = field
        .list("[smallest, largest]")
        .map(|numbers| numbers.iter().filter_map(|field| field.number(range)).collect());
    match numbers.as_deref() {
        Some(&[smallest, largest]) if smallest <= largest => [smallest, largest],
        Some(_) => field.expected("[smallest, largest]").unwrap_or(default),
        None => default,
    }
}
