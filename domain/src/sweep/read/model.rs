//! `[[model]]`.

use std::borrow::Cow;

use super::dataset::channels;
use super::names::name_text;
use crate::catalogue::{defaults, input_channels};
use crate::experiment::{Backbone, Stem};
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::place::{Located, Place};
use crate::sweep::sections::{ModelSection, PerChannel};
use crate::sweep::table::Table;
use crate::sweep::words::counted;

/// Reads a model.
pub(super) fn read(mut table: Table<'_>) -> Option<ModelSection> {
    let backbones = Backbone::ALL.map(|backbone| (backbone.name(), backbone));
    let backbone = table.required("backbone", "for example: backbone = \"resnet18\"");
    let backbone = backbone.and_then(|field| field.one_of("backbone", &backbones));
    let stem = backbone.map_or(Stem::Standard, |backbone| stem(&mut table, backbone));
    let width = match backbone {
        Some(backbone) => width(&mut table, backbone),
        // It is no unknown key.
        None => table.field("width").and(None),
    };
    let name = table.field("name").map(|field| name_text(&field).map(str::to_owned));
    let channels = channels(&mut table);
    if let (Some(backbone), Some(channels)) = (backbone, &channels) {
        refuse_channels(&table, backbone, channels);
    }
    let [mean, std] = normalize(&mut table);
    let at = table.at.clone();
    table.finish();
    let backbone = backbone?;
    let name = name.unwrap_or_else(|| Some(backbone.name_at_width(width)))?;
    let width = width.filter(|width| backbone.default_width() != Some(*width));
    Some(ModelSection { name, at, backbone, stem, width, channels, mean, std })
}

/// The name of a model that is not read yet, with the field that gives it.
pub(super) fn peeked_name<'a>(table: &Table<'a>) -> Option<(Field<'a>, Cow<'a, str>)> {
    if let Some(field) = table.peek("name") {
        let name = field.value.as_str()?;
        return Some((field, name.into()));
    }
    let field = table.peek("backbone")?;
    let name = field.value.as_str()?;
    let width = table.peek("width").and_then(|width| width.unsigned());
    let backbone = Backbone::ALL.into_iter().find(|backbone| backbone.name() == name);
    let name = backbone.map_or(name.into(), |backbone| backbone.name_at_width(width).into());
    Some((field, name))
}

/// Channels of the first stage, if the section says how many.
fn width(table: &mut Table<'_>, backbone: Backbone) -> Option<u32> {
    if backbone.default_width().is_none() {
        table.refuse(&["width"], &format!("belongs to ResNets, and `{backbone}` has one width only"));
        return None;
    }
    let field = table.field("width")?;
    match field.unsigned() {
        Some(width) if backbone.takes_width(width) => Some(width),
        _ => {
            let (unit, widths) = (Backbone::WIDTH_UNIT, Backbone::WIDTHS);
            field.expected(&format!("a multiple of {unit} from {} to {}", widths.start(), widths.end()))
        }
    }
}

fn stem(table: &mut Table<'_>, backbone: Backbone) -> Stem {
    if !backbone.has_cifar_stem() {
        table.refuse(&["stem"], &format!("belongs to torchvision's ResNets, and `{backbone}` has one form only"));
        return Stem::Standard;
    }
    table.one_of("stem", Stem::Standard, "stem", &[("standard", Stem::Standard), ("cifar", Stem::Cifar)])
}

fn refuse_channels(table: &Table<'_>, backbone: Backbone, channels: &Located<u32>) {
    let possible = input_channels(backbone);
    if !possible.contains(&channels.value) {
        let possible: Vec<String> = possible.iter().map(u32::to_string).collect();
        let message =
            format!("{backbone} takes images of {}, not {}", possible.join(" or "), counted(channels.value, "channel"));
        table.report.mistake(&channels.at, message);
    }
}

fn normalize(table: &mut Table<'_>) -> [Located<PerChannel>; 2] {
    let default = |at: &Place| Located { value: PerChannel::All(defaults::NORMALIZE), at: at.clone() };
    let here = table.at.clone();
    let field = table.field("normalize");
    let Some(mut table) = field.and_then(|field| field.table("{ mean = …, std = … }")) else {
        return [default(&here), default(&here)];
    };
    let mut read = |key, range: NumberRange| {
        let field = table.field(key);
        let value = field.and_then(|field| per_channel(&field, &range).map(|value| field.located(value)));
        value.unwrap_or_else(|| default(&here))
    };
    let read = [read("mean", NumberRange::of(..)), read("std", NumberRange::above_zero())];
    table.finish();
    read
}

fn per_channel(field: &Field<'_>, range: &NumberRange) -> Option<PerChannel> {
    if !field.value.is_array() {
        return field.number(range).map(PerChannel::All);
    }
    let entries = field.list("a number, or a list of one per channel")?;
    if entries.len() != 1 && entries.len() != 3 {
        return field.expected("a number, or a list of 1 or 3");
    }
    entries.iter().map(|entry| entry.number(range)).collect::<Option<Vec<_>>>().map(PerChannel::Each)
}
