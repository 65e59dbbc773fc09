//! What spans several sections and needs no file.

use std::collections::HashSet;

use super::report::Report;
use super::sections::{DatasetRef, DatasetSection, FolderFiles, InitStart, Origin, Pretrain, Sweep};
use super::usage::Usage;

/// Longer chains of pre-trainings are taken for a mistake.
const LONGEST_CHAIN: usize = 64;

/// Whether every chain of inits ends and every pre-training trains.
pub(super) fn inits_lead_somewhere(sweep: &Sweep, report: &Report) -> bool {
    let mut lengths = vec![None; sweep.inits.len()];
    for start in 0..sweep.inits.len() {
        follow(sweep, start, &mut lengths, report);
        if let Some(pretrain) = pretrain(sweep, start) {
            refuse_idle(sweep, pretrain, report);
        }
    }
    report.is_empty()
}

fn pretrain(sweep: &Sweep, init: usize) -> Option<&Pretrain> {
    match &sweep.inits[init].start {
        InitStart::Pretrain(pretrain) => Some(pretrain),
        InitStart::Scratch | InitStart::Checkpoint { .. } => None,
    }
}

/// Follows the chain from `start` to its end, or to an init whose chain has a length already, and says where it comes back to itself.
fn follow(sweep: &Sweep, start: usize, lengths: &mut [Option<usize>], report: &Report) {
    let mut chain = Vec::new();
    let mut on_chain = HashSet::new();
    let mut next = Some(start);
    while let Some(init) = next.filter(|&init| lengths[init].is_none()) {
        if !on_chain.insert(init) {
            say_circle(sweep, &chain, init, report);
            break;
        }
        chain.push(init);
        next = pretrain(sweep, init).and_then(|pretrain| pretrain.init);
    }
    let mut length = next.and_then(|init| lengths[init]).unwrap_or(0);
    for init in chain.into_iter().rev() {
        length += 1;
        lengths[init] = Some(length);
        if length == LONGEST_CHAIN + 1 {
            let message = format!("a chain of more than {LONGEST_CHAIN} pre-trainings leads to this init");
            report.mistake(&sweep.inits[init].at, message);
        }
    }
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

/// Says which data sets lack a split that the grid needs.
pub(super) fn used_splits_exist(sweep: &Sweep, report: &Report) {
    let usage = Usage::of(sweep);
    for (section, splits) in sweep.datasets.iter().zip(&usage.datasets) {
        if splits.test && !has_test(section) {
            let message = format!("the data set `{}` has no `test` split to attack", section.name);
            report.mistake(&section.at, message);
        }
        if splits.train && !has_train(section) {
            let message = format!("the data set `{}` has no `train` split, and a recipe trains on it", section.name);
            let help = "give `train`, or evaluate the init as it is: method = \"none\"";
            report.mistake_with_help(&section.at, message, help);
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
