//! Models, resolved for a data set.

use super::datasets::Dataset;
use super::planner::Mistakes;
use crate::catalogue::input_channels;
use crate::experiment::{ImageShape, ModelSpec, Normalize};
use crate::sweep::{DatasetSection, Located, ModelSection, PerChannel, Place, counted};

/// The model for images and classes of a data set.
pub(super) fn resolve(
    model: &ModelSection,
    section: &DatasetSection,
    dataset: &Dataset,
    mistakes: &mut Mistakes,
) -> Option<ModelSpec> {
    let channels = dataset.image.channels;
    let at = section.channels.as_ref().map_or(&section.at, |channels| &channels.at);
    let wanted = model.channels.as_ref().map(|channels| channels.value);
    let possible = input_channels(model.backbone);
    let wrong = wanted.is_some_and(|wanted| wanted != channels) || !possible.contains(&channels);
    if wrong {
        let takes = wanted.map_or_else(|| listed(possible), |wanted| counted(wanted, "channel"));
        let message =
            format!("the model `{}` takes images of {takes}, those of `{}` have {channels}", model.name, section.name);
        mistakes.push(at.mistake(message).with_help(channel_help(channels, &section.name)));
    }
    let large = large_enough(model, &section.name, dataset.image, at_size(section), mistakes);
    let [mean, std] = [&model.mean, &model.std].map(|value| per_channel(value, channels, mistakes));
    if wrong || !large {
        return None;
    }
    let normalize = Normalize { mean: mean?, std: std? };
    let &ModelSection { backbone, stem, width, .. } = model;
    Some(ModelSpec { backbone, stem, width, channels, classes: dataset.classes, normalize })
}

/// The same model for the source of its pre-training.
pub(super) fn for_source(
    model: (&ModelSection, &ModelSpec),
    source: (&DatasetSection, &Dataset),
    target: &str,
    at: &Place,
    mistakes: &mut Mistakes,
) -> Option<ModelSpec> {
    let ((model, spec), (section, dataset)) = (model, source);
    let channels = dataset.image.channels;
    if channels != spec.channels {
        let message = format!(
            "images of the source `{}` have {}, those of the target `{target}` {}",
            section.name,
            counted(channels, "channel"),
            spec.channels
        );
        let grey = if channels == 1 { &section.name } else { target };
        mistakes.push(at.mistake(message).with_help(channel_help(channels.min(spec.channels), grey)));
    }
    let large = large_enough(model, &section.name, dataset.image, at_size(section), mistakes);
    (large && channels == spec.channels).then(|| ModelSpec { classes: dataset.classes, ..spec.clone() })
}

fn at_size(section: &DatasetSection) -> &Place {
    section.image_size.as_ref().map_or(&section.at, |size| &size.at)
}

fn large_enough(model: &ModelSection, name: &str, image: ImageShape, at: &Place, mistakes: &mut Mistakes) -> bool {
    let least = model.backbone.min_image_size(model.stem);
    let large = image.height >= least && image.width >= least;
    let unit = model.backbone.image_size_unit();
    let whole = image.height.is_multiple_of(unit) && image.width.is_multiple_of(unit);
    if large && !whole {
        let message = format!(
            "{} takes images whose sides are multiples of {unit}, those of `{name}` are {}×{}",
            model.backbone, image.height, image.width
        );
        let nearest = image.height.max(image.width).next_multiple_of(unit);
        mistakes.push(at.mistake(message).with_help(format!("set image_size = {nearest} for `{name}`")));
    }
    if !large {
        let message = format!(
            "{} takes images of at least {least}×{least}, those of `{name}` are {}×{}",
            model.backbone, image.height, image.width
        );
        mistakes.push(at.mistake(message).with_help(format!("set image_size = {least} for `{name}`")));
    }
    large && whole
}

fn channel_help(has: u32, name: &str) -> String {
    if has == 1 {
        format!("set channels = 3 for `{name}`: grey images are repeated")
    } else {
        "choose another backbone or data set".to_owned()
    }
}

fn listed(channels: &[u32]) -> String {
    channels.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ")
        + if channels == [1] { " channel" } else { " channels" }
}

fn per_channel(value: &Located<PerChannel>, channels: u32, mistakes: &mut Mistakes) -> Option<Vec<f64>> {
    match &value.value {
        PerChannel::All(number) => Some(vec![*number; channels as usize]),
        PerChannel::Each(numbers) if numbers.len() == channels as usize => Some(numbers.clone()),
        PerChannel::Each(numbers) => {
            let message = format!("{} numbers are given for images of {}", numbers.len(), counted(channels, "channel"));
            mistakes.push(value.at.mistake(message).with_help("a single number stands for all channels"));
            None
        }
    }
}
