//! What spans several sections and needs no file.

use std::collections::HashSet;

use super::attack_section::AttackTemplate;
use super::grid::GridRun;
use super::place::Located;
use super::report::Report;
use super::sections::{DatasetRef, DatasetSection, FeatureSet, FolderFiles, InitStart, Origin, Pretrain, Sweep};
use super::usage::{Usage, crafts};
use crate::experiment::Objective;

/// Longer chains of pre-trainings are taken for a mistake.
const LONGEST_CHAIN: usize = 64;

/// Whether every chain of inits ends, every pre-training trains, and what is made with the model of an init can be.
pub(super) fn inits_lead_somewhere(sweep: &Sweep, report: &Report) -> bool {
    let mut lengths = vec![None; sweep.inits.len()];
    for start in 0..sweep.inits.len() {
        measure(sweep, start, &mut lengths, report);
        if let Some(pretrain) = pretrain(sweep, start) {
            refuse_idle(sweep, pretrain, report);
            refuse_other_features(sweep, sweep.dataset_of(&pretrain.dataset.value), report);
        }
    }
    for section in &sweep.datasets {
        refuse_other_features(sweep, section, report);
    }
    report.is_empty()
}

fn pretrain(sweep: &Sweep, init: usize) -> Option<&Pretrain> {
    match &sweep.inits[init].start {
        InitStart::Pretrain(pretrain) => Some(pretrain),
        InitStart::Scratch | InitStart::Checkpoint { .. } => None,
    }
}

/// Finds how long a chain leads to `start` and to every init before it that has no length yet, and says where a chain comes back to itself.
fn measure(sweep: &Sweep, start: usize, lengths: &mut [Option<usize>], report: &Report) {
    let mut chain = Vec::new();
    let mut left = Vec::new();
    let mut on_chain = HashSet::new();
    let mut next = Some(start).filter(|&start| lengths[start].is_none());
    loop {
        if let Some(init) = next.take() {
            chain.push(init);
            on_chain.insert(init);
            left.push(sweep.before(init));
        }
        let (Some(&init), Some(before)) = (chain.last(), left.last_mut()) else { return };
        match before.pop() {
            Some(back) if on_chain.contains(&back) => say_circle(sweep, &chain, back, report),
            Some(before) => next = Some(before).filter(|&before| lengths[before].is_none()),
            None => {
                lengths[init] = Some(length_of(sweep, init, lengths, report));
                on_chain.remove(&init);
                chain.pop();
                left.pop();
            }
        }
    }
}

/// One more than the longest of the chains before it; says where that is too long.
fn length_of(sweep: &Sweep, init: usize, lengths: &[Option<usize>], report: &Report) -> usize {
    let length = 1 + sweep.before(init).iter().filter_map(|&before| lengths[before]).max().unwrap_or(0);
    if length == LONGEST_CHAIN + 1 {
        let message = format!("a chain of more than {LONGEST_CHAIN} pre-trainings leads to this init");
        report.mistake(&sweep.inits[init].at, message);
    }
    length
}

fn say_circle(sweep: &Sweep, chain: &[usize], back: usize, report: &Report) {
    const SHOWN: usize = 20;
    let from = chain.iter().position(|&init| init == back).unwrap_or_default();
    let names = chain[from..].iter().chain([&back]).map(|&init| sweep.inits[init].name.as_str());
    let circle = names.take(SHOWN).collect::<Vec<_>>().join(" → ");
    report.mistake(&sweep.inits[back].at, format!("inits start from each other in a circle: {circle}"));
}

fn refuse_idle(sweep: &Sweep, pretrain: &Pretrain, report: &Report) {
    if sweep.recipe_of(&pretrain.recipe.value).training.is_none() {
        let message = "a pre-training needs a recipe that trains, not `none`";
        report.mistake(&pretrain.recipe.at, message);
    }
}

/// Says where a set of robust features is to be made with a model that is not robust, or the other way round, as far as the sweep file tells.
fn refuse_other_features(sweep: &Sweep, section: &DatasetSection, report: &Report) {
    let Some(Located { value: features, .. }) = &section.features else { return };
    let init = &sweep.inits[features.from.value];
    let plain = match &init.start {
        InitStart::Pretrain(stage) => {
            let training = sweep.recipe_of(&stage.recipe.value).training.as_ref();
            training.is_some_and(|training| matches!(training.objective, Objective::Standard))
        }
        InitStart::Checkpoint { robust: Some(robust), .. } => !robust,
        InitStart::Checkpoint { robust: None, .. } | InitStart::Scratch => return,
    };
    let (wrong, other) = match features.set {
        FeatureSet::Robust => (plain, "`set = \"non-robust\"` is what such a model sees"),
        FeatureSet::NonRobust => (!plain, "`set = \"robust\"` is what such a model sees"),
        FeatureSet::Rand | FeatureSet::Det => (false, ""),
    };
    if wrong {
        let trained = if plain { "trained on images as they are" } else { "trained on perturbed images" };
        let message = format!("the model of the init `{}` is {trained}", init.name);
        report.mistake_with_help(&features.from.at, message, other);
    }
}

