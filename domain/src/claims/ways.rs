//! Which ways of training each claim holds against which.

use super::roles::{self, Start};
use crate::findings::is_standard;
use crate::sweep::{InitSection, RecipeSection, Sweep};

/// An init and a recipe.
pub(super) type Arm<'a> = (&'a InitSection, &'a RecipeSection);

/// An arm, and what it is held against: the first of these that was evaluated.
#[derive(Clone)]
pub(super) struct Way<'a> {
    pub(super) first: Arm<'a>,
    pub(super) against: Vec<Arm<'a>>,
}

/// The recipes that train.
pub(super) fn trained(sweep: &Sweep) -> impl Iterator<Item = &RecipeSection> {
    sweep.recipes.iter().filter(|recipe| recipe.training.is_some())
}

fn standard(sweep: &Sweep) -> impl Iterator<Item = &RecipeSection> {
    sweep.recipes.iter().filter(|recipe| is_standard(recipe))
}

/// Fine-tuned models and their standard twins: from scratch by the same recipe or, of ordinary fine-tuning, by a standard one; first by the one that
/// differs in nothing but that nothing is frozen.
pub(super) fn twins(sweep: &Sweep) -> Vec<Way<'_>> {
    let parents =
        || sweep.inits.iter().filter(|init| matches!(Start::of(sweep, init), Start::Ordinary | Start::Imported));
    let twins_of = |recipe| {
        let mut others: Vec<&RecipeSection> = standard(sweep).filter(|_| roles::is_ordinary(recipe)).collect();
        others.sort_by_cached_key(|other| !roles::differ_in_freezing_alone(recipe, other));
        let recipes = std::iter::once(recipe).chain(others);
        recipes.flat_map(|recipe| roles::inits(sweep, Start::Scratch).map(move |init| (init, recipe))).collect()
    };
    parents()
        .flat_map(|init| trained(sweep).map(move |recipe| (init, recipe)))
        .map(|first| Way { first, against: twins_of(first.1) })
        .collect()
}

/// Robust pre-training, held against ordinary pre-training.
pub(super) fn robust(sweep: &Sweep) -> Vec<Way<'_>> {
    let way = |init, recipe| {
        let others = roles::counterparts(sweep, init).into_iter();
        others.map(move |other| Way { first: (init, recipe), against: vec![(other, recipe)] })
    };
    roles::inits(sweep, Start::Robust)
        .flat_map(|init| trained(sweep).flat_map(move |recipe| way(init, recipe)))
        .collect()
}

/// DM fine-tuning, held against ordinary fine-tuning.
pub(super) fn dm(sweep: &Sweep) -> Vec<Way<'_>> {
    let pretrained = sweep.inits.iter().filter(|init| Start::of(sweep, init) != Start::Scratch);
    let recipes = || sweep.recipes.iter().filter(|recipe| roles::is_dm(recipe));
    let way =
        |init, recipe| standard(sweep).map(move |other| Way { first: (init, recipe), against: vec![(init, other)] });
    pretrained.flat_map(|init| recipes().flat_map(move |recipe| way(init, recipe))).collect()
}

/// Both, held against neither.
pub(super) fn robust_dm(sweep: &Sweep) -> Vec<Way<'_>> {
    let mut ways = Vec::new();
    for init in roles::inits(sweep, Start::Robust) {
        for recipe in sweep.recipes.iter().filter(|recipe| roles::is_dm(recipe)) {
            for other in roles::counterparts(sweep, init) {
                ways.extend(standard(sweep).map(|by| Way { first: (init, recipe), against: vec![(other, by)] }));
            }
        }
    }
    ways
}

/// Sources of low frequencies, held against those of high ones.
pub(super) fn bands(sweep: &Sweep) -> Vec<Way<'_>> {
    let pairs = roles::low_and_high(sweep).into_iter();
    pairs
        .flat_map(|[low, high]| trained(sweep).map(move |by| Way { first: (low, by), against: vec![(high, by)] }))
        .collect()
}

/// Sources of more classes, held against those of the next fewer.
pub(super) fn more_classes(sweep: &Sweep) -> Vec<Way<'_>> {
    let pairs = roles::more_and_fewer_classes(sweep).into_iter();
    pairs
        .flat_map(|[more, fewer]| trained(sweep).map(move |by| Way { first: (more, by), against: vec![(fewer, by)] }))
        .collect()
}
