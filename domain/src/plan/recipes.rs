//! Recipes, resolved for a backbone.

use super::planner::Mistakes;
use crate::experiment::{Backbone, Frozen, ModelSpec, Objective, Recipe};
use crate::sweep::{Freeze, Located, RecipeSection, counted};

/// The training of a recipe for this model; outer none where something is wrong, inner none where the recipe trains nothing.
pub(super) fn resolve(section: &RecipeSection, model: &ModelSpec, mistakes: &mut Mistakes) -> Option<Option<Recipe>> {
    let Some(training) = &section.training else { return Some(None) };
    let frozen = match &section.freeze {
        None => Frozen::NOTHING,
        Some(freeze) => frozen(freeze, model.backbone, mistakes)?,
    };
    if matches!(training.objective, Objective::Twins { .. }) && !has_statistics(model) {
        let message = format!("`twins` keeps the statistics of batch normalisation, and `{}` has none", model.backbone);
        mistakes.push(section.at.mistake(message));
        return None;
    }
    Some(Some(Recipe { frozen, ..training.clone() }))
}

fn frozen(freeze: &Located<Freeze>, backbone: Backbone, mistakes: &mut Mistakes) -> Option<Frozen> {
    let names: Vec<&str> = backbone.stages().iter().map(|stage| stage.name).collect();
    let found = match &freeze.value {
        Freeze::Backbone => return Some(Frozen::Backbone),
        Freeze::Stages(count) => Some(*count as usize).filter(|count| *count <= names.len()),
        Freeze::Through(name) => names.iter().position(|stage| stage == name).map(|position| position + 1),
    };
    if found.is_none() {
        let message = match &freeze.value {
            Freeze::Through(name) => format!("`{backbone}` has no stage `{name}`"),
            _ => format!("`{backbone}` has {}", counted(names.len() as u64, "stage")),
        };
        let help =
            format!("its stages, from the input on: {}; \"backbone\" freezes all but the head", names.join(", "));
        mistakes.push(freeze.at.mistake(message).with_help(help));
    }
    found.and_then(|count| u32::try_from(count).ok()).map(Frozen::Stages)
}

fn has_statistics(model: &ModelSpec) -> bool {
    model.state_dict().iter().any(|parameter| parameter.name.ends_with(".running_mean"))
}