/// Says which data sets lack a split that the grid needs.
pub(super) fn used_splits_exist(sweep: &Sweep, report: &Report) {
    let usage = Usage::of(sweep);
    for (section, splits) in sweep.datasets.iter().zip(&usage.datasets) {
        if splits.test && !has_test(section) {
            let message = format!("the data set `{}` has no `test` split to attack", section.name);
            report.mistake(&section.at, message);
        }
        if splits.train && !has_train(section) {
            say_train_is_missing(sweep, section, report);
        }
    }
    for pretrain in usage.pretrains(sweep) {
        if let DatasetRef::Own(section) = &pretrain.dataset.value
            && !has_train(section)
        {
            let message = format!("the data set `{}` has no `train` split to pre-train on", section.name);
            report.mistake(&pretrain.dataset.at, message);
        }
    }
}

fn say_train_is_missing(sweep: &Sweep, section: &DatasetSection, report: &Report) {
    let mut runs = sweep.grid.runs.iter().filter(|run| sweep.datasets[run.dataset].name == section.name);
    let trained = runs.clone().any(|run| sweep.recipes[run.recipe].training.is_some());
    let crafted = runs.find_map(|run| run.attacks.iter().map(|&number| &sweep.attacks[number]).find(|it| crafts(it)));
    // If no run needs it, a pre-training does.
    if trained || crafted.is_none() {
        let message = format!("the data set `{}` has no `train` split, and a recipe trains on it", section.name);
        let help = "give `train`, or evaluate the init as it is: method = \"none\"";
        report.mistake_with_help(&section.at, message, help);
    }
    if let Some(attack) = crafted {
        let message = format!(
            "the data set `{}` has no `train` split, and the attack `{}` crafts its perturbation there",
            section.name, attack.name
        );
        report.mistake_with_help(&attack.at, message, "give `train` to the data set");
    }
}

/// Says where an attack is to be crafted on the model of a run that the grid does not hold.
pub(super) fn sources_are_runs(sweep: &Sweep, report: &Report) {
    if !sweep.attacks.iter().any(|attack| matches!(attack.method, AttackTemplate::Transfer { .. })) {
        return;
    }
    let key = |run: &GridRun| (run.dataset, run.model, run.init, run.recipe, run.seed);
    let runs: HashSet<_> = sweep.grid.runs.iter().map(key).collect();
    let mut said = HashSet::new();
    for run in &sweep.grid.runs {
        for &number in &run.attacks {
            let AttackTemplate::Transfer { source, .. } = &sweep.attacks[number].method else { continue };
            let source_run = source.of(run);
            if !runs.contains(&key(&source_run)) && said.insert((number, key(&source_run))) {
                let message = format!(
                    "the grid has no run {}, on whose model this attack is crafted",
                    sweep.describe(&source_run)
                );
                let help = "let the rules keep that run, or drop this attack for the runs that need it";
                report.mistake_with_help(&source.at, message, help);
            }
        }
    }
}

const fn has_train(section: &DatasetSection) -> bool {
    match &section.origin {
        Origin::Idx { train, .. } => train.is_some(),
        Origin::SafeTensors { train, .. } => train.is_some(),
        Origin::Cifar { train, .. } => !train.is_empty(),
        Origin::Folder(FolderFiles::Splits { train, .. }) => train.is_some(),
        Origin::Folder(FolderFiles::HeldOut(_)) => true,
        Origin::Glyphs(_) => true,
    }
}

const fn has_test(section: &DatasetSection) -> bool {
    match &section.origin {
        Origin::Idx { test, .. } => test.is_some(),
        Origin::SafeTensors { test, .. } => test.is_some(),
        Origin::Cifar { test, .. } => !test.is_empty(),
        Origin::Folder(FolderFiles::Splits { test, .. }) => test.is_some(),
        Origin::Folder(FolderFiles::HeldOut(_)) => true,
        Origin::Glyphs(_) => true,
    }
}
